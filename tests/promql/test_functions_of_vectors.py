"""Functions of instant vectors and scalars; expectations worked out by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import QueryError
from streams.promql.engine import instant_query, range_query
from streams.promql.source import MemorySource
from tests.promql.timelines import labels_of, memory, same

NAN, INF = math.nan, math.inf


def one(value: float) -> MemorySource:
    """A series ``x`` with this value."""
    return memory({labels_of("x", job="a"): [value]})


def of_one(expr: str, value: float) -> list[float]:
    return instant_query(expr, one(value), 0).value.tolist()


@pytest.mark.parametrize(
    ("expr", "value", "expected"),
    [
        ("abs(x)", -2.5, 2.5),
        ("acos(x)", 2.0, NAN),
        ("acosh(x)", 1.0, 0.0),
        ("asin(x)", 1.0, math.pi / 2),
        ("asinh(x)", 0.0, 0.0),
        ("atan(x)", INF, math.pi / 2),
        ("atanh(x)", 1.0, INF),
        ("ceil(x)", 1.2, 2.0),
        ("clamp(x, 1, 3)", 5.0, 3.0),
        ("clamp(x, 1, 3)", NAN, NAN),
        ("clamp_max(x, 3)", -INF, -INF),
        ("clamp_max(x, NaN)", -INF, -INF),
        ("clamp_min(x, 3)", 2.0, 3.0),
        ("clamp_min(x, NaN)", INF, INF),
        ("cos(x)", 0.0, 1.0),
        ("cosh(x)", 0.0, 1.0),
        ("deg(x)", math.pi, 180.0),
        ("exp(x)", 1e4, INF),
        ("floor(x)", -1.2, -2.0),
        ("ln(x)", 0.0, -INF),
        ("ln(x)", -1.0, NAN),
        ("log10(x)", 1000.0, 3.0),
        ("log2(x)", 8.0, 3.0),
        ("rad(x)", 180.0, math.pi),
        ("round(x)", 2.5, 3.0),
        ("round(x)", -2.5, -2.0),
        ("round(x, 5)", 12.5, 15.0),
        ("round(x, 0.1)", 0.25, 0.3),
        ("round(x, 0)", 2.0, NAN),
        ("sgn(x)", -7.0, -1.0),
        ("sgn(x)", NAN, NAN),
        ("sin(x)", INF, NAN),
        ("sinh(x)", 0.0, 0.0),
        ("sqrt(x)", 16.0, 4.0),
        ("sqrt(x)", -1.0, NAN),
        ("tan(x)", 0.0, 0.0),
        ("tanh(x)", INF, 1.0),
        ("scalar(x)", 4.0, 4.0),
        ("vector(7)", 0.0, 7.0),
        ("pi()", 0.0, math.pi),
    ],
)
def test_each_sample_is_computed(expr: str, value: float, expected: float) -> None:
    assert same(of_one(expr, value), [expected])


def test_a_computed_sample_has_no_name() -> None:
    for expr in ("abs(x)", "round(x)", "clamp(x, 1, 2)", "hour(x)", "timestamp(x)"):
        assert instant_query(expr, one(1.0), 0).labels == ((("job", "a"),),)


def test_clamping_between_crossed_bounds_gives_nothing() -> None:
    assert of_one("clamp(x, 3, 1)", 2.0) == []
    answer = range_query(
        "clamp(x, 15, time())", memory({labels_of("x"): [1] * 5}), 0, 40_000, 10_000
    )
    assert answer.value.tolist() == [15.0, 15.0, 15.0]


def test_two_series_that_differ_by_name_only_collide_where_both_have_a_sample() -> None:
    first, second = labels_of("a"), labels_of("b")
    after = [None] * 60
    apart = memory({first: [1.0], second: [*after, 2.0]})
    answer = range_query('abs({__name__=~"a|b"})', apart, 0, 600_000, 600_000)
    assert answer.labels == ((),)
    assert answer.value.tolist() == [1.0, 2.0]
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        instant_query('abs({__name__=~"a|b"})', memory({first: [1.0], second: [2.0]}), 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("year", 2024.0),
        ("month", 2.0),
        ("day_of_month", 29.0),
        ("day_of_week", 4.0),
        ("day_of_year", 60.0),
        ("days_in_month", 29.0),
        ("hour", 23.0),
        ("minute", 59.0),
    ],
)
def test_a_date_has_its_parts(name: str, expected: float) -> None:
    at_s = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).timestamp()
    assert of_one(f"{name}(x)", at_s + 0.9) == [expected]
    assert instant_query(f"{name}()", one(0.0), round(at_s * 1000)).value.tolist() == [expected]
    assert instant_query(f"{name}()", one(0.0), round(at_s * 1000)).labels == ((),)


EARLIEST, LATEST = datetime(1, 1, 1), datetime(9999, 12, 31)  # noqa: DTZ001


@given(st.datetimes(EARLIEST, LATEST))
def test_dates_are_those_of_the_gregorian_calendar(bare: datetime) -> None:
    when = bare.replace(tzinfo=UTC, microsecond=0)
    source = one(float((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()))
    expected = {
        "year": when.year,
        "month": when.month,
        "day_of_month": when.day,
        "day_of_year": when.timetuple().tm_yday,
        "day_of_week": when.isoweekday() % 7,
        "hour": when.hour,
        "minute": when.minute,
    }
    for name, part in expected.items():
        assert instant_query(f"{name}(x)", source, 0).value.tolist() == [part]


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e300, -1e300, 9.3e18])
def test_what_is_no_time_has_a_date_all_the_same(value: float) -> None:
    # It is the least number of 64 bits, as in Go; its years wrap around to the end of time.
    assert of_one("year(x)", value) == [292277026596.0]


def test_time_and_timestamp_tell_when() -> None:
    source = memory({labels_of("x"): [5]})
    assert instant_query("time()", source, 61_500).value.tolist() == [61.5]
    assert instant_query("timestamp(x)", source, 61_500).value.tolist() == [0.0]
    assert instant_query("timestamp(x + 0)", source, 61_500).value.tolist() == [61.5]


def test_absence_has_the_labels_that_the_selector_fixes() -> None:
    source = memory({labels_of("up", job="a"): [1]})
    answer = instant_query('absent(gone{job="a", host=~"b.*", zone!="c"})', source, 0)
    assert (answer.labels, answer.value.tolist()) == (((("job", "a"),),), [1.0])
    assert instant_query('absent(up{job="a"})', source, 0).labels == ()
    assert instant_query("absent(sum(gone))", source, 0).labels == ((),)
    over_time = instant_query('absent_over_time(gone{job="a"}[1m])', source, 0)
    assert over_time.labels == ((("job", "a"),),)
    assert instant_query("absent_over_time(up[1m])", source, 0).labels == ()


def test_a_scalar_is_the_only_sample_of_a_vector() -> None:
    two = memory({labels_of("x", n="1"): [3], labels_of("x", n="2"): [None, 4]})
    answer = range_query("scalar(x)", two, 0, 10_000, 10_000)
    assert same(answer.value.tolist(), [3.0, NAN])
    assert same(instant_query("scalar(gone)", two, 0).value.tolist(), [NAN])


def test_sorting_puts_nan_last_both_ways() -> None:
    values = {"a": 2.0, "b": NAN, "c": 3.0, "d": -INF}
    source = memory({labels_of("x", n=n): [value] for n, value in values.items()})
    assert same(instant_query("sort(x)", source, 0).value.tolist(), [-INF, 2.0, 3.0, NAN])
    assert same(instant_query("sort_desc(x)", source, 0).value.tolist(), [3.0, 2.0, -INF, NAN])


def test_sorting_a_range_does_nothing_and_says_so() -> None:
    source = memory({labels_of("x", n="a"): [2, 1], labels_of("x", n="b"): [1, 2]})
    answer = range_query("sort(x)", source, 0, 10_000, 10_000)
    assert [dict(labels)["n"] for labels in answer.labels] == ["a", "b"]
    assert answer.warnings == (
        "sort is ineffective for range queries since results are always ordered by labels",
    )


def test_sorting_by_label_counts_as_people_do() -> None:
    names = ["cpu10", "cpu2", "cpu1"]
    source = memory({labels_of("x", cpu=name, job="a"): [1] for name in names})
    for expr, expected in (
        ('sort_by_label(x, "cpu")', ["cpu1", "cpu2", "cpu10"]),
        ('sort_by_label_desc(x, "cpu")', ["cpu10", "cpu2", "cpu1"]),
        ('sort_by_label(x, "job")', ["cpu1", "cpu10", "cpu2"]),
    ):
        answer = instant_query(expr, source, 0)
        assert [dict(labels)["cpu"] for labels in answer.labels] == expected


def test_a_label_is_replaced_where_the_whole_value_matches() -> None:
    source = memory({labels_of("x", addr="web:80", host="old"): [1]})

    def host(pattern: str, template: str) -> str | None:
        expr = f'label_replace(x, "host", "{template}", "addr", "{pattern}")'
        return dict(instant_query(expr, source, 0).labels[0]).get("host")

    assert host("(.*):(.*)", "$1") == "web"
    assert host("(?P<name>.*):(?P<port>.*)", "${port}/$name") == "80/web"
    assert host(".*:(8)0", "${1}y$$") == "8y$"
    assert host(".*:(8)0", "a$1y") == "a"  # there is no group 1y
    assert host("web", "new") == "old"
    assert host(".*", "") is None
    assert host("(w)(e)(b)(:)(8)(0)((((()))))", "$11$6$3") == "0b"


def test_a_label_of_any_name_may_be_replaced() -> None:
    source = memory({labels_of("x", a="1"): [1]})
    named = instant_query('label_replace(x, "__name__", "y$1", "a", "(.)")', source, 0)
    assert named.labels == (labels_of("y1", a="1"),)
    dotted = instant_query('label_replace(x, "b.c", "2", "", "")', source, 0)
    assert dotted.labels == (labels_of("x", a="1", **{"b.c": "2"}),)


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ('label_replace(x, "a", "b", "c", "(")', "invalid regular expression in label_replace"),
        ('label_replace(x, "", "b", "c", "d")', "invalid destination label name in label_replace"),
        ('label_join(x, "", "-", "a")', "invalid destination label name in label_join"),
        ('label_join(x, "b", "-", "")', "invalid source label name in label_join"),
        ('label_replace(x, "a", "same", "", "")', "same labelset"),
    ],
)
def test_a_bad_rewriting_of_labels_is_refused(expr: str, said: str) -> None:
    source = memory({labels_of("x", a="1"): [1], labels_of("x", a="2"): [1]})
    with pytest.raises(QueryError, match=said):
        instant_query(expr, source, 0)


def test_labels_are_joined() -> None:
    source = memory({labels_of("x", a="1", b="2"): [1]})
    joined = instant_query('label_join(x, "c", "-", "b", "gone", "a")', source, 0)
    assert joined.labels == (labels_of("x", a="1", b="2", c="2--1"),)
    assert instant_query('label_join(x, "a", "-")', source, 0).labels == (labels_of("x", b="2"),)
