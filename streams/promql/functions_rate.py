"""Functions that compare neighbouring samples: rates, differences, resets and changes.

Semantics: Prometheus' documentation, "Query functions" (https://prometheus.io/docs/prometheus/
latest/querying/functions/). A counter's fall is a reset, after which it counts from zero again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from streams.promql.frames import Context, Entry, Flags, Floats, Ints, Windows

CELLS_PER_BLOCK = 16_384
COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")


@dataclass(frozen=True)
class Falls:
    """Where a counter was reset: sample ``place[i]`` is less than the one before it."""

    place: Ints
    before: Floats
    """[i] The value before the fall: what the counter had counted until then."""
    count: Ints
    """[N + 1] How many falls lie at places below n."""


def extrapolated(
    windows: Windows, scalars: Sequence[Floats], context: Context, *, counter: bool, rate: bool
) -> tuple[Floats, Flags]:
    """``rate`` (per second), ``increase`` and, without resets, ``delta`` of each window.

    The difference between the last and the first sample is stretched to the whole window where
    samples reach as near to its bounds as they lie to each other (up to 10 % more), else by half
    of their average distance; a counter never below zero. Two samples at least.
    """
    del scalars
    context.budget.spend(windows.begin.size)
    present = windows.end - windows.begin >= 2
    value = np.zeros(windows.begin.shape)
    falls = _falls(windows) if counter else None
    rows = max(CELLS_PER_BLOCK // max(windows.begin.shape[1], 1), 1)
    with np.errstate(all="ignore"):
        for start in range(0, len(windows.begin), rows):
            some = slice(start, start + rows)
            value[some] = _stretched(windows, some, falls)
        if rate:
            value /= windows.range_ms / 1000
    if counter:
        _doubt_counters(windows, present, context)
    return value, present


def _stretched(windows: Windows, some: slice, falls: Falls | None) -> Floats:
    """The extrapolated differences of the windows of some series; nonsense where one is empty."""
    begin = windows.begin[some]
    end = windows.end[some]
    if not len(windows.value):
        return np.zeros(begin.shape)
    first = np.minimum(begin, len(windows.value) - 1)
    last = np.maximum(end - 1, 0)
    first_value = windows.value[first]
    change = windows.value[last] - first_value
    if falls is not None:
        change = _with_falls(change, begin, end, falls)
    first_ms = windows.at_ms[first]
    last_ms = windows.at_ms[last]
    to_start = (first_ms - windows.start_ms) / 1000
    to_end = (windows.stop_ms - last_ms) / 1000
    sampled = (last_ms - first_ms) / 1000
    distance = sampled / (end - begin - 1)
    near = distance * 1.1
    to_start = np.where(to_start >= near, distance / 2, to_start)
    to_end = np.where(to_end >= near, distance / 2, to_end)
    if falls is not None:
        to_zero = sampled * (first_value / change)
        reaches_zero = (change > 0) & (first_value >= 0) & (to_zero < to_start)
        to_start = np.where(reaches_zero, to_zero, to_start)
    stretched: Floats = change * ((sampled + to_start + to_end) / sampled)
    return stretched


def _falls(windows: Windows) -> Falls:
    fell = windows.value[1:] < windows.value[:-1]
    place = np.flatnonzero(fell) + 1
    return Falls(place, windows.value[place - 1], _count_until(fell))


def _count_until(flags: Flags) -> Ints:
    """[N + 1] How many of the pairs (n - 1, n) that are flagged have n below this place."""
    count = np.zeros(len(flags) + 2, dtype=np.int64)
    np.cumsum(flags, out=count[2:])
    return count


def _with_falls(change: Floats, begin: Ints, end: Ints, falls: Falls) -> Floats:
    """Adds what was counted before each reset, in the order of time."""
    skipped = falls.count[np.minimum(begin + 1, len(falls.count) - 1)]
    inside = falls.count[end] - skipped
    for nth in range(int(inside.max(initial=0))):
        having = inside > nth
        change[having] += falls.before[skipped[having] + nth]
    return change


def _doubt_counters(windows: Windows, present: Flags, context: Context) -> None:
    """Says of which metrics a rate was asked although they are not named like counters."""
    seen: set[str] = set()
    for row in np.flatnonzero(present.any(axis=1)):
        name = dict(windows.labels[row]).get("__name__", "")
        if name and name not in seen and not name.endswith(COUNTER_ENDINGS):
            context.annotations.info(
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"'
            )
        seen.add(name)


def newest_two(
    windows: Windows, scalars: Sequence[Floats], context: Context, *, rate: bool
) -> tuple[Floats, Flags]:
    """``irate`` (per second, with resets) or ``idelta`` of each window's last two samples."""
    del scalars
    context.budget.spend(windows.begin.size)
    present = windows.end - windows.begin >= 2
    value = np.zeros(windows.begin.shape)
    last = windows.end[present] - 1
    newer, older = windows.value[last], windows.value[last - 1]
    with np.errstate(all="ignore"):
        if rate:
            change = np.where(newer < older, newer, newer - older)
            value[present] = change / ((windows.at_ms[last] - windows.at_ms[last - 1]) / 1000)
        else:
            value[present] = newer - older
    return value, present


def counted_pairs(
    windows: Windows,
    scalars: Sequence[Floats],
    context: Context,
    *,
    differ: Callable[[Floats, Floats], Flags],
) -> tuple[Floats, Flags]:
    """How many samples of each window ``differ`` (newer, older) from the one before them."""
    del scalars
    context.budget.spend(windows.begin.size)
    present = windows.end > windows.begin
    count = _count_until(differ(windows.value[1:], windows.value[:-1]))
    # A window's first sample has no predecessor in it.
    after_first = np.minimum(windows.begin + 1, len(count) - 1)
    return np.where(present, count[windows.end] - count[after_first], 0.0), present


def _is_reset(newer: Floats, older: Floats) -> Flags:
    return newer < older


def _is_change(newer: Floats, older: Floats) -> Flags:
    changed: Flags = (newer != older) & ~(np.isnan(newer) & np.isnan(older))
    return changed


RATE_FUNCTIONS: Mapping[str, Entry] = {
    "changes": Entry(partial(counted_pairs, differ=_is_change)),
    "delta": Entry(partial(extrapolated, counter=False, rate=False)),
    "idelta": Entry(partial(newest_two, rate=False)),
    "increase": Entry(partial(extrapolated, counter=True, rate=False)),
    "irate": Entry(partial(newest_two, rate=True)),
    "rate": Entry(partial(extrapolated, counter=True, rate=True)),
    "resets": Entry(partial(counted_pairs, differ=_is_reset)),
}
