"""Silences: which alerts they mean and when, weekly maintenance windows in local time included.

Matchers are written as Alertmanager's are
(https://prometheus.io/docs/alerting/latest/configuration/#matcher): ``name="value"`` with ``=``,
``!=``, ``=~`` or ``!~``; the quotes may be left out. Regular expressions are RE2's and match the
whole value; a missing label is an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

from streams.errors import InputError, QueryError
from streams.events.rules import Recurrence, Silence
from streams.promql.matchers import Matcher, Operator, matches

MATCHERS_MAX = 50
SPAN_MS_MAX = 10 * 366 * 86_400_000
MINUTES_MAX = 7 * 24 * 60
_DAY_MS = 86_400_000

_MATCHER = re.compile(
    r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s=~!][^"]*?|))\s*',
    re.S,
)
_ESCAPES = {"\\n": "\n", "\\t": "\t", '\\"': '"', "\\\\": "\\"}
_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@lru_cache(maxsize=4_096)
def parse_matcher(text: str) -> Matcher:
    """`InputError` where it is none, or RE2 refuses its regular expression.

    >>> parse_matcher('service=~"api-.*"')
    Matcher(name='service', op='=~', value='api-.*')
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise InputError(
            f'{text!r} is no matcher; valid: a label, =, !=, =~ or !~ and a value, like job="api"'
        )
    name, op, quoted, bare = found.groups()
    value = bare if quoted is None else re.sub(r"\\.", _unescaped, quoted)
    matcher = Matcher(name, cast("Operator", op), value)
    try:
        matches(matcher, [""])
    except QueryError as problem:
        raise InputError(str(problem)) from None
    return matcher


def all_match(matchers: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Whether the labels pass every matcher; those of no matchers always do.

    >>> all_match(["job=api", 'zone!="a"'], {"job": "api"})
    True
    """
    return all(
        _taken(matcher, labels.get(matcher.name, "")) for matcher in map(parse_matcher, matchers)
    )


def check_silence(silence: Silence) -> None:
    """`InputError` with the first thing that is wrong with it."""
    if not 1 <= len(silence.matchers) <= MATCHERS_MAX:
        raise InputError(f"matchers are {len(silence.matchers)}; valid: 1 to {MATCHERS_MAX}")
    parsed = [parse_matcher(text) for text in silence.matchers]
    if all(_taken(matcher, "") for matcher in parsed):
        raise InputError(
            "the matchers take alerts without any label, so all alerts; valid: at least one that "
            "asks for a value"
        )
    if silence.starts_ms < 0 or silence.ends_ms <= silence.starts_ms:
        raise InputError("the silence ends before it begins; valid: an end after the start")
    if silence.ends_ms - silence.starts_ms > SPAN_MS_MAX:
        raise InputError("the silence is longer than ten years; valid: at most ten years")
    if silence.recurrence is not None:
        check_recurrence(silence.recurrence)


def check_recurrence(recurrence: Recurrence) -> None:
    """`InputError` with the first thing that is wrong with it."""
    days = recurrence.weekdays
    if not days or len(set(days)) != len(days) or not set(days) <= set(range(1, 8)):
        raise InputError(
            f"weekdays are {list(days)}; valid: some of 1 (Monday) to 7 (Sunday), each once"
        )
    if _CLOCK_TIME.fullmatch(recurrence.at) is None:
        raise InputError(f'at is {recurrence.at!r}; valid: a time of day like "22:00"')
    if not 1 <= recurrence.minutes <= MINUTES_MAX:
        raise InputError(f"minutes are {recurrence.minutes}; valid: 1 to {MINUTES_MAX}")
    try:
        _zone(recurrence.timezone)
    except (LookupError, ValueError, OSError):
        raise InputError(
            f"timezone is {recurrence.timezone!r}; valid: an IANA name like Europe/Berlin"
        ) from None


def in_force(silence: Silence, at_ms: int) -> bool:
    """Whether it silences at this time; its start belongs to it, its end does not."""
    if not silence.starts_ms <= at_ms < silence.ends_ms:
        return False
    return silence.recurrence is None or in_window(silence.recurrence, at_ms)


def in_force_until(silence: Silence, at_ms: int) -> int:
    """Of a silence in force: when it will no longer be (a window's end may be another's start)."""
    if silence.recurrence is None:
        return silence.ends_ms
    return min(silence.ends_ms, window_end_ms(silence.recurrence, at_ms))


def in_window(recurrence: Recurrence, at_ms: int) -> bool:
    """Whether the time is in one of the weekly windows.

    A window begins at its local time, whatever the clocks do (one that is skipped by summer time
    begins an hour later, of one that comes twice the first counts), and lasts its minutes as they
    pass. The time zone's rules are those of this machine's database (IANA).

    >>> nights = Recurrence(weekdays=(5,), at="22:00", minutes=120, timezone="Europe/Berlin")
    >>> in_window(nights, 1_767_990_600_000)  # Friday 2026-01-09 21:30 in Berlin
    False
    >>> in_window(nights, 1_767_994_200_000)  # an hour later
    True
    """
    return any(begin <= at_ms < end for begin, end in _windows(recurrence, at_ms))


def window_end_ms(recurrence: Recurrence, at_ms: int) -> int:
    """When the windows that hold this time have ended; ``at_ms`` itself where none holds it."""
    return max((end for begin, end in _windows(recurrence, at_ms) if begin <= at_ms), default=at_ms)


def _windows(recurrence: Recurrence, at_ms: int) -> Iterator[tuple[int, int]]:
    """Those that end after this time, of all that begin within a day from it."""
    zone = _zone(recurrence.timezone)
    hour, minute = map(int, recurrence.at.split(":"))
    today = datetime.fromtimestamp(at_ms // 1000, zone).date()
    back = recurrence.minutes // (24 * 60) + 2
    for day in _days(today, -back, 1, recurrence.weekdays):
        local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        begin = int(local.astimezone(UTC).timestamp()) * 1000
        end = begin + recurrence.minutes * 60_000
        if end > at_ms:
            yield begin, end


def _days(today: date, first: int, last: int, weekdays: Sequence[int]) -> Iterator[date]:
    for days in range(first, last + 1):
        day = today + timedelta(days=days)
        if day.isoweekday() in weekdays:
            yield day


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=65_536)
def _taken(matcher: Matcher, value: str) -> bool:
    return bool(matches(matcher, [value])[0])


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], found[0])
