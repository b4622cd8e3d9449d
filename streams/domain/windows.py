"""Samples to aggregates a (series, window), and the merging of aggregates. Pure, on columns.

Aggregates of one (series, window) form a monoid under `merge` (up to the rounding of sums), so a
large window is the merge of its small ones. The same input gives the same bits on every machine:
sums run one by one in the order of time (`numpy.bincount`; `reduceat` and `sum` add in pairs), -0.0
counts as 0.0 in ``min`` and ``max``, and every NaN that is made is the same NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from streams.domain import sketch
from streams.domain.sketch import Sketches
from streams.events.batch import Floats, Index, Ints

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


def window_start_ms(at_ms: int, size_ms: int) -> int:
    """Windows are aligned to the epoch, so every replay agrees.

    >>> window_start_ms(61_500, 60_000)
    60000
    """
    return at_ms // size_ms * size_ms


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Columns in log order. ``series``: index into the caller's dictionary of series."""

    series: Index
    at_ms: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """One row a (series, window); columns as in `streams.events.window.WindowBatch`."""

    series: Index
    start_ms: Ints
    count: Ints
    sum: Floats
    min: Floats
    max: Floats
    first: Floats
    last: Floats
    first_ms: Ints
    last_ms: Ints
    increase: Floats
    sketches: Sketches

    def __len__(self) -> int:
        return len(self.series)

    def take(self, rows: Rows) -> Aggregates:
        """These rows, in this order, in memory of their own."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Aggregates(**columns, sketches=self.sketches.take(rows))


NUMBERS = (
    "start_ms",
    "count",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "first_ms",
    "last_ms",
    "increase",
)
COLUMNS = ("series", *NUMBERS)


def concat(parts: Sequence[Aggregates]) -> Aggregates:
    """The rows of all parts (at least one), one after another."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return Aggregates(**columns, sketches=sketch.concat([part.sketches for part in parts]))


def reduce(samples: Samples, rank: Index, observed: Flags, size_ms: int) -> tuple[Aggregates, int]:
    """Aggregates in windows of ``size_ms``, sorted by (window, rank), and the duplicates left out.

    ``rank[s]``: the canonical order of series s; dictionary entries that are the same series have
    the same rank, and a row names the entry of its newest sample. ``observed[s]``: its samples are
    observations, to be sketched. Of samples of one series with the same time the first stays.
    NaN makes ``sum`` and ``increase`` NaN; ``min`` and ``max`` ignore it unless all are NaN.
    ``increase`` starts at the first sample; a fall is a reset to zero (Prometheus' ``increase``
    without extrapolation).
    """
    if not len(samples):
        return _nothing(), 0
    key = rank[samples.series]
    order = np.lexsort((samples.at_ms, key))
    key, at_ms = key[order], samples.at_ms[order]
    same_series = key[1:] == key[:-1]
    repeated = same_series & (at_ms[1:] == at_ms[:-1])
    duplicates = int(np.count_nonzero(repeated))
    if duplicates:
        kept = np.r_[True, ~repeated]
        order, key, at_ms = order[kept], key[kept], at_ms[kept]
        same_series = key[1:] == key[:-1]
    start_ms = at_ms // size_ms * size_ms
    heads = np.flatnonzero(np.r_[True, ~same_series | (start_ms[1:] != start_ms[:-1])])
    rows = _rows(
        Samples(samples.series[order], at_ms, samples.value[order]), start_ms, heads, observed
    )
    return rows.take(np.lexsort((key[heads], rows.start_ms))), duplicates


def merge(rows: Aggregates, rank: Index, size_ms: int) -> Aggregates:
    """Rows of one series in one window of ``size_ms`` become one; sorted by (window, rank).

    They are merged one by one in their order, so the caller puts what was told earlier first. Of
    two firsts (lasts) with one time the earlier told stays. ``increase`` is joined at the seam
    where two rows do not overlap in time; where they do, the larger one stays, which is a lower
    bound.
    """
    if not len(rows):
        return rows
    start_ms = rows.start_ms // size_ms * size_ms
    key = rank[rows.series]
    order = np.lexsort((key, start_ms))
    key, start_ms = key[order], start_ms[order]
    heads = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (start_ms[1:] != start_ms[:-1])])
    lengths = np.diff(heads, append=len(order))
    merged = rows.take(order[heads])
    merged = replace(merged, start_ms=start_ms[heads])
    if len(heads) == len(order):
        return merged
    for k in range(1, int(lengths.max())):
        grown = np.flatnonzero(lengths > k)
        joined = _join(merged, grown, rows, order[heads[grown] + k])
        for name, column in joined.items():
            getattr(merged, name)[grown] = column
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.repeat(np.arange(len(heads)), lengths)
    row_of_entry = group[rows.sketches.row_of_entry()]
    return replace(merged, sketches=sketch.collect(row_of_entry, rows.sketches, len(heads)))


