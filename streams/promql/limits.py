"""What a query may cost: counted work, so that a query is cut at the same place in every process.

Wall time is no limit here; whoever has a deadline passes ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streams.errors import QueryCancelled, QueryTooLarge, TooLargeAtOnce


@dataclass(frozen=True)
class Limits:
    """The most that one query may use; Prometheus' own defaults where it has one."""

    expression_bytes_max: int = 4_096
    brackets_max: int = 64
    steps_max: int = 11_000
    samples_max: int = 50_000_000
    """Samples held at once, of all selectors together."""
    series_max: int = 200_000
    """Series in any one vector."""
    cells_max: int = 25_000_000
    """Series x steps held at once, of all vectors that are read or joined: 200 MB. As many may be
    in an answer."""
    part_max: int = 2_000_000
    """Samples, and series x steps, above which a range is computed in parts, some steps at once
    (`streams.promql.step_parts`); those two limits hold for each part then."""
    work_max: int = 2_000_000_000
    """Array elements computed (series x steps, summed over all operations)."""
    lookback_ms: int = 300_000


class Budget:
    """Counts what one query has done; `spend` is the only place that stops it for its work."""

    def __init__(self, limits: Limits, cancelled: Callable[[], bool]) -> None:
        self.limits = limits
        self.samples = 0
        self.cells = 0
        self.work = 0
        self.small = False
        self._samples_max = limits.samples_max
        self._cells_max = limits.cells_max
        self._cancelled = cancelled

    @classmethod
    def unlimited(cls) -> Budget:
        """Of a computation that nobody bounds or cancels."""
        return cls(Limits(), lambda: False)

    def begin(self, *, small: bool) -> None:
        """Nothing is held any more; ``small``: at most ``part_max`` may be."""
        self.samples = self.cells = 0
        self._bound(small=small)

    @contextmanager
    def apart(self, *, small: bool) -> Iterator[None]:
        """What is read and made within the block is not held after it; ``small``: at most
        ``part_max`` of it at once."""
        before = (self.samples, self.cells, self.small, self._samples_max, self._cells_max)
        self._bound(small=small)
        try:
            yield
        finally:
            self.samples, self.cells, self.small, self._samples_max, self._cells_max = before

    @property
    def fullness(self) -> float:
        """What is held as a share of ``part_max``."""
        return max(self.samples, self.cells) / self.limits.part_max

    def spend(self, elements: int) -> None:
        """Before computing so many array elements: `QueryCancelled` or `QueryTooLarge`."""
        if self._cancelled():
            raise QueryCancelled("the query was cancelled")
        self.work += elements
        if self.work > self.limits.work_max:
            raise QueryTooLarge(
                f"the query computes more than {self.limits.work_max} values: "
                "ask for fewer series, a shorter range or a larger step"
            )

    @property
    def samples_left(self) -> int:
        """How many samples may still be read."""
        return self._samples_max - self.samples

    def read(self, samples: int | None) -> None:
        """After reading so many samples from the source; None: more than were left."""
        if samples is None:
            raise TooLargeAtOnce(
                f"the query reads more than {self.limits.samples_max} samples at once: "
                "ask for fewer series or a shorter range"
            )
        self.samples += samples
        self.spend(samples)

    def hold(self, series: int, steps: int) -> None:
        """Before making a vector of so many series at so many steps: `QueryTooLarge`."""
        if series > self.limits.series_max:
            raise QueryTooLarge(
                f"a vector of the query has {series} series, at most "
                f"{self.limits.series_max} are taken: add matchers or aggregate"
            )
        self.cells += series * steps
        if self.cells > self._cells_max:
            raise TooLargeAtOnce(
                f"the query holds more than {self.limits.cells_max} values at once, with a vector "
                f"of {series} series at {steps} steps: ask for fewer series or a larger step"
            )
        self.spend(series * steps)

    def _bound(self, *, small: bool) -> None:
        limits, self.small = self.limits, small
        self._samples_max, self._cells_max = limits.samples_max, limits.cells_max
        if small:
            self._samples_max = min(self._samples_max, self.samples + limits.part_max)
            self._cells_max = min(self._cells_max, self.cells + limits.part_max)
