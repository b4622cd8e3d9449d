"""Selectors: samples of the source as an instant vector or a range vector at each step.

An instant vector takes the newest sample of ``(t - look-back, t]``, unless that is a stale marker;
a range vector takes the samples of ``(t - range, t]`` without the stale markers (Prometheus 3:
https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness).
"""

from __future__ import annotations

import numpy as np

from streams.events.batch import STALE_BITS
from streams.promql.frames import Flags, Floats, Frame, Ints, Labels, Windows
from streams.promql.limits import Budget
from streams.promql.source import Selected, SeriesSource
from streams.promql.syntax import Selector


def instant(
    selector: Selector, times: Ints, lookback_ms: int, source: SeriesSource, budget: Budget
) -> tuple[Frame, Ints]:
    """The vector at each of these times (`@` and ``offset`` applied), and its samples' times."""
    span = (int(times[0]) - lookback_ms + 1, int(times[-1]))
    found = _select(selector, span, source, budget, len(times))
    newest = positions(found.at_ms, found.offsets, times) - 1
    here = newest >= found.offsets[:-1, None]
    if not len(found.at_ms):
        empty = np.zeros(here.shape)
        return Frame(found.labels, empty, here), np.zeros(here.shape, np.int64)
    np.maximum(newest, 0, out=newest)
    at_ms = found.at_ms[newest]
    here &= at_ms > times - lookback_ms
    stale = is_stale(found.value)
    if stale.any():
        here &= ~stale[newest]
    return Frame(found.labels, found.value[newest], here), at_ms


def windows(
    selector: Selector, times: Ints, range_ms: int, source: SeriesSource, budget: Budget
) -> Windows:
    """The windows that end at these times."""
    span = (int(times[0]) - range_ms + 1, int(times[-1]))
    found = _select(selector, span, source, budget, len(times))
    at_ms, value, offsets = found.at_ms, found.value, found.offsets
    fresh = ~is_stale(value)
    if not fresh.all():
        offsets = np.concatenate(([0], np.cumsum(fresh)))[offsets]
        at_ms, value = at_ms[fresh], value[fresh]
    return windows_of(found.labels, (offsets, at_ms, value), times, range_ms)


def windows_of(
    labels: tuple[Labels, ...], columns: tuple[Ints, Ints, Floats], times: Ints, range_ms: int
) -> Windows:
    """Windows over columns (offsets, times, values) of samples."""
    offsets, at_ms, value = columns
    starts = times - range_ms
    begin = positions(at_ms, offsets, starts)
    end = positions(at_ms, offsets, times)
    return Windows(labels, at_ms, value, begin, end, starts, times, range_ms)


def is_stale(value: Floats) -> Flags:
    """Which values are stale markers: one NaN among many."""
    bits = np.ascontiguousarray(value).view(np.uint64)
    stale: Flags = bits == np.uint64(STALE_BITS)
    return stale


def positions(at_ms: Ints, offsets: Ints, times: Ints) -> Ints:
    """[S, T]: past each series' last sample that is not after each time (ascending).

    Counts samples into the gaps between times and sums up, so that the cost is that of samples and
    cells, without a search for each cell.

    >>> positions(np.array([10, 20, 5]), np.array([0, 2, 3]), np.array([10, 15, 20])).tolist()
    [[1, 1, 2], [3, 3, 3]]
    """
    series, steps = len(offsets) - 1, len(times)
    counts = np.diff(offsets)
    if series and counts[0] * series == len(at_ms) and (counts == counts[0]).all():
        grid = at_ms.reshape(series, counts[0])
        if (grid == grid[0]).all():  # all scraped at once
            shared = np.searchsorted(grid[0], times, side="right")
            return offsets[:-1, None] + shared
    gap = np.searchsorted(times, at_ms, side="left")
    gap += np.repeat(np.arange(series) * (steps + 1), counts)
    filled = np.bincount(gap, minlength=series * (steps + 1)).reshape(series, steps + 1)
    summed: Ints = np.cumsum(filled[:, :steps], axis=1)
    summed += offsets[:-1, None]
    return summed


def _select(
    selector: Selector, span: tuple[int, int], source: SeriesSource, budget: Budget, steps: int
) -> Selected:
    found = source.select(selector.matchers, *span, budget.samples_left)
    budget.read(None if found is None else len(found.at_ms))
    assert found is not None  # else `read` has refused it
    budget.hold(len(found.labels), steps)
    return found