def rises(before: Floats, after: Floats) -> Floats:
    """How much a counter grew from one sample to the next; a fall means that it began at 0 again.

    >>> rises(np.array([1.0, 5.0]), np.array([4.0, 2.0])).tolist()
    [3.0, 2.0]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(after < before, after, after - before)


def _rows(samples: Samples, start_ms: Ints, heads: Rows, observed: Flags) -> Aggregates:
    """One row for each run of sorted samples that begins at ``heads``."""
    at_ms, value = samples.at_ms, samples.value
    lengths = np.diff(heads, append=len(samples))
    last = heads + lengths - 1
    row = np.repeat(np.arange(len(heads)), lengths)
    rise = rises(value[:-1], value[1:])
    rise[heads[1:] - 1] = 0.0
    with np.errstate(invalid="ignore"):  # a signalling NaN would warn
        unsigned = value + 0.0
        low, high = np.fmin.reduceat(unsigned, heads), np.fmax.reduceat(unsigned, heads)
    return Aggregates(
        series=samples.series[last],
        start_ms=start_ms[heads],
        count=lengths.astype(np.int64),
        sum=_sums(row, value, len(heads)),
        min=_one_nan(low),
        max=_one_nan(high),
        first=_one_nan(value[heads]),
        last=_one_nan(value[last]),
        first_ms=at_ms[heads],
        last_ms=at_ms[last],
        increase=_sums(row[1:], rise, len(heads)),
        sketches=_sketched(row, samples, observed, len(heads)),
    )


def _sums(row: Ints, value: Floats, rows: int) -> Floats:
    """Sums of each row's values, added one by one from 0.0 in their order."""
    sums: Floats = np.bincount(row, weights=value, minlength=rows).astype(np.float64)
    return _one_nan(sums)


def _sketched(row: Ints, samples: Samples, observed: Flags, rows: int) -> Sketches:
    if not observed.any():
        return sketch.no_sketches(rows)
    seen = np.flatnonzero(observed[samples.series] & ~np.isnan(samples.value))
    return sketch.count(row[seen], sketch.bins_of(samples.value[seen]), rows)


def _join(
    left: Aggregates, at: Rows, right: Aggregates, other: Rows
) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of rows ``at`` of ``left`` merged each with its row ``other`` of ``right``."""
    a = {name: getattr(left, name)[at] for name in COLUMNS}
    b = {name: getattr(right, name)[other] for name in COLUMNS}
    b_starts = b["first_ms"] < a["first_ms"]
    b_ends = b["last_ms"] > a["last_ms"]
    with np.errstate(invalid="ignore", over="ignore"):
        before = np.where(b_starts, b["last"], a["last"])
        after = np.where(b_starts, a["first"], b["first"])
        apart = np.where(b_starts, b["last_ms"] < a["first_ms"], a["last_ms"] < b["first_ms"])
        increase = np.where(
            apart,
            a["increase"] + b["increase"] + rises(before, after),
            np.maximum(a["increase"], b["increase"]),
        )
        total = a["sum"] + b["sum"]
    return {
        "series": np.where(b_ends, b["series"], a["series"]),
        "count": a["count"] + b["count"],
        "sum": _one_nan(total),
        "min": _one_nan(np.fmin(a["min"], b["min"])),
        "max": _one_nan(np.fmax(a["max"], b["max"])),
        "first": np.where(b_starts, b["first"], a["first"]),
        "last": np.where(b_ends, b["last"], a["last"]),
        "first_ms": np.where(b_starts, b["first_ms"], a["first_ms"]),
        "last_ms": np.where(b_ends, b["last_ms"], a["last_ms"]),
        "increase": _one_nan(increase),
    }


def _one_nan(values: Floats) -> Floats:
    """Which NaN arithmetic makes differs between machines; what is stored must not."""
    values[np.isnan(values)] = np.nan
    return values


def _nothing() -> Aggregates:
    ints, floats = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Aggregates(
        series=np.zeros(0, dtype=np.int32),
        start_ms=ints,
        count=ints,
        sum=floats,
        min=floats,
        max=floats,
        first=floats,
        last=floats,
        first_ms=ints,
        last_ms=ints,
        increase=floats,
        sketches=sketch.no_sketches(0),
    )
