"""`Republisher`: messages of an ingest topic to records of the log, in order, until durable.

Each message is a request of a numbered stream (`streams.events.slices`) whose number is its offset,
so a message that is read again, by whomever, counts once. What cannot be taken is dead-lettered;
nothing that a message holds stops the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from streams.errors import LogUnavailable, Overloaded
from streams.events.catalogue import DEADLETTER, POINTS, DeadLettered, Envelope, Event
from streams.events.codec import encode
from streams.events.slices import numbered_key
from streams.ingest.foreign import refused, understand
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.merging import Merger, Request
from streams.ingest.series_limits import SeriesLimits
from streams.log.protocol import Append, Entry, EventLog, Record
from streams.log.wall_clock import wall_clock_ms

_log = logging.getLogger(__name__)

PAUSE_S: Final = (0.1, 5.0)
"""The first and the longest pause after the log refused a write."""

INLINE_BYTES_MAX: Final = 65_536
"""More is read in a thread, so that the event loop goes on."""


@dataclass(slots=True)
class Republished:
    """Since the start, repeats included."""

    messages: int = 0
    points: int = 0
    dead_letters: int = 0


class Republisher:
    """For one topic and one event loop; one call a partition at a time."""

    def __init__(
        self,
        log: EventLog,
        topic: IngestTopic,
        limits: SeriesLimits,
        *,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._log = log
        self._topic = topic
        self._actor = f"ingest/{topic.name}"
        self._limits = limits
        self._clock = clock
        self._merger = Merger(log.partitions(POINTS))
        self._reading = asyncio.Lock()  # the merger and the limits are for one thread
        self._began: dict[int, float] = {}
        self.counts = Republished()

    async def republish(self, records: Sequence[Record]) -> None:
        """Returns when all that these say is durable. They are of one partition, in order.

        While the log refuses writes it is asked again, later and later, until this is cancelled:
        then some may be durable, and all are to be read again.
        """
        if not records:
            return
        self._began[records[0].partition] = time.monotonic()
        try:
            await self._republish(records)
        finally:
            del self._began[records[0].partition]

    def stalled_for_s(self) -> float:
        """For how long the longest call has been under way; 0.0 where none is. Any thread."""
        now = time.monotonic()
        return now - min(list(self._began.values()), default=now)

    async def _republish(self, records: Sequence[Record]) -> None:
        if sum(len(record.body) for record in records) > INLINE_BYTES_MAX:
            async with self._reading:
                units = await asyncio.to_thread(self._units, records)
        else:
            async with self._reading:
                units = self._units(records)
        for unit in units:
            await self._until_durable(unit)
        self.counts.messages += len(records)

    def _units(self, records: Sequence[Record]) -> list[Append]:
        """One after the other, each with one record a partition at most: what failed is written
        again before anything that follows it, so numbers of a stream never fall but by repeats."""
        now_ms = self._clock()
        requests: list[Request] = []
        dead: list[Entry] = []
        for record in records:
            understood = understand(self._topic, record, now_ms)
            letter = understood.dead
            if understood.parsed is not None:
                parsed = self._limits.admitted(understood.parsed)
                if parsed is not understood.parsed:
                    letter = refused(self._topic, record, parsed)
                key = self._key(record, parsed.request_id)
                requests.append(
                    Request(parsed.batch, self._actor, self._actor, understood.at_ms, key)
                )
            if letter is not None:
                dead.append(self._dead(letter, understood.at_ms))
        self.counts.points += sum(len(request.batch) for request in requests)
        self.counts.dead_letters += len(dead)
        lanes: dict[int, list[Entry]] = {}
        for written in self._merger.entries(requests):
            lanes.setdefault(written.entry.partition, []).append(written.entry)
        units = [
            tuple(entry for entry in entries if entry is not None)
            for entries in zip_longest(*lanes.values())
        ]
        if dead:
            units[:1] = [(*dead, *(units[0] if units else ()))]
        return [Append(entries) for entries in units]

    def _key(self, record: Record, request_id: str | None) -> str:
        """A producer's own key, if it gives one: its retries are messages of their own."""
        if request_id is not None:
            return f"{self._actor}/{request_id}"
        return numbered_key(f"{self._actor}/{record.partition}", record.offset)

    def _dead(self, letter: DeadLettered, at_ms: int) -> Entry:
        envelope = Envelope(
            id=f"{self._actor}:{letter.partition}:{letter.offset}",
            source=self._actor,
            time_ms=at_ms,
            actor=self._actor,
        )
        partition = letter.partition % self._log.partitions(DEADLETTER)
        return Entry(DEADLETTER, partition, encode(Event(envelope, letter)))

    async def _until_durable(self, unit: Append) -> None:
        pause_s = PAUSE_S[0]
        while True:
            try:
                await self._log.append(unit)
            except (LogUnavailable, Overloaded) as error:
                _log.warning("%s: asking again in %.1f s: %s", self._actor, pause_s, error)
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S[1])
