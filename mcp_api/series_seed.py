"""`SeriesSeed`: every series that the log holds counts in the series limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from streams.errors import ProjectionError

if TYPE_CHECKING:
    from projections.live import LiveTail
    from projections.projector import Projector
    from streams.ingest.series_limits import SeriesLimits

CATCHING_UP_POLL_S: Final = 0.05
FOLLOWING_POLL_S: Final = 1.0

Ends = Mapping[tuple[str, int], int]


class SeriesSeed:
    """Counts the series that are stored; once the projection is where the log ended at the start
    (after a crash it may be behind), those that came with the rest; and from then on those that
    other nodes write, within a second or so of their projection.
    """

    def __init__(
        self, limits: SeriesLimits, projector: Projector, ends: Callable[[], Ends]
    ) -> None:
        """``ends``: the log's, now."""
        self._limits = limits
        self._projector = projector
        self._ends = ends
        self._ends_at_start = dict(ends())
        self._counted = 0
        self._live: LiveTail | None = None
        self.complete = asyncio.Event()
        """Set when all is counted that was in the log at the start."""

    async def run(self, started: asyncio.Task[None]) -> None:
        """``started``: done when the projector is; ends only if that failed."""
        await asyncio.wait({started})
        if started.cancelled() or started.exception() is not None:
            return
        while True:
            reached = self.complete.is_set() or self._reached()
            self._count()
            if reached:
                self.complete.set()
            await asyncio.sleep(FOLLOWING_POLL_S if reached else CATCHING_UP_POLL_S)

    def _reached(self) -> bool:
        try:
            positions = self._projector.positions()
        except ProjectionError:
            return False  # it is being switched
        ends = self._ends()  # an end may turn out to be lower, where its last offsets hold nothing
        return all(
            offset >= min(self._ends_at_start[place], ends[place])
            for place, offset in positions.items()
        )

    def _count(self) -> None:
        try:
            if self._projector.live is not self._live:  # another file may number series otherwise
                self._live = self._projector.live
                self._counted = 0
            texts = self._projector.series_texts(self._counted)
        except ProjectionError:
            return
        self._limits.seed(texts)
        self._counted += len(texts)
