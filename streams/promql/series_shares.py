"""Long windows of many series: some series at once, where their samples are too many at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams.errors import TooLargeAtOnce
from streams.promql.frames import Frame
from streams.promql.limits import Budget
from streams.promql.source import DivisibleSource, SeriesSource

SHARES = (1, 4, 16, 64)


def in_shares(
    compute: Callable[[SeriesSource], Frame], source: SeriesSource, budget: Budget
) -> Frame:
    """``compute`` of a source, for a result of which each series depends on itself alone.

    Where there are more than ``part_max`` samples, and the source can be divided, it is, in more
    and more `SHARES`; the series are in the order of their labels then. `QueryTooLarge` where one
    of the most shares is over the query's limits.
    """
    if budget.small or not isinstance(source, DivisibleSource):
        return compute(source)
    for shares in SHARES:
        last = shares == SHARES[-1]
        try:
            with budget.apart(small=not last):
                whole = _whole(compute, source, shares, budget)
            break
        except TooLargeAtOnce:
            if last:
                raise
    budget.hold(*whole.value.shape)
    return whole


def _whole(
    compute: Callable[[SeriesSource], Frame], source: DivisibleSource, shares: int, budget: Budget
) -> Frame:
    if shares == 1:
        return compute(source)
    frames = []
    for number in range(shares):
        with budget.apart(small=budget.small):
            frames.append(compute(source.share(number, shares)))
        budget.hold(*frames[-1].value.shape)
    labels = [series for frame in frames for series in frame.labels]
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return Frame(
        tuple(labels[row] for row in order),
        np.concatenate([frame.value for frame in frames])[order],
        np.concatenate([frame.present for frame in frames])[order],
    )
