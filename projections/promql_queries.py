"""`PromqlQueries`: PromQL over the DuckDB file, and what there is to be asked for; all bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb

from projections import promql_labels
from projections.projector import Projector
from projections.promql_labels import Cardinality, Declared, FoundSeries, Names
from projections.promql_newest import NewestSample, newest_samples
from projections.promql_source import ProjectionSource
from projections.reading import Ending, Reader
from streams.errors import (
    QueryCancelled,
    QuerySyntaxError,
    QueryTimeout,
    QueryTooExpensive,
    QueryTooLarge,
)
from streams.promql.answer import Answer
from streams.promql.engine import instant_query, range_query
from streams.promql.limits import Limits

__all__ = ["LIMITS", "Cardinality", "Declared", "FoundSeries", "Names", "PromqlQueries"]

LIMITS = Limits(samples_max=5_000_000, cells_max=5_000_000)
"""The engine's, with less memory: one query takes about 300 MB at most, over a range 200 MB."""

LOOKBACK_MS_MAX = 366 * 86_400_000


class PromqlQueries:
    """Each query sees one snapshot of the file, whatever it selects; call them from a thread.

    Every method takes at most ``timeout_s`` (`QueryTimeout`; a longer one asked for is cut to the
    constructor's) and raises `QueryError` for what cannot be parsed, evaluated or afforded,
    `ProjectionError` where the file cannot be read. Times are Unix milliseconds, both bounds of a
    range inclusive. ``selectors`` are texts of instant vector selectors (``up{job="a"}``): a series
    counts that any of them means; none at all means every series.
    """

    def __init__(
        self,
        projector: Projector,
        *,
        timeout_s: float = 10.0,
        limits: Limits = LIMITS,
        ending: Ending | None = None,
    ) -> None:
        """``ending``: ends these queries early, with `QueryCancelled`."""
        self._projector = projector
        self._timeout_s = timeout_s
        self._limits = limits
        self._ending = ending or Ending()

    def instant(
        self,
        expr: str,
        at_ms: int,
        *,
        lookback_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """The value of an expression at one time, see `streams.promql.engine.instant_query`.

        ``lookback_ms``: how old a sample may be; five minutes where None.
        """
        limits = self._limits_with(lookback_ms)
        with self._reading(timeout_s) as reader:
            source = ProjectionSource(reader)
            return instant_query(
                expr, source, at_ms, limits=limits, cancelled=lambda: reader.expired
            )

    def range_(
        self,
        expr: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        *,
        lookback_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """The value at each step, see `streams.promql.engine.range_query`."""
        limits = self._limits_with(lookback_ms)
        with self._reading(timeout_s) as reader:
            source = ProjectionSource(reader)
            return range_query(
                expr,
                source,
                start_ms,
                end_ms,
                step_ms,
                limits=limits,
                cancelled=lambda: reader.expired,
            )

    def series(
        self,
        selectors: Sequence[str],
        start_ms: int,
        end_ms: int,
        *,
        limit: int,
        timeout_s: float | None = None,
    ) -> FoundSeries:
        """The series with a sample in the range, by labels; the first ``limit`` of them."""
        wanted = promql_labels.parse_selectors(selectors, self._limits)
        with self._reading(timeout_s) as reader:
            return promql_labels.series(reader, wanted, (start_ms, end_ms), limit)

    def labels(
        self,
        selectors: Sequence[str],
        start_ms: int,
        end_ms: int,
        *,
        limit: int,
        timeout_s: float | None = None,
    ) -> Names:
        """The label names (``__name__`` too) of the series with a sample in the range, ordered."""
        wanted = promql_labels.parse_selectors(selectors, self._limits)
        with self._reading(timeout_s) as reader:
            return promql_labels.labels(reader, wanted, (start_ms, end_ms), limit)

    def label_values(
        self,
        label: str,
        selectors: Sequence[str],
        start_ms: int,
        end_ms: int,
        *,
        limit: int,
        timeout_s: float | None = None,
    ) -> Names:
        """The values of one label of the series with a sample in the range, ordered."""
        wanted = promql_labels.parse_selectors(selectors, self._limits)
        with self._reading(timeout_s) as reader:
            return promql_labels.label_values(reader, label, wanted, (start_ms, end_ms), limit)

    def metadata(
        self, *, metric: str | None = None, limit: int, timeout_s: float | None = None
    ) -> Mapping[str, tuple[Declared, ...]]:
        """Type and unit of each metric (of one, where named), at most ``limit``, by name.

        Several of a metric where its series do not agree.
        """
        with self._reading(timeout_s) as reader:
            return promql_labels.metadata(reader, metric, limit)

    def cardinality(self, *, limit: int, timeout_s: float | None = None) -> Cardinality:
        """How many series there are, and the ``limit`` names and labels that make most of them."""
        with self._reading(timeout_s) as reader:
            return promql_labels.cardinality(reader, limit)

    def newest(
        self,
        selectors: Sequence[str],
        at_ms: int,
        *,
        lookback_ms: int,
        limit: int,
        timeout_s: float | None = None,
    ) -> Sequence[NewestSample]:
        """Of each series the newest sample of ``(at_ms - lookback_ms, at_ms]``, unless it is a
        stale marker; in no order. `QueryTooLarge` for more than ``limit`` series."""
        wanted = promql_labels.parse_selectors(selectors, self._limits)
        with self._reading(timeout_s) as reader:
            return newest_samples(reader, wanted, (at_ms - lookback_ms, at_ms), limit)

    def _limits_with(self, lookback_ms: int | None) -> Limits:
        if lookback_ms is None:
            return self._limits
        if not 0 < lookback_ms <= LOOKBACK_MS_MAX:
            raise QuerySyntaxError(
                f"the look-back is {lookback_ms} ms; it must be above 0 and at most "
                f"{LOOKBACK_MS_MAX} ms (a year)"
            )
        return replace(self._limits, lookback_ms=lookback_ms)

    @contextmanager
    def _reading(self, timeout_s: float | None) -> Iterator[Reader]:
        """A snapshot for one query; what ends it too early is a `QueryError`."""
        asked = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        try:
            with self._projector.reading(asked) as reader, self._ending.ends(reader):
                yield reader
        except (QueryCancelled, QueryTooExpensive) as error:
            if self._ending.ended:
                raise QueryCancelled("whoever asked no longer waits for the answer") from error
            if isinstance(error.__cause__, duckdb.OutOfMemoryException):
                raise QueryTooLarge(str(error)) from error
            raise QueryTimeout(
                f"the query took longer than {asked:g} s: ask for a shorter range, fewer series or "
                "larger steps"
            ) from error
