"""Functions that aggregate the samples of each window: ``*_over_time``.

Semantics: Prometheus' documentation, "<aggregation>_over_time()". All samples in a window have the
same weight, however they are spaced. Sums are Kahan's, the variance is Welford's with Kahan's sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from streams.promql.frames import Context, Entry, Flags, Floats, Windows
from streams.promql.quantiles import check_quantile, quantile_of_rows
from streams.promql.summation import added, added_calmly, closed, is_calm
from streams.promql.window_blocks import Block, over_blocks


def sum_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The sum of each window."""
    del scalars
    longest = int((windows.end - windows.begin).max(initial=0))
    add = added_calmly if is_calm(windows.value, longest) else added

    def summed(block: Block) -> Floats:
        return closed(*_sum(block, add))

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, summed)


def avg_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The mean of each window; a sum that leaves the range of floats is not its end.

    From the sample on which would make the sum infinite, the mean itself is carried on.
    """
    del scalars
    longest = int((windows.end - windows.begin).max(initial=0))

    def calm(block: Block) -> Floats:
        total, lost = _sum(block, added_calmly)
        return total / block.length + lost / block.length

    with np.errstate(all="ignore"):
        is_plain = is_calm(windows.value, longest)
        return over_blocks(windows, context, calm if is_plain else _mean_beyond_sums)


def _sum(
    block: Block, add: Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]
) -> tuple[Floats, Floats]:
    total = block.values(0)
    lost = np.zeros(len(total))
    for nth in range(1, block.longest):
        value = block.values(nth)
        some = len(value)
        total[:some], lost[:some] = add(value, total[:some], lost[:some])
    return total, lost


def _mean_beyond_sums(block: Block) -> Floats:
    total = block.values(0)
    lost = np.zeros(len(total))
    moving = np.zeros(len(total), dtype=np.bool_)  # where the mean itself is carried
    for nth in range(1, block.longest):
        value = block.values(nth)
        n = len(value)
        new_total, new_lost = added(value, total[:n], lost[:n])
        starts = ~moving[:n] & np.isinf(new_total)
        total[:n] = np.where(starts, total[:n] / nth, total[:n])
        lost[:n] = np.where(starts, lost[:n] / nth, lost[:n])
        moving[:n] |= starts
        keep = nth / (nth + 1)
        mean, mean_lost = added(value / (nth + 1), keep * total[:n], keep * lost[:n])
        total[:n] = np.where(moving[:n], mean, new_total)
        lost[:n] = np.where(moving[:n], mean_lost, new_lost)
    mean = total / block.length + lost / block.length
    return np.where(moving, total + lost, mean)


def variance_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context, *, root: bool
) -> tuple[Floats, Flags]:
    """The population variance of each window, or its ``root``, the standard deviation."""
    del scalars

    def spread(block: Block) -> Floats:
        mean, mean_lost, squares, squares_lost = np.zeros((4, len(block.length)))
        for nth in range(block.longest):
            value = block.values(nth)
            n = len(value)
            off = value - (mean[:n] + mean_lost[:n])
            mean[:n], mean_lost[:n] = added(off / (nth + 1), mean[:n], mean_lost[:n])
            off *= value - (mean[:n] + mean_lost[:n])
            squares[:n], squares_lost[:n] = added(off, squares[:n], squares_lost[:n])
        variance: Floats = (squares + squares_lost) / block.length
        return np.sqrt(variance) if root else variance

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, spread)


def quantile_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The quantile ``scalars[0]`` of each window, between two samples by their distance.

    Outside of [0, 1] it is -Inf or +Inf, with a warning.
    """
    share = scalars[0]
    asked = (windows.end > windows.begin).any(axis=0)
    check_quantile(share[asked], context)

    def quantile(block: Block) -> Floats:
        return quantile_of_rows(share[block.step], block.table(np.inf), block.length)

    return over_blocks(windows, context, quantile)


