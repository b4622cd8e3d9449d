"""Functions of time: of the evaluation, of samples, and the parts of a date in UTC.

Semantics: Prometheus' documentation, "Query functions". Dates are Gregorian without end, as Go's
``time`` has them; what is no number of seconds in 64 bits is the least one that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streams.promql.frames import (
    Argument,
    Context,
    Floats,
    Frame,
    Ints,
    ScalarSteps,
    VectorFunction,
)
from streams.promql.functions_math import with_values

DAY_S = 86_400
DAYS_IN_400_YEARS = 146_097
FIRST_YEAR = -292_277_022_399
"""The first that begins within 64 bits of seconds; days are counted from there, as Go does."""
FIRST_YEAR_TO_EPOCH_S = np.uint64(9_223_372_028_715_321_600)
MONTH_STARTS = np.array(
    [
        [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365],
        [0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 366],
    ]
)
"""Days of the year at which months begin; second row: leap years."""

Counts = NDArray[np.uint64]


def time(args: Sequence[Argument], context: Context) -> ScalarSteps:
    """The time of evaluation in seconds."""
    del args
    return ScalarSteps(context.steps.at_ms / 1000)


def timestamp(args: Sequence[Argument], context: Context) -> Frame:
    """The time of each sample: of what was computed, the time of evaluation, in seconds.

    Of a selector alone it is the sample's own; whoever selects knows that one.
    """
    (frame,) = args
    assert isinstance(frame, Frame)
    at_s = context.steps.at_ms / 1000
    return with_values(frame, lambda value: np.broadcast_to(at_s, value.shape), context)


def of_date(
    args: Sequence[Argument], context: Context, *, part: Callable[[Floats], Floats]
) -> Frame:
    """A ``part`` of the date of each sample in seconds; without argument, of the evaluation."""
    if not args:
        at_s = (context.steps.at_ms // 1000).astype(np.float64)
        return Frame(((),), part(at_s)[None, :], np.ones((1, len(at_s)), dtype=np.bool_))
    (frame,) = args
    assert isinstance(frame, Frame)
    return with_values(frame, part, context)


@dataclass(frozen=True)
class _Date:
    year: Ints
    day_of_year: Ints
    """From 0."""
    leap: Ints
    """1 in leap years, else 0."""
    month: Ints
    """From 0."""


def _seconds(value: Floats) -> Counts:
    """Since the first year, modulo 2^64."""
    possible = (value >= -(2.0**63)) & (value < 2.0**63)
    whole = np.where(possible, value, -(2.0**63)).astype(np.int64)
    seconds: Counts = whole.view(np.uint64) + FIRST_YEAR_TO_EPOCH_S
    return seconds


def _date(value: Floats) -> _Date:
    days = _seconds(value) // DAY_S
    cycles = (days // DAYS_IN_400_YEARS).astype(np.int64)
    day = (days % DAYS_IN_400_YEARS).astype(np.int64)
    # The last day of a leap year would else begin a fifth century or a fifth year.
    centuries = np.minimum(day // 36_524, 3)
    day -= centuries * 36_524
    fours = day // 1_461
    day -= fours * 1_461
    years = np.minimum(day // 365, 3)
    day -= years * 365
    leap = ((years == 3) & ((fours != 24) | (centuries == 3))).astype(np.int64)
    month = np.where(
        leap,
        np.searchsorted(MONTH_STARTS[1], day, side="right"),
        np.searchsorted(MONTH_STARTS[0], day, side="right"),
    )
    year = FIRST_YEAR + cycles * 400 + centuries * 100 + fours * 4 + years
    return _Date(year, day, leap, month - 1)


def _year(value: Floats) -> Floats:
    return _date(value).year.astype(np.float64)


def _month(value: Floats) -> Floats:
    return (_date(value).month + 1).astype(np.float64)


def _day_of_month(value: Floats) -> Floats:
    date = _date(value)
    day: Ints = date.day_of_year - MONTH_STARTS[date.leap, date.month] + 1
    return day.astype(np.float64)


def _days_in_month(value: Floats) -> Floats:
    date = _date(value)
    starts = MONTH_STARTS[date.leap, date.month]
    days: Ints = MONTH_STARTS[date.leap, date.month + 1] - starts
    return days.astype(np.float64)


def _day_of_year(value: Floats) -> Floats:
    return (_date(value).day_of_year + 1).astype(np.float64)


def _day_of_week(value: Floats) -> Floats:
    # The first day of that first year was a Monday; Sunday is 0.
    return ((_seconds(value) // DAY_S + 1) % 7).astype(np.float64)


def _hour(value: Floats) -> Floats:
    return (_seconds(value) % DAY_S // 3_600).astype(np.float64)


def _minute(value: Floats) -> Floats:
    return (_seconds(value) % 3_600 // 60).astype(np.float64)


_PARTS: Mapping[str, Callable[[Floats], Floats]] = {
    "day_of_month": _day_of_month,
    "day_of_week": _day_of_week,
    "day_of_year": _day_of_year,
    "days_in_month": _days_in_month,
    "hour": _hour,
    "minute": _minute,
    "month": _month,
    "year": _year,
}

TIME_FUNCTIONS: Mapping[str, VectorFunction] = {
    **{name: partial(of_date, part=part) for name, part in _PARTS.items()},
    "time": time,
    "timestamp": timestamp,
}
