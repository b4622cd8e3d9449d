"""`Queries`: every question that may be asked of the DuckDB file, typed and bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from projections import query_aggregate, query_catalogue, query_export
from projections.answers import (
    EACH_SERIES,
    FUNCTIONS,
    Aggregated,
    AsOf,
    Described,
    Exported,
    Function,
    Group,
    LabelValues,
    Matcher,
    MatchOp,
    MetricInfo,
    Metrics,
    Selection,
    Totals,
)
from projections.projector import Projector
from projections.series import NEVER

__all__ = [
    "EACH_SERIES",
    "FUNCTIONS",
    "Aggregated",
    "AsOf",
    "Described",
    "Exported",
    "Function",
    "Group",
    "LabelValues",
    "MatchOp",
    "Matcher",
    "MetricInfo",
    "Metrics",
    "Queries",
    "Selection",
    "Totals",
]


class Queries:
    """Reads of the live file, each in a snapshot of its own; call them from a thread.

    Every method ends within ``timeout_s`` (`QueryTooExpensive`), and answers at most what its
    limits say. `InputError` for what cannot be asked: an invalid regular expression, an unknown
    function, a quantile outside 0 to 1.
    """

    def __init__(self, projector: Projector, *, timeout_s: float = 10.0) -> None:
        self._projector = projector
        self._timeout_s = timeout_s

    def as_of(self) -> AsOf:
        """Call it before a query: the query sees at least this."""
        newest = self._projector.newest_ms()
        return AsOf(newest if newest != NEVER else None, self._projector.positions())

    def aggregate(
        self,
        selection: Selection,
        *,
        function: Function,
        quantile: float | None = None,
        group_by: tuple[str, ...] | None = None,
        step_ms: int | None = None,
        groups_max: int = 100,
        points_max: int = 1_000,
    ) -> Aggregated:
        """The function over the samples of each group.

        ``group_by`` None: one group, with the labels common to all its series; `EACH_SERIES`: every
        series. ``points_max``: steps of one group; a range with more steps is `QueryTooExpensive`.
        ``last`` is the newest sample of the group. ``increase`` sums the growth of each series
        between its samples in the range (a fall is a reset to zero), counted in the step of the
        later sample; ``rate`` divides it by the seconds of the range or step. Neither estimates
        what lies beyond the samples, as PromQL's do. ``quantile`` 0 to 1, linearly interpolated
        between samples, NaN below all numbers; exact for histograms and summaries too, whose
        observations are samples. ``stddev`` of the population; NaN where a value is not finite or
        over 1e150.
        """
        with self._projector.reading(self._timeout_s) as reader:
            return query_aggregate.aggregate(
                reader,
                selection,
                function=function,
                quantile=quantile,
                group_by=group_by,
                step_ms=step_ms,
                groups_max=groups_max,
                points_max=points_max,
            )

    def metrics(
        self, *, prefix: str | None = None, contains: str | None = None, limit: int = 100
    ) -> Metrics:
        """Metric names in order; ``prefix`` and ``contains`` are exact text."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.metrics(reader, prefix, contains, limit)

    def tag_values(self, metric: str | None, *, limit: int = 100) -> Mapping[str, LabelValues]:
        """Each label (at most ``limit``) of a metric, or of all, with at most ``limit`` values."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.tag_values(reader, metric, limit)

    def describe(self, metric: str, *, limit: int = 20) -> Described | None:
        """None: no such metric. At most ``limit`` values of each label."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.describe(reader, metric, limit)

    def nearest_names(self, name: str, n: int = 5) -> Sequence[str]:
        """The metric names most like a misspelt one, best first."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.nearest_names(reader, name, n)

    def time_range(self, selection: Selection) -> tuple[int, int] | None:
        """Oldest and newest sample time of the selected series, whatever the selection's range."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.time_range(reader, selection)

    def export(
        self, selection: Selection, *, metrics: tuple[str, ...] | None = None, row_limit: int
    ) -> Exported:
        """Samples in rows. ``metrics``: any of these names (then ``selection.metric`` is None)."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_export.export(reader, selection, metrics, row_limit)

    def totals(self) -> Totals:
        """Rows stored."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_catalogue.totals(reader)
