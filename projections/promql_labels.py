"""What there is to be asked for in PromQL: series, label names and values, types and units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from projections.promql_source import ProjectionSource
from projections.reading import Reader
from streams.errors import QuerySyntaxError
from streams.events.batch import Index
from streams.events.labels import NAME
from streams.promql.frames import Labels
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher
from streams.promql.parsing import parse
from streams.promql.syntax import Selector

Selectors = Sequence[Sequence[Matcher]]
"""The matchers of each selector."""

# A newest sample that lies in the range answers for its series without a look at the others.
_SEEN = """
    WITH newest AS (
        SELECT series_id, at_ms FROM latest JOIN chosen USING (series_id) WHERE at_ms >= $start_ms),
    later AS (SELECT series_id FROM newest WHERE at_ms > $end_ms)
    SELECT series_id FROM newest WHERE at_ms <= $end_ms
    UNION ALL
    SELECT DISTINCT series_id FROM points JOIN later USING (series_id)
    WHERE at_ms BETWEEN $start_ms AND $end_ms"""

_DECLARED = """
    WITH named AS (
        SELECT DISTINCT name FROM series WHERE $metric IS NULL OR name = $metric
        ORDER BY name LIMIT $limit)
    SELECT DISTINCT name, type, unit FROM series JOIN named USING (name) ORDER BY ALL"""

_TIMES = "SELECT min(at_ms) AS first_ms, max(at_ms) AS last_ms FROM points"


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """Series by their labels; ``truncated`` where there are more."""

    labels: tuple[Labels, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Names:
    """Label names or values, each once, ordered; ``truncated`` where there are more."""

    values: tuple[str, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Declared:
    """What was told of a metric."""

    type: str
    unit: str


@dataclass(frozen=True, slots=True)
class Cardinality:
    """What makes how many series, the most first (then by name); see Prometheus' ``status/tsdb``.

    ``label_pairs``: distinct pairs of a label and its value. ``bytes_by_label``: of a label's
    values, over all series. ``first_ms``, ``last_ms``: of all samples, None without any.
    """

    series: int
    label_pairs: int
    first_ms: int | None
    last_ms: int | None
    series_by_metric: Mapping[str, int]
    values_by_label: Mapping[str, int]
    bytes_by_label: Mapping[str, int]
    series_by_pair: Mapping[tuple[str, str], int]


def parse_selectors(texts: Iterable[str], limits: Limits) -> Selectors:
    """`QuerySyntaxError` for what is no plain instant vector selector."""
    found = []
    for text in texts:
        node = parse(text, limits)
        if not isinstance(node, Selector) or node.offset_ms or node.at is not None:
            raise QuerySyntaxError(
                f'{text:.200}: series are selected by a name and matchers, as in up{{job="a"}}'
            )
        found.append(node.matchers)
    return found


def series(
    reader: Reader, selectors: Selectors, range_ms: tuple[int, int], limit: int
) -> FoundSeries:
    """See `projections.promql_queries.PromqlQueries.series`."""
    ordered = sorted(_seen(reader, selectors, range_ms))
    return FoundSeries(tuple(ordered[:limit]), len(ordered) > limit)


def labels(reader: Reader, selectors: Selectors, range_ms: tuple[int, int], limit: int) -> Names:
    """See `projections.promql_queries.PromqlQueries.labels`."""
    found = _seen(reader, selectors, range_ms)
    return _names({name for one in found for name, _ in one}, limit)


def label_values(
    reader: Reader, label: str, selectors: Selectors, range_ms: tuple[int, int], limit: int
) -> Names:
    """See `projections.promql_queries.PromqlQueries.label_values`."""
    found = _seen(reader, selectors, range_ms)
    return _names({value for one in found for name, value in one if name == label}, limit)


def metadata(reader: Reader, metric: str | None, limit: int) -> Mapping[str, tuple[Declared, ...]]:
    """See `projections.promql_queries.PromqlQueries.metadata`."""
    found: dict[str, tuple[Declared, ...]] = {}
    for row in reader.rows(_DECLARED, {"metric": metric, "limit": limit}):
        before = found.get(row["name"], ())
        found[row["name"]] = (*before, Declared(row["type"], row["unit"]))
    return found


def cardinality(reader: Reader, limit: int) -> Cardinality:
    """See `projections.promql_queries.PromqlQueries.cardinality`."""
    source = ProjectionSource(reader)
    all_labels = source.labels(source.matching(()))
    pairs = Counter(pair for one in all_labels for pair in one)
    metrics = Counter({value: count for (name, value), count in pairs.items() if name == NAME})
    sizes: Counter[str] = Counter()
    for (name, value), count in pairs.items():
        sizes[name] += count * len(value.encode())
    return Cardinality(
        series=len(all_labels),
        label_pairs=len(pairs),
        **reader.rows(_TIMES)[0],
        series_by_metric=_most(metrics, limit),
        values_by_label=_most(Counter(name for name, _ in pairs), limit),
        bytes_by_label=_most(sizes, limit),
        series_by_pair=_most(pairs, limit),
    )


def _seen(reader: Reader, selectors: Selectors, range_ms: tuple[int, int]) -> list[Labels]:
    """The labels of each series that a selector means and that has a sample in the range."""
    source = ProjectionSource(reader)
    matched = [source.matching(matchers) for matchers in selectors or [()]]
    ids: Index = np.unique(np.concatenate(matched))
    rows = reader.table(
        _SEEN,
        {"start_ms": range_ms[0], "end_ms": range_ms[1]},
        chosen=pa.table({"series_id": ids}),
    )
    return source.labels(rows.column("series_id").to_numpy())


def _names(values: set[str], limit: int) -> Names:
    ordered = sorted(values)
    return Names(tuple(ordered[:limit]), len(ordered) > limit)


def _most(counts: Counter[Any], limit: int) -> dict[Any, int]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:limit])
