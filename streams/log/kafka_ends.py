"""Where each partition begins and where its last record ends, kept up to date while asked for.

The broker's own end counts the markers of transactions, too. An end here is always that of a
record, so that whoever reads up to it arrives: what others wrote is looked at before it counts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from streams.errors import LogError
from streams.log.ends import CommittedEnds, Ends
from streams.log.kafka_batches import split_batches
from streams.log.kafka_connection import EARLIEST, LATEST, Connection, Place

REFRESH_S = 0.1
"""How long others' records may be in the log before they count, while somebody asks; about ten
times that while a broker is away."""

ASKING_S = 5.0
"""For how long after a question the ends are kept up to date."""

_STARTS_S = 30.0
_PROBES_AT_ONCE = 8

_log = logging.getLogger(__name__)


class PartitionEnds:
    """Ends (in a `CommittedEnds`) and starts. What is no coroutine may be called from any thread.

    One task of the loop runs `keep_up_to_date`.
    """

    def __init__(self, connection: Connection, places: Iterable[Place]) -> None:
        self.starts: Ends = dict.fromkeys(places, 0)
        self.committed = CommittedEnds(self.starts)
        self._connection = connection
        self._examined: dict[Place, int] = dict(self.starts)
        self._refreshing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        self._watchers = 0
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._starts_at = float("-inf")

    @property
    def now(self) -> Ends:
        """The ends as they are known."""
        return self.committed.now

    def saw(self, place: Place, end: int) -> None:
        """A record before ``end`` was read or acknowledged."""
        if place in self.now and end > self.now[place]:
            self.committed.advance({place: end})

    def ask(self) -> bool:
        """Keeps the ends up to date for a while; False where they were not, so they may be old."""
        up_to_date = self._is_asked()
        self._asked_at = time.monotonic()
        if not self._wanted.is_set():
            with suppress(RuntimeError):  # the loop is closed, and so is the log
                self._loop.call_soon_threadsafe(self._wanted.set)
        return up_to_date

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keeps the ends up to date as long as it is open."""
        with self._lock:
            self._watchers += 1
        self.ask()
        try:
            yield
        finally:
            with self._lock:
                self._watchers -= 1

    async def refresh(self, *, starts: bool = False) -> None:
        """Asks the brokers once. `LogUnavailable` where ``starts`` cannot be had."""
        async with self._refreshing:
            if starts or time.monotonic() - self._starts_at > _STARTS_S:
                asked = dict.fromkeys(self.starts, EARLIEST)
                found = await self._connection.offsets(asked)
                self.starts = found
                self._starts_at = time.monotonic()
                # Retention may have taken the last records, and then the start is the end.
                self.committed.advance(found)
            asked = dict.fromkeys(self.starts, LATEST)
            latest = await self._connection.offsets_at_hand(asked)
            for error in await self._examine(latest):
                _log.debug("an end is not up to date: %s", error)

    async def refresh_all(self, timeout_s: float) -> None:
        """`refresh`, but `LogUnavailable` unless every partition's leader answers in time."""
        async with self._refreshing:
            asked = dict.fromkeys(self.starts, LATEST)
            for error in await self._examine(await self._connection.offsets(asked, timeout_s)):
                raise error

    async def keep_up_to_date(self) -> None:
        """Until cancelled."""
        failing = False
        while True:
            await self._wanted.wait()
            began = time.monotonic()
            try:
                await self.refresh()
                failing = False
            except LogError as error:
                if not failing:
                    _log.warning("the log's ends are not up to date: %s", error)
                failing = True
            if not self._is_asked():
                self._wanted.clear()
            await asyncio.sleep(max(REFRESH_S / 4, REFRESH_S - (time.monotonic() - began)))

    def _is_asked(self) -> bool:
        return self._watchers > 0 or time.monotonic() - self._asked_at < ASKING_S

    async def _examine(self, latest: Mapping[Place, int]) -> list[LogError]:
        """Moves the ends to the last records before the brokers' ends; what went wrong is tried
        again at the next refresh."""
        moved = [
            (place, high_watermark)
            for place, high_watermark in latest.items()
            if high_watermark > max(self.now[place], self._examined[place])
        ]
        limit = asyncio.Semaphore(_PROBES_AT_ONCE)
        errors: list[LogError] = []

        async def probe(place: Place, high_watermark: int) -> None:
            async with limit:
                try:
                    end = await self._last_end(place, high_watermark)
                except LogError as error:
                    errors.append(error)
                    return
            self._examined[place] = high_watermark
            self.saw(place, end)

        await asyncio.gather(*(probe(*each) for each in moved))
        return errors

    async def _last_end(self, place: Place, high_watermark: int) -> int:
        """The end of the last record before ``high_watermark``, or what is known already."""
        at = high_watermark - 1
        while at >= self.now[place]:
            fetched = await self._connection.fetch(place, at, bytes_max=1, timeout_s=2.0)
            first = None
            end = 0
            for batch in split_batches(fetched.batches):
                first = batch.first if first is None else first
                if batch.holds_records:
                    end = batch.end
            if end:
                return end
            if first is None:
                break
            at = first - 1
        return self.now[place]
