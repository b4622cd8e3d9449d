"""Aggregations that make one number of a group: each takes [S, T] and gives [G, T].

Where a group has no value at a step, what stands there means nothing.
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Floats, Frame
from streams.promql.groups import Groups
from streams.promql.quantiles import quantile_of_rows
from streams.promql.summation import added, added_calmly, closed, is_calm


def total(vector: Frame, groups: Groups) -> Floats:
    """The sum, compensated: as good as exact unless it is infinite."""
    return closed(*_sum(np.where(vector.present, vector.value, 0.0), groups))


def mean(vector: Frame, groups: Groups) -> Floats:
    """The arithmetic mean, also where the sum would overflow."""
    value = np.where(vector.present, vector.value, 0.0)
    counts = np.maximum(groups.counts(vector.present), 1)
    result, lost = _sum(value, groups)
    with np.errstate(all="ignore"):
        over = np.isinf(result) & (groups.counts(vector.present & np.isinf(value)) == 0)
        average = result / counts + np.where(np.isfinite(result), lost, 0.0) / counts
        if over.any():
            scaled = closed(*_sum(value / counts[groups.ids], groups))
            average = np.where(over, scaled, average)
    return average


def least(vector: Frame, groups: Groups) -> Floats:
    """The least number; NaN only where there is nothing but NaN."""
    return _reduce(np.fmin, vector, groups)


def greatest(vector: Frame, groups: Groups) -> Floats:
    """The greatest number; NaN only where there is nothing but NaN."""
    return _reduce(np.fmax, vector, groups)


def count(vector: Frame, groups: Groups) -> Floats:
    """How many series have a value."""
    return groups.counts(vector.present).astype(np.float64)


def one(vector: Frame, groups: Groups) -> Floats:
    """1 for each group."""
    return np.ones((groups.count, vector.value.shape[1]))


def variance(vector: Frame, groups: Groups) -> Floats:
    """The population's variance: the mean squared distance from the mean."""
    counts = np.maximum(groups.counts(vector.present), 1)
    with np.errstate(all="ignore"):
        distance = vector.value - mean(vector, groups)[groups.ids]
        squares = np.where(vector.present, distance * distance, 0.0)
        return closed(*_sum(squares, groups)) / counts


def deviation(vector: Frame, groups: Groups) -> Floats:
    """The population's standard deviation."""
    with np.errstate(all="ignore"):
        return np.sqrt(variance(vector, groups))


def quantile(vector: Frame, groups: Groups, share: Floats) -> Floats:
    """The quantile ``share[t]``, between the two nearest ranks."""
    steps = vector.value.shape[1]
    result = np.empty((groups.count, steps))
    filled = np.where(vector.present, vector.value, np.inf)
    for some, rows in groups.by_size():
        table = np.swapaxes(filled[rows], 1, 2).reshape(-1, rows.shape[1])
        length = vector.present[rows].sum(axis=1).reshape(-1)
        shares = np.tile(share, len(some))
        result[some] = quantile_of_rows(shares, table, length).reshape(len(some), steps)
    return result


def _reduce(ufunc: np.ufunc, vector: Frame, groups: Groups) -> Floats:
    filled = np.where(vector.present, vector.value, np.nan)[groups.order]
    if not groups.count:
        return filled
    reduced: Floats = ufunc.reduceat(filled, groups.start, axis=0)
    zero = filled == 0
    if not np.signbit(filled[zero]).any():
        return reduced
    # Of zeros of both signs the first is taken; numpy would take any.
    place = np.where(zero, np.arange(len(filled))[:, None], len(filled) - 1)
    first = np.minimum.reduceat(place, groups.start, axis=0)
    return np.where(reduced == 0, np.take_along_axis(filled, first, axis=0), reduced)


def _sum(value: Floats, groups: Groups) -> tuple[Floats, Floats]:
    """Sum and loss. Neighbours are added pairwise, which takes log2(size) passes of numpy; where
    that could meet infinity, one after another, so that it is met where Prometheus meets it."""
    with np.errstate(all="ignore"):
        if not is_calm(value, int(groups.size.max(initial=0))):
            return _sum_in_order(value, groups)
        size, result = groups.size, value[groups.order]
        lost = np.zeros_like(result)
        while size.max(initial=0) > 1:
            nth = np.arange(len(result)) - np.repeat(np.cumsum(size) - size, size)
            left = np.flatnonzero(nth % 2 == 0)
            paired = (nth + 1 < np.repeat(size, size))[left]
            right = left[paired] + 1
            next_result, next_lost = result[left], lost[left]
            pair = added_calmly(result[right], next_result[paired], next_lost[paired])
            next_result[paired], next_lost[paired] = pair[0], pair[1] + lost[right]
            result, lost, size = next_result, next_lost, (size + 1) // 2
        return result, lost


def _sum_in_order(value: Floats, groups: Groups) -> tuple[Floats, Floats]:
    result = np.zeros((groups.count, value.shape[1]))
    lost = np.zeros_like(result)
    for nth in range(int(groups.size.max(initial=0))):
        some = np.flatnonzero(groups.size > nth)
        rows = groups.order[groups.start[some] + nth]
        result[some], lost[some] = added(value[rows], result[some], lost[some])
    return result, lost
