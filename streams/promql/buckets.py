"""The arithmetic of classic histograms' buckets, for many histograms (M) at once.

Bounds are ascending upper bounds [B], shared by all; counts are cumulative [B, M]. Source:
Prometheus' documentation, ``histogram_quantile`` and ``histogram_fraction``.
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Flags, Floats

SMALL_DIFFERENCE = 1e-12
"""Counts that differ by less, relative to their sum, differ by rounding only."""


def bucket_quantile(share: Floats, bounds: Floats, counts: Floats) -> tuple[Floats, Flags]:
    """[M] The quantile ``share`` of each histogram; and where falling counts had to be raised.

    NaN without a +Inf bucket and another one, or without observations. In the +Inf bucket it is the
    bound below; in the first bucket it is interpolated from 0, or is its bound if that is not
    positive.
    """
    columns = counts.shape[1]
    inside = (share >= 0) & (share <= 1)
    outside = np.where(share < 0, -np.inf, np.where(share > 1, np.inf, np.nan))
    if bounds[-1] != np.inf:
        return outside, np.zeros(columns, dtype=np.bool_)
    bounds, counts = _coalesced(bounds, counts)
    counts, mended = _monotonic(counts)
    if len(bounds) < 2:
        return outside, mended & inside
    rank = share * counts[-1]
    reached = counts[:-1] >= rank
    bucket = np.where(reached.any(axis=0), reached.argmax(axis=0), len(bounds) - 1)
    column = np.arange(columns)
    below = np.where(bucket > 0, counts[bucket - 1, column], 0.0)
    start = np.where(bucket > 0, bounds[bucket - 1], 0.0)
    share_of_bucket = (rank - below) / (counts[bucket, column] - below)
    value = start + (bounds[bucket] - start) * share_of_bucket
    if bounds[0] <= 0:
        value = np.where(bucket == 0, bounds[0], value)
    value = np.where(bucket == len(bounds) - 1, bounds[-2], value)
    value = np.where(counts[-1] == 0, np.nan, value)
    return np.where(inside, value, outside), mended & inside


def bucket_fraction(lower: Floats, upper: Floats, bounds: Floats, counts: Floats) -> Floats:
    """[M] The share of observations between ``lower`` and ``upper``.

    NaN without a +Inf bucket or observations; 0 where lower >= upper.
    """
    if bounds[-1] != np.inf:
        return np.full(counts.shape[1], np.nan)
    bounds, counts = _coalesced(bounds, counts)
    total = counts[-1]
    fraction = (_rank(upper, bounds, counts) - _rank(lower, bounds, counts)) / total
    fraction = np.where(lower >= upper, 0.0, fraction)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, fraction)


def _rank(at: Floats, bounds: Floats, counts: Floats) -> Floats:
    """[M] How many observations are not above ``at``; none of the +Inf bucket for a number."""
    starts = np.concatenate(([0.0 if bounds[0] > 0 else -np.inf], bounds[:-1]))
    # The first bucket that starts at or above it, or that holds it.
    reached = (starts[:, None] >= at) | (bounds[:, None] > at)
    bucket = reached.argmax(axis=0)
    column = np.arange(counts.shape[1])
    start = starts[bucket]
    before = np.where(bucket > 0, counts[bucket - 1, column], 0.0)
    count = counts[bucket, column]
    inside = before + (count - before) * (at - start) / (bounds[bucket] - start)
    rank = np.where(start >= at, before, np.where(start == -np.inf, count, inside))
    return np.where(reached.any(axis=0) & ~(rank > counts[-1]), rank, counts[-1])


def _coalesced(bounds: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Buckets with one bound count together."""
    first = np.flatnonzero(np.diff(bounds, prepend=np.nan) != 0)
    # Infinities differ by NaN although they are equal.
    first = first[(first == 0) | (bounds[first] != bounds[first - 1])]
    if len(first) == len(bounds):
        return bounds, counts
    return bounds[first], np.add.reduceat(counts, first, axis=0)


def _monotonic(counts: Floats) -> tuple[Floats, Flags]:
    """Counts that do not fall, small differences levelled; and where more than those fell."""
    counts = counts.copy()
    mended = np.zeros(counts.shape[1], dtype=np.bool_)
    highest = counts[0].copy()
    for bucket in range(1, len(counts)):
        count = counts[bucket]
        level = _almost_equal(highest, count)
        fell = ~level & (count < highest)
        mended |= fell
        highest = np.where(level | fell, highest, count)
        counts[bucket] = highest
    return counts, mended


def _almost_equal(one: Floats, other: Floats) -> Flags:
    smallest = np.finfo(np.float64).tiny
    size = np.abs(one) + np.abs(other)
    difference = np.abs(one - other)
    tiny = (one == 0) | (other == 0) | (size < smallest)
    near = np.where(
        tiny,
        difference < SMALL_DIFFERENCE * smallest,
        difference / np.minimum(size, np.finfo(np.float64).max) < SMALL_DIFFERENCE,
    )
    equal: Flags = near | (one == other) | (np.isnan(one) & np.isnan(other))
    return equal
