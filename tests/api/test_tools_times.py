"""Times, durations and position tokens: what is read, what is refused, what reads back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_api.tools.positions import absorbed_token, parse_position, position_token
from mcp_api.tools.times import (
    DURATION_MS_MAX,
    buckets,
    choose_step_ms,
    iso,
    parse_duration,
    parse_time,
)
from streams.domain.durations import duration_text
from streams.errors import InputError
from streams.events.topics import TOPICS
from streams.log.protocol import Position

NOW_MS = 1_767_268_800_000
_MOMENTS = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@given(_MOMENTS)
def test_a_time_reads_back_to_the_millisecond(at_ms) -> None:
    assert parse_time(iso(at_ms), NOW_MS, "start_time") == at_ms


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - zoned below
    st.integers(-23 * 60, 23 * 60),
)
def test_an_offset_is_taken_into_account(moment, minutes) -> None:
    zoned = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    expected = zoned.astimezone(UTC).timestamp() * 1000
    assert parse_time(zoned.isoformat(), NOW_MS, "end_time") == expected


@given(st.integers(1, DURATION_MS_MAX))
def test_a_duration_reads_back(duration_ms) -> None:
    assert parse_duration(duration_text(duration_ms), "step") == duration_ms


@pytest.mark.parametrize(
    ("text", "before_ms"),
    [
        ("now", 0),
        ("-1h", 3_600_000),
        ("now-15m", 900_000),
        ("now+5m", -300_000),
        ("-1d12h", 129_600_000),
    ],
)
def test_relative_times_count_from_now(text, before_ms) -> None:
    assert parse_time(text, NOW_MS, "start_time") == NOW_MS - before_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1h",
        "yesterday",
        "-1",
        "-1y",
        "- 1h",
        "now-",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "1767268800",
        "-999999999w",
        "2026-01-01T00:00:00Zx",
        "-٣h",
    ],
)
def test_other_times_are_refused_with_what_is_valid(text) -> None:
    with pytest.raises(InputError, match=r"^start_time is ") as caught:
        parse_time(text, NOW_MS, "start_time")
    assert caught.value.field == "start_time"


def test_a_time_without_offset_says_that_it_lacks_one() -> None:
    with pytest.raises(InputError, match="has no offset; add Z"):
        parse_time("2026-01-01T00:00:00", NOW_MS, "end_time")


@pytest.mark.parametrize("text", ["", "0s", "5", "m", "-5m", "5 m", "1.5h", "5M", "101w" * 99])
def test_other_durations_are_refused(text) -> None:
    with pytest.raises(InputError, match=r"^step is "):
        parse_duration(text, "step")


@given(st.tuples(_MOMENTS, _MOMENTS).map(sorted), st.integers(1, 500))
def test_a_chosen_step_never_makes_too_many_points(span, points_max) -> None:
    start_ms, end_ms = span
    step_ms = choose_step_ms(start_ms, end_ms, max(points_max, 2))
    assert buckets(start_ms, end_ms, step_ms) <= max(points_max, 2)


def test_years_that_iso_8601_cannot_write_are_clamped() -> None:
    assert iso(10**18) == "9999-12-31T23:59:59.999Z"
    assert iso(-(10**18)) == "0001-01-01T00:00:00Z"


_POSITIONS = st.builds(
    Position, st.sampled_from(TOPICS), st.integers(0, 999), st.integers(0, 10**12)
)


@given(st.lists(_POSITIONS, max_size=8))
def test_a_position_token_reads_back_as_the_last_offset_of_each_partition(positions) -> None:
    last: dict[tuple[str, int], int] = {}
    for position in sorted(positions):
        last[position.topic, position.partition] = position.offset
    assert parse_position(position_token(positions)) == last


@given(st.dictionaries(st.tuples(st.sampled_from(TOPICS), st.integers(0, 9)), st.integers(0, 99)))
def test_what_is_absorbed_is_one_before_what_is_read_next(next_offsets) -> None:
    absorbed = parse_position(absorbed_token(next_offsets))
    assert absorbed == {key: offset - 1 for key, offset in next_offsets.items() if offset}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "metrics.points/0",
        "metrics.points/0@",
        "other/0@1",
        "metrics.points/-1@1",
        "metrics.points/0@1,,",
        "metrics.points/0@" + "9" * 30,
        "metrics.points/0@1," * 5000,
    ],
)
def test_other_positions_are_refused(text) -> None:
    with pytest.raises(InputError, match="expected the position of an earlier answer"):
        parse_position(text)
