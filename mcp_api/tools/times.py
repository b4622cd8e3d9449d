"""Times and durations as callers write them: ISO 8601 with an offset, or relative to now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from streams.domain.durations import UNITS_MS
from streams.errors import InputError

_PART = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d|w))+", re.ASCII)
_RELATIVE = re.compile(r"(now)?(?:([+-])(.+))?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", re.ASCII)

DURATION_MS_MAX = 100 * 366 * UNITS_MS["d"]
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC; Z is written beside it
_MS_MIN = -62_135_596_800_000  # 0001-01-01T00:00:00Z
_MS_MAX = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

TIME_FORMS = "ISO 8601 with an offset (2026-01-31T12:00:00Z) or relative (-1h, now, now-15m)"


def parse_duration(text: str, field: str) -> int:
    """Milliseconds of ``5m``, ``1h30m``, ``500ms``; above zero and at most 100 years.

    Raises `InputError` that names ``field``.

    >>> parse_duration("1h30m", "step")
    5400000
    """
    if not _DURATION.fullmatch(text):
        raise InputError(
            f"{field} is {text[:40]!r}; expected a duration such as 30s, 5m, 1h30m or 7d",
            field=field,
        )
    duration = sum(int(n) * UNITS_MS[unit] for n, unit in _PART.findall(text))
    if not 0 < duration <= DURATION_MS_MAX:
        raise InputError(f"{field} is {text[:40]!r}; expected from 1ms to 100 years", field=field)
    return duration


def parse_time(text: str, now_ms: int, field: str) -> int:
    """Unix milliseconds of an ISO 8601 time with offset, or of a time relative to ``now_ms``.

    Raises `InputError` that names ``field``.

    >>> parse_time("now-15m", 1_000_000, "start_time")
    100000
    >>> parse_time("2024-01-01T00:00:00Z", 0, "start_time")
    1704067200000
    """
    relative = _RELATIVE.fullmatch(text)
    if relative and text:
        sign, rest = relative[2], relative[3]
        if rest is None:
            return now_ms
        shift = parse_duration(rest, field)
        return now_ms - shift if sign == "-" else now_ms + shift
    if not _DATE.match(text):
        raise InputError(f"{field} is {text[:40]!r}; expected {TIME_FORMS}", field=field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{field} is {text[:40]!r}; expected {TIME_FORMS}", field=field) from error
    if moment.tzinfo is None:
        raise InputError(
            f"{field} is {text[:40]!r}, which has no offset; add Z or one such as +02:00",
            field=field,
        )
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000


def iso(at_ms: int) -> str:
    """UTC, with milliseconds only where there are some; years outside 1 to 9999 are clamped.

    >>> iso(1_704_067_200_000), iso(1_704_067_200_500)
    ('2024-01-01T00:00:00Z', '2024-01-01T00:00:00.500Z')
    """
    moment = _EPOCH + timedelta(milliseconds=min(max(at_ms, _MS_MIN), _MS_MAX))
    # Not strftime, which writes the year 900 with three digits.
    return moment.isoformat(timespec="milliseconds").removesuffix(".000") + "Z"


_NICE_MS = tuple(
    n * UNITS_MS[unit]
    for unit, counts in {
        "s": (1, 2, 5, 10, 15, 30),
        "m": (1, 2, 5, 10, 15, 30),
        "h": (1, 2, 3, 6, 12),
        "d": (1, 2, 7, 14, 30, 90, 365),
    }.items()
    for n in counts
)


def choose_step_ms(start_ms: int, end_ms: int, points_max: int) -> int:
    """The smallest round step that cuts ``[start, end]`` into at most ``points_max`` buckets.

    Buckets are aligned to the epoch, so the first and the last may be cut off.

    >>> choose_step_ms(0, 3_600_000, 60)
    120000
    """
    for step in _NICE_MS:
        if buckets(start_ms, end_ms, step) <= points_max:
            return step
    return max(_NICE_MS[-1], (end_ms - start_ms) // max(points_max - 1, 1) + 1)


def buckets(start_ms: int, end_ms: int, step_ms: int) -> int:
    """How many epoch-aligned buckets of ``step_ms`` the closed range touches."""
    return end_ms // step_ms - start_ms // step_ms + 1
