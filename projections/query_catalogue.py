"""Queries about what there is: metrics, labels, their values, times and totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from projections.answers import (
    Described,
    LabelValues,
    MetricInfo,
    Metrics,
    Selection,
    Totals,
)
from projections.matching import match_series
from projections.reading import Reader

_METRICS = """
    SELECT name, arg_max(type, series_id) AS type, arg_max(unit, series_id) AS unit,
        count(*) AS series, max(at_ms) AS last_ms,
        list_sort(list_distinct(flatten(list(map_keys(labels))))) AS labels
    FROM series LEFT JOIN latest USING (series_id)
    WHERE ($name IS NULL OR name = $name)
        AND ($prefix IS NULL OR starts_with(name, $prefix))
        AND ($contains IS NULL OR contains(name, $contains))
    GROUP BY name ORDER BY name LIMIT $limit"""

_METRICS_TOTAL = """
    SELECT count(DISTINCT name) AS total FROM series
    WHERE ($prefix IS NULL OR starts_with(name, $prefix))
        AND ($contains IS NULL OR contains(name, $contains))"""

_TAG_VALUES = """
    WITH tags AS (
        SELECT unnest(map_entries(labels), recursive := true)
        FROM series WHERE $name IS NULL OR name = $name),
    counted AS (
        SELECT key, value, count(*) AS series, row_number() OVER (
            PARTITION BY key ORDER BY value) AS place, count(*) OVER (PARTITION BY key) AS total,
            dense_rank() OVER (ORDER BY key) AS key_place
        FROM tags GROUP BY key, value)
    SELECT key, value, series, total FROM counted
    WHERE place <= $limit AND key_place <= $limit ORDER BY key, value"""

_NEAREST = """
    SELECT name FROM (SELECT DISTINCT name FROM series)
    ORDER BY contains(lower(name), lower($name)) OR contains(lower($name), lower(name)) DESC,
        jaro_winkler_similarity(lower(name), lower($name)) DESC, name
    LIMIT $limit"""

_TIMES = """
    SELECT count(*) AS points, min(at_ms) AS first_ms, max(at_ms) AS last_ms
    FROM points JOIN chosen USING (series_id) WHERE value IS NOT NULL"""

_TOTALS = """
    SELECT (SELECT count(*) FROM points) AS points, (SELECT count(*) FROM series) AS series,
        (SELECT count(*) FROM windows) AS windows,
        (SELECT count(DISTINCT name) FROM series) AS metrics,
        (SELECT value FROM counters WHERE name = 'duplicates') AS duplicates,
        (SELECT value FROM counters WHERE name = 'poison') AS poison"""


def metrics(reader: Reader, prefix: str | None, contains: str | None, limit: int) -> Metrics:
    """See `projections.queries.Queries.metrics`."""
    asked = {"prefix": prefix, "contains": contains}
    rows = reader.rows(_METRICS, {**asked, "name": None, "limit": limit})
    total = reader.rows(_METRICS_TOTAL, asked)[0]["total"]
    return Metrics(tuple(_info(row) for row in rows), total)


def tag_values(reader: Reader, metric: str | None, limit: int) -> Mapping[str, LabelValues]:
    """See `projections.queries.Queries.tag_values`."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in reader.rows(_TAG_VALUES, {"name": metric, "limit": limit}):
        rows.setdefault(row["key"], []).append(row)
    return {
        label: LabelValues(
            tuple(row["value"] for row in some),
            tuple(row["series"] for row in some),
            some[0]["total"],
        )
        for label, some in rows.items()
    }


def describe(reader: Reader, metric: str, limit: int) -> Described | None:
    """See `projections.queries.Queries.describe`."""
    asked = {"name": metric, "prefix": None, "contains": None, "limit": 1}
    rows = reader.rows(_METRICS, asked)
    if not rows:
        return None
    times = _times(reader, tuple(reader.series.named(metric)))
    return Described(
        _info(rows[0]),
        tag_values(reader, metric, limit),
        times["first_ms"],
        times["last_ms"],
        times["points"],
    )


def nearest_names(reader: Reader, name: str, n: int) -> list[str]:
    """See `projections.queries.Queries.nearest_names`."""
    return [row["name"] for row in reader.rows(_NEAREST, {"name": name, "limit": n})]


def time_range(reader: Reader, selection: Selection) -> tuple[int, int] | None:
    """See `projections.queries.Queries.time_range`."""
    names = None if selection.metric is None else (selection.metric,)
    times = _times(reader, match_series(reader.series, names, selection.matchers).ids)
    return (times["first_ms"], times["last_ms"]) if times["points"] else None


def totals(reader: Reader) -> Totals:
    """See `projections.queries.Queries.totals`."""
    return Totals(**reader.rows(_TOTALS)[0])


def _times(reader: Reader, ids: tuple[int, ...]) -> dict[str, Any]:
    return reader.rows(_TIMES, chosen=pa.table({"series_id": pa.array(ids, pa.int32())}))[0]


def _info(row: Mapping[str, Any]) -> MetricInfo:
    return MetricInfo(
        row["name"],
        row["type"],
        row["unit"],
        row["series"],
        row["last_ms"],
        tuple(row["labels"]),
    )
