"""Which alerts a silence means, and when."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.silences import (
    all_match,
    check_silence,
    in_force,
    in_force_until,
    in_window,
    parse_matcher,
    window_end_ms,
)
from streams.errors import InputError
from streams.events.rules import Recurrence, Silence
from streams.promql.matchers import Matcher

DAY_MS = 86_400_000
GOOD = Silence(id="s", matchers=("job=api",), starts_ms=DAY_MS, ends_ms=3 * DAY_MS)


def at(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("job=api", Matcher("job", "=", "api")),
        (' job != "a b" ', Matcher("job", "!=", "a b")),
        ('job=~"api-.*|db"', Matcher("job", "=~", "api-.*|db")),
        (r'job!~"a\\.b"', Matcher("job", "!~", r"a\.b")),
        (r'job="say \"hi\"\n"', Matcher("job", "=", 'say "hi"\n')),
        ('job=""', Matcher("job", "=", "")),
        ("job=", Matcher("job", "=", "")),
    ],
)
def test_a_matcher_is_written_as_alertmanagers_are(text: str, matcher: Matcher) -> None:
    assert parse_matcher(text) == matcher


@pytest.mark.parametrize("text", ["", "job", "=api", "job==api", 'job="a', "1job=a", 'job=~"("'])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_matcher(text)


@given(st.text(max_size=30))
def test_any_text_is_a_matcher_or_refused(text: str) -> None:
    try:
        matcher = parse_matcher(text)
    except InputError:
        return
    assert matcher.op in ("=", "!=", "=~", "!~")


@given(value=st.text(st.characters(blacklist_categories=["Cs"]), max_size=20))
def test_a_quoted_value_is_what_it_was(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    matcher = parse_matcher(f'job="{quoted}"')
    assert matcher.value == value
    assert all_match([f'job="{quoted}"'], {"job": value})


def test_all_matchers_must_hold_and_a_missing_label_is_empty() -> None:
    labels = {"job": "api", "zone": "a"}
    assert all_match(["job=~a.*", "zone!=b", 'host=""'], labels)
    assert not all_match(["job=~a.*", "zone=b"], labels)
    assert not all_match(["job=~p"], labels)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"matchers": ()}, "matchers are 0"),
        ({"matchers": ("job",)}, "is no matcher"),
        ({"matchers": ("job!=api",)}, "all alerts"),
        ({"ends_ms": DAY_MS}, "ends before it begins"),
        ({"ends_ms": 12 * 366 * DAY_MS}, "ten years"),
        ({"recurrence": Recurrence(weekdays=(), at="22:00", minutes=5)}, "weekdays"),
        ({"recurrence": Recurrence(weekdays=(8,), at="22:00", minutes=5)}, "weekdays"),
        ({"recurrence": Recurrence(weekdays=(1,), at="24:00", minutes=5)}, "time of day"),
        ({"recurrence": Recurrence(weekdays=(1,), at="22:00", minutes=0)}, "minutes are 0"),
        (
            {"recurrence": Recurrence(weekdays=(1,), at="22:00", minutes=5, timezone="Mars")},
            "IANA",
        ),
        (
            {"recurrence": Recurrence(weekdays=(1,), at="22:00", minutes=5, timezone="../a")},
            "IANA",
        ),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_silence(msgspec.structs.replace(GOOD, **changes))


def test_a_silence_is_in_force_from_its_start_to_before_its_end() -> None:
    check_silence(GOOD)
    moments = (DAY_MS - 1, DAY_MS, 3 * DAY_MS - 1, 3 * DAY_MS)
    assert [in_force(GOOD, moment) for moment in moments] == [False, True, True, False]
    assert in_force_until(GOOD, DAY_MS) == 3 * DAY_MS


BERLIN = Recurrence(weekdays=(5, 6), at="22:00", minutes=240, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-01-09 21:59:59", False),  # a Friday
        ("2026-01-09 22:00:00", True),
        ("2026-01-10 01:59:59", True),  # Saturday's small hours are Friday's window
        ("2026-01-10 02:00:00", False),
        ("2026-01-10 22:00:00", True),
        ("2026-01-11 22:00:00", False),  # Sunday
        ("2026-07-10 22:00:00", True),  # in summer, too
    ],
)
def test_a_weekly_window_is_in_local_time(moment: str, inside: bool) -> None:
    assert in_window(BERLIN, at(moment, "Europe/Berlin")) is inside


def test_a_window_over_the_change_to_summer_time_lasts_its_minutes() -> None:
    nights = Recurrence(weekdays=(7,), at="01:00", minutes=120, timezone="Europe/Berlin")
    begin_ms = at("2026-03-29 01:00", "Europe/Berlin")
    assert window_end_ms(nights, begin_ms) == begin_ms + 120 * 60_000
    assert window_end_ms(nights, begin_ms) == at("2026-03-29 04:00", "Europe/Berlin")


def test_a_window_that_the_change_skips_begins_an_hour_later() -> None:
    nights = Recurrence(weekdays=(7,), at="02:30", minutes=10, timezone="Europe/Berlin")
    assert in_window(nights, at("2026-03-29 03:35", "Europe/Berlin"))


def test_a_time_that_comes_twice_begins_one_window() -> None:
    nights = Recurrence(weekdays=(7,), at="02:30", minutes=10, timezone="Europe/Berlin")
    first_ms = at("2026-10-25 00:30")  # 02:30 in summer time
    assert in_window(nights, first_ms)
    assert not in_window(nights, first_ms + 3_600_000)


def test_a_recurring_silence_ends_with_its_window_or_as_a_whole() -> None:
    begin_ms = at("2026-01-09 22:00", "Europe/Berlin")
    weekly = Silence(
        id="w",
        matchers=("job=api",),
        starts_ms=begin_ms - DAY_MS,
        ends_ms=begin_ms + 7 * DAY_MS,
        recurrence=BERLIN,
    )
    assert not in_force(weekly, begin_ms - 1)
    assert in_force_until(weekly, begin_ms) == begin_ms + 240 * 60_000
    short = msgspec.structs.replace(weekly, ends_ms=begin_ms + 60_000)
    assert in_force_until(short, begin_ms) == begin_ms + 60_000


@given(
    at_ms=st.integers(0, 4_000_000_000_000),
    days=st.sets(st.integers(1, 7), min_size=1),
    hour=st.integers(0, 23),
    minutes=st.integers(1, 7 * 24 * 60),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
def test_a_window_in_force_has_an_end_after_now(
    at_ms: int, days: set[int], hour: int, minutes: int, zone: str
) -> None:
    weekly = Recurrence(weekdays=tuple(days), at=f"{hour:02d}:15", minutes=minutes, timezone=zone)
    if in_window(weekly, at_ms):
        assert window_end_ms(weekly, at_ms) > at_ms
    else:
        assert window_end_ms(weekly, at_ms) == at_ms
