"""What the log holds for those who come back: read once for all who left at the same place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from mcp_api.live_feed.event_lines import changes, lines_of
from mcp_api.live_feed.outbox import Shared
from mcp_api.live_feed.subscriptions import Cursor, LogWanted
from projections.source import Partition
from streams.log.protocol import LocalLog

RECORDS_MAX = 256
"""Of one stretch, which ends at a multiple of it: so who left elsewhere is soon at the same place
as others."""
BYTES_MAX = 2 << 20
KEPT_BYTES_MAX = 16 << 20
KEPT_S = 10.0
READS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """The messages, without heads, of what lies in a partition before the offset ``following``."""

    tails: tuple[Shared, ...]
    following: int

    @property
    def size(self) -> int:
        """In memory, about."""
        return sum(tail.size for tail in self.tails)


class Past:
    """Belongs to one event loop."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._reads: dict[object, asyncio.Task[Stretch | None]] = {}
        self._kept: dict[object, Stretch] = {}
        self._kept_bytes = 0

    async def stretch(self, wanted: LogWanted, cursor: Cursor, place: Partition) -> Stretch | None:
        """What is wanted of a partition from its cursor on; None where there is nothing yet.

        `OffsetOutOfRange`, `LogUnavailable`.
        """
        key = (wanted, place, tuple(cursor.items()))
        if (kept := self._kept.get(key)) is not None:
            return kept
        if key not in self._reads:
            task = asyncio.create_task(self._read(wanted, dict(cursor), place))
            self._reads[key] = task
            task.add_done_callback(partial(self._keep, key))
        return await asyncio.shield(self._reads[key])

    def _keep(self, key: object, task: asyncio.Task[Stretch | None]) -> None:
        """For those who come next; the oldest makes room."""
        del self._reads[key]
        stretch = None if task.cancelled() or task.exception() else task.result()
        if stretch is None:
            return
        self._kept[key] = stretch
        self._kept_bytes += stretch.size
        asyncio.get_running_loop().call_later(KEPT_S, self._forget, key, stretch)
        while self._kept_bytes > KEPT_BYTES_MAX:
            oldest = next(iter(self._kept))
            self._forget(oldest, self._kept[oldest])

    def _forget(self, key: object, stretch: Stretch) -> None:
        if self._kept.get(key) is stretch:
            del self._kept[key]
            self._kept_bytes -= stretch.size

    async def _read(self, wanted: LogWanted, cursor: Cursor, place: Partition) -> Stretch | None:
        begin = cursor[place]
        until = (begin // RECORDS_MAX + 1) * RECORDS_MAX
        async with self._reading:
            records = await self._log.read(
                *place, begin, records_max=until - begin, bytes_max=BYTES_MAX
            )
            if not records:
                return None
            takes = partial(wanted.takes, place[0])
            lines = await asyncio.to_thread(lines_of, records, takes)
        following = records[-1].offset + 1
        tails = changes(wanted, lines, cursor, place, following)
        return Stretch(tuple(map(Shared, tails)), following)
