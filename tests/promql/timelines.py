"""Small data for the query engine: series written as a list of values at even distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from streams.events.batch import STALE_BITS
from streams.promql.engine import instant_query
from streams.promql.frames import Floats, Ints, Labels
from streams.promql.source import MemorySource

EVERY_MS = 10_000
STALE = np.array([STALE_BITS], dtype=np.uint64).view(np.float64)[0]

Values = Sequence[float | None]
Columns = dict[Labels, tuple[Ints, Floats]]


def labels_of(name: str, **labels: str) -> Labels:
    """A series' identity."""
    return tuple(sorted({"__name__": name, **labels}.items()))


def columns_of(series: Mapping[Labels, Values], every_ms: int = EVERY_MS) -> Columns:
    """Times and values; the first value of each lies at 0, None is no sample."""
    columns = {}
    for labels, values in series.items():
        places = [n for n, value in enumerate(values) if value is not None]
        at_ms = np.array(places, dtype=np.int64) * every_ms
        columns[labels] = (at_ms, np.array([v for v in values if v is not None], dtype=np.float64))
    return columns


def memory(series: Mapping[Labels, Values], every_ms: int = EVERY_MS) -> MemorySource:
    """A source of `columns_of`."""
    return MemorySource(columns_of(series, every_ms))


def instantly(expr: str, values: Values, at_s: float) -> list[float]:
    """The values of an expression over one series ``x_total``, 10 s apart, at one time."""
    answer = instant_query(expr, memory({labels_of("x_total"): values}), round(at_s * 1000))
    return answer.value.tolist()


def same(one: Sequence[float], other: Sequence[float]) -> bool:
    """Equal to the last digits but one, NaN to NaN."""
    return len(one) == len(other) and all(
        (math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=1e-12)
        for a, b in zip(one, other, strict=True)
    )
