"""What a query may cost: counted work, so that a query is cut at the same place in every process.

Wall time is no limit here; whoever has a deadline passes ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streams.errors import QueryCancelled, QueryTooLarge


@dataclass(frozen=True)
class Limits:
    """The most that one query may use; Prometheus' own defaults where it has one."""

    expression_bytes_max: int = 4_096
    brackets_max: int = 64
    steps_max: int = 11_000
    samples_max: int = 50_000_000
    """Samples read from the source by all selectors together."""
    series_max: int = 200_000
    """Series in any one vector."""
    cells_max: int = 25_000_000
    """Series x steps of any one vector: 200 MB."""
    work_max: int = 2_000_000_000
    """Array elements computed (series x steps, summed over all operations)."""
    lookback_ms: int = 300_000


class Budget:
    """Counts what one query has done; `spend` is the only place that stops it."""

    def __init__(self, limits: Limits, cancelled: Callable[[], bool]) -> None:
        self.limits = limits
        self.samples = 0
        self.work = 0
        self._cancelled = cancelled

    @classmethod
    def unlimited(cls) -> Budget:
        """Of a computation that nobody bounds or cancels."""
        return cls(Limits(), lambda: False)

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

    def read(self, samples: int) -> None:
        """After reading so many samples from the source."""
        self.samples += samples
        if self.samples > self.limits.samples_max:
            raise QueryTooLarge(
                f"the query reads more than {self.limits.samples_max} samples: "
                "ask for fewer series or a shorter range"
            )
        self.spend(samples)

    @property
    def samples_left(self) -> int:
        """How many samples may still be read."""
        return self.limits.samples_max - self.samples

    def hold(self, series: int, steps: int) -> None:
        """Before making a vector of so many series at so many steps: `QueryTooLarge`."""
        if series > self.limits.series_max:
            raise QueryTooLarge(
                f"a vector of the query has {series} series, at most "
                f"{self.limits.series_max} are taken: add matchers or aggregate"
            )
        if series * steps > self.limits.cells_max:
            raise QueryTooLarge(
                f"a vector of the query has {series} series at {steps} steps, at most "
                f"{self.limits.cells_max} values are taken: ask for fewer series or a larger step"
            )
        self.spend(series * steps)
