"""Columns of samples: which can be duplicates, which are the newest, the values' bits. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.events.batch import STALE_BITS, Floats, Index, Ints

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


def is_stale(value: Floats) -> npt.NDArray[np.bool_]:
    """Which values are Prometheus' staleness marker."""
    return np.asarray(value.view(np.uint64) == np.uint64(STALE_BITS))


def one_nan(value: Floats) -> Floats:
    """Every NaN but the staleness marker as the same NaN.

    DuckDB holds all NaNs to be equal, so a block of them is stored as one of them.
    """
    other = np.isnan(value) & ~is_stale(value)
    return np.where(other, np.nan, value) if other.any() else value


def equal_but_for_bits(before: Floats, after: Floats) -> Flags:
    """Where 0.0 takes the place of -0.0 or the other way round."""
    flips: Flags = (before == after) & (before.view(np.uint64) != after.view(np.uint64))
    return flips


def sort_out(series: Index, at_ms: Ints, newest_before: Ints) -> tuple[npt.NDArray[np.bool_], Rows]:
    """Which samples are newer than everything before them in their series, and which are last so.

    A sample that is not might repeat a stored one; one that is cannot, nor can a later row of this
    run be first at its time.

    >>> series = np.array([0, 0, 1, 0], dtype=np.int32)
    >>> sure, newest = sort_out(series, np.array([5, 7, 9, 7]), np.array([4, 9]))
    >>> sure.tolist(), newest.tolist()
    ([True, True, False, False], [1])
    """
    size = len(series)
    if not size:
        return np.empty(0, dtype=np.bool_), np.empty(0, dtype=np.intp)
    # Sorting (series, row) packed into one integer is stable, and several times as fast as argsort.
    packed = (series.astype(np.int64) << 32) | np.arange(size, dtype=np.int64)
    packed.sort()
    rows, ids = packed & 0xFFFFFFFF, packed >> 32
    times = at_ms[rows]
    head = np.empty(size, dtype=np.bool_)
    head[0] = True
    np.not_equal(ids[1:], ids[:-1], out=head[1:])
    before = np.empty_like(times)
    before[1:] = times[:-1]
    before[head] = newest_before[ids[head]]
    newer = times > before
    if not newer.all():
        newer = _above_all_before(ids, times, head, newest_before)
    sure = np.empty(size, dtype=np.bool_)
    sure[rows] = newer
    kept_rows, kept_ids = rows[newer], ids[newer]
    last = np.ones(len(kept_ids), dtype=np.bool_)
    np.not_equal(kept_ids[1:], kept_ids[:-1], out=last[:-1])
    return sure, kept_rows[last]


def _above_all_before(
    ids: Ints, times: Ints, head: npt.NDArray[np.bool_], newest_before: Ints
) -> npt.NDArray[np.bool_]:
    """Strict running maxima within each series; times as ranks, so that nothing overflows."""
    distinct, ranks = np.unique(times, return_inverse=True)
    part = np.cumsum(head) * len(distinct)
    running = np.maximum.accumulate(part + ranks)
    newer = times > newest_before[ids]
    inner = np.flatnonzero(~head)
    newer[inner] &= (part + ranks)[inner] > running[inner - 1]
    return newer
