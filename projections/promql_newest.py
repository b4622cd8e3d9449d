"""The newest sample of each selected series, as a federation takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from projections.duck_file import point_columns
from projections.promql_labels import Selectors
from projections.promql_source import ProjectionSource
from projections.reading import Reader
from projections.samples import is_stale
from streams.errors import QueryTooLarge
from streams.events.batch import Index
from streams.promql.frames import Labels

# Where the newest of all lies in the range it is the one; else the points are asked. A stale marker
# is stored as NULL, which counts here.
_NEWEST = """
    WITH newest AS (
        SELECT series_id, at_ms, value FROM latest JOIN chosen USING (series_id)
        WHERE at_ms > $after_ms),
    later AS (SELECT series_id FROM newest WHERE at_ms > $until_ms)
    SELECT series_id, at_ms, value FROM newest WHERE at_ms <= $until_ms
    UNION ALL
    SELECT series_id, max(at_ms) AS at_ms, arg_max_null(value, at_ms) AS value
    FROM points JOIN later USING (series_id)
    WHERE at_ms > $after_ms AND at_ms <= $until_ms GROUP BY series_id"""


@dataclass(frozen=True, slots=True)
class NewestSample:
    """``labels`` with the name among them; ``type`` and ``unit`` as last told."""

    labels: Labels
    type: str
    unit: str
    at_ms: int
    value: float


def newest_samples(
    reader: Reader, selectors: Selectors, range_ms: tuple[int, int], series_max: int
) -> list[NewestSample]:
    """See `projections.promql_queries.PromqlQueries.newest`; the range is open on the left."""
    source = ProjectionSource(reader)
    matched = [source.matching(matchers) for matchers in selectors]
    ids: Index = np.unique(np.concatenate(matched))
    rows = reader.table(
        _NEWEST,
        {"after_ms": range_ms[0], "until_ms": range_ms[1]},
        chosen=pa.table({"series_id": ids}),
    )
    series, at_ms, value = point_columns(rows)
    fresh = ~is_stale(value)
    series, at_ms, value = series[fresh], at_ms[fresh], value[fresh]
    if len(series) > series_max:
        raise QueryTooLarge(
            f"{len(series):,} series have a newest sample, at most {series_max:,} are told: "
            "select fewer"
        )
    types, units = reader.series.types, reader.series.units
    return [
        NewestSample(labels, types[number], units[number], at, number_value)
        for labels, number, at, number_value in zip(
            source.labels(series), series.tolist(), at_ms.tolist(), value.tolist(), strict=True
        )
    ]