def mad_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The median absolute deviation from the median of each window; NaN where one sample is."""
    del scalars

    def deviation(block: Block) -> Floats:
        table = block.table(np.inf)
        half = np.full(len(table), 0.5)
        median = quantile_of_rows(half, table, block.length)
        off = np.abs(table - median[:, None])
        off[np.arange(block.longest) >= block.length[:, None]] = np.inf
        result = quantile_of_rows(half, off, block.length)
        return np.where(np.isnan(table).any(axis=1), np.nan, result)

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, deviation)


def extreme_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context, *, extreme: np.ufunc
) -> tuple[Floats, Flags]:
    """The largest (``np.fmax``) or smallest (``np.fmin``) sample; NaN only where all are."""
    del scalars
    present = windows.end > windows.begin
    value = np.zeros(present.shape)
    context.budget.spend(int((windows.end - windows.begin).sum()))
    if present.any():
        bounds = np.stack([windows.begin[present], windows.end[present]], axis=1)
        padded = np.append(windows.value, np.nan)
        value[present] = extreme.reduceat(padded, bounds.reshape(-1))[::2]
    return value, present


def time_of_extreme(
    windows: Windows,
    scalars: Sequence[Floats],
    context: Context,
    *,
    reaches: Callable[[Floats, Floats], Flags],
) -> tuple[Floats, Flags]:
    """When, in seconds, each window's largest or smallest sample was; of equal ones the last."""
    del scalars

    def time(block: Block) -> Floats:
        best = block.values(0)
        at_ms = block.times_ms(0)
        for nth in range(1, block.longest):
            value = block.values(nth)
            n = len(value)
            better = reaches(value, best[:n]) | np.isnan(best[:n])
            best[:n] = np.where(better, value, best[:n])
            at_ms[:n] = np.where(better, block.times_ms(nth), at_ms[:n])
        return at_ms / 1000

    return over_blocks(windows, context, time)


def one_sample(
    windows: Windows, scalars: Sequence[Floats], context: Context, *, last: bool, time: bool
) -> tuple[Floats, Flags]:
    """The value, or the time in seconds, of each window's first or ``last`` sample."""
    del scalars
    context.budget.spend(windows.begin.size)
    present = windows.end > windows.begin
    value = np.zeros(present.shape)
    place = windows.end[present] - 1 if last else windows.begin[present]
    value[present] = windows.at_ms[place] / 1000 if time else windows.value[place]
    return value, present


def count_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """How many samples each window has."""
    del scalars
    context.budget.spend(windows.begin.size)
    length = windows.end - windows.begin
    return length.astype(np.float64), length > 0


def present_over_time(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """1 for each window that has a sample."""
    del scalars
    context.budget.spend(windows.begin.size)
    return np.ones(windows.begin.shape), windows.end > windows.begin


OVER_TIME_FUNCTIONS: Mapping[str, Entry] = {
    "avg_over_time": Entry(avg_over_time),
    "count_over_time": Entry(count_over_time),
    "first_over_time": Entry(partial(one_sample, last=False, time=False), drops_name=False),
    "last_over_time": Entry(partial(one_sample, last=True, time=False), drops_name=False),
    "mad_over_time": Entry(mad_over_time),
    "max_over_time": Entry(partial(extreme_over_time, extreme=np.fmax)),
    "min_over_time": Entry(partial(extreme_over_time, extreme=np.fmin)),
    "present_over_time": Entry(present_over_time),
    "quantile_over_time": Entry(quantile_over_time),
    "stddev_over_time": Entry(partial(variance_over_time, root=True)),
    "stdvar_over_time": Entry(partial(variance_over_time, root=False)),
    "sum_over_time": Entry(sum_over_time),
    "ts_of_first_over_time": Entry(partial(one_sample, last=False, time=True)),
    "ts_of_last_over_time": Entry(partial(one_sample, last=True, time=True)),
    "ts_of_max_over_time": Entry(partial(time_of_extreme, reaches=np.greater_equal)),
    "ts_of_min_over_time": Entry(partial(time_of_extreme, reaches=np.less_equal)),
}
