"""Aggregations, worked out by hand; sums that rounding would spoil; choices in order."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import QueryError
from streams.promql.engine import instant_query, range_query
from streams.promql.frames import Labels
from tests.promql.timelines import Values, labels_of, memory, same

NAN, INF = math.nan, math.inf
X: dict[Labels, Values] = {
    labels_of("x", job="a", n="1"): [1.0],
    labels_of("x", job="a", n="2"): [3.0],
    labels_of("x", job="b", n="3"): [4.0],
    labels_of("x", job="b", n="4"): [NAN],
    labels_of("x", n="5"): [10.0],
}


def numbered(values: list[float]) -> dict[Labels, Values]:
    return {labels_of("x", n=f"{n:03}"): [value] for n, value in enumerate(values)}


def grouped(expr: str, label: str = "job") -> dict[str, float]:
    answer = instant_query(expr, memory(X), 0)
    names = [dict(labels).get(label, "") for labels in answer.labels]
    return dict(zip(names, answer.value.tolist(), strict=True))


@pytest.mark.parametrize(
    ("op", "a", "b", "rest"),
    [
        ("sum", 4, NAN, 10),
        ("avg", 2, NAN, 10),
        ("min", 1, 4, 10),
        ("max", 3, 4, 10),
        ("count", 2, 2, 1),
        ("group", 1, 1, 1),
        ("stdvar", 1, NAN, 0),
        ("stddev", 1, NAN, 0),
    ],
)
def test_each_group_becomes_one_number(op: str, a: float, b: float, rest: float) -> None:
    found = grouped(f"{op} by (job) (x)")
    assert list(found) == ["", "a", "b"] or set(found) == {"", "a", "b"}
    assert same([found["a"], found["b"], found[""]], [a, b, rest])
    assert same(list(grouped(f"{op} without (n) (x)").values()), list(found.values()))


def test_a_group_has_a_value_where_one_of_its_series_has() -> None:
    source = memory(
        {labels_of("x", n="1"): [1.0, None], labels_of("x", n="2"): [None, 2.0]}, 300_000
    )
    assert range_query("sum(x)", source, 0, 300_000, 300_000).value.tolist() == [1, 2]
    assert not instant_query("sum(x)", source, 900_000).labels
    assert not instant_query("count(nosuch)", source, 0).labels


def test_names_survive_only_where_they_are_grouped_by() -> None:
    answer = instant_query("count by (__name__) (x)", memory(X), 0)
    assert answer.labels == ((("__name__", "x"),),)
    assert instant_query("count without (job, n) (x)", memory(X), 0).labels == ((),)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_a_sum_is_as_good_as_an_exact_one(values: list[float]) -> None:
    exact = float(sum(map(Fraction, values)))
    answer = instant_query("sum(x)", memory(numbered(values)), 0)
    assert answer.value[0] == pytest.approx(exact, rel=1e-15, abs=1e-300)


@pytest.mark.parametrize(
    ("values", "total", "mean"),
    [
        ([1e100, 1.0, -1e100], 1.0, 1 / 3),
        ([1e308, 1e308], INF, 1e308),
        ([INF, -INF], NAN, NAN),
        ([INF, 1.0], INF, INF),
        ([-0.5], -0.5, -0.5),
    ],
)
def test_sums_and_means_meet_infinity_only_where_it_is(
    values: list[float], total: float, mean: float
) -> None:
    source = memory(numbered(values))
    assert same(instant_query("sum(x)", source, 0).value.tolist(), [total])
    assert same(instant_query("avg(x)", source, 0).value.tolist(), [mean])


@pytest.mark.parametrize("op", ["min", "max"])
def test_of_zeros_of_both_signs_the_first_is_taken(op: str) -> None:
    for zeros in ([-0.0, 0.0, 0.0], [0.0, -0.0, -0.0]):
        answer = instant_query(f"1 / {op}(x)", memory(numbered(zeros)), 0)
        assert answer.value.tolist() == [math.copysign(INF, zeros[0])]


@pytest.mark.parametrize(
    ("expr", "values"),
    [
        ("topk(2, x)", [10, 4]),
        ("bottomk(2, x)", [1, 3]),
        ("bottomk(9, x)", [1, 3, 4, 10, NAN]),
        ("topk(0, x)", []),
        ("topk(-1, x)", []),
        ("topk by (job) (1.9, x)", [10, 3, 4]),
        ("limitk(2, x)", [1, 3]),
        ("limitk by (job) (1, x)", [1, 4, 10]),
        ("topk(scalar(count(x)) - 3, x)", [10, 4]),
    ],
)
def test_choices_keep_series_whole_and_rank_nan_last(expr: str, values: list[float]) -> None:
    answer = instant_query(expr, memory(X), 0)
    if " by " in expr:
        assert sorted(answer.value.tolist()) == sorted(values)
    else:
        assert same(answer.value.tolist(), values)
    assert all(dict(labels)["__name__"] == "x" for labels in answer.labels)


def test_of_equal_values_the_first_series_are_chosen() -> None:
    source = memory(numbered([5.0, 5.0, 5.0]))
    assert [dict(s)["n"] for s in instant_query("topk(2, x)", source, 0).labels] == ["000", "001"]
    assert [dict(s)["n"] for s in instant_query("bottomk(1, x)", source, 0).labels] == ["000"]


def test_a_choice_is_made_at_each_step() -> None:
    source = memory({labels_of("x", n="1"): [1.0, 9.0], labels_of("x", n="2"): [5.0, 6.0]}, 300_000)
    answer = range_query("topk(1, x)", source, 0, 300_000, 300_000)
    assert answer.offsets.tolist() == [0, 1, 2]
    assert (answer.at_ms.tolist(), answer.value.tolist()) == ([300_000, 0], [9, 5])


@given(st.floats(min_value=-1, max_value=1))
def test_a_ratio_and_its_complement_share_out_all_series(ratio: float) -> None:
    source = memory(numbered([1.0] * 50))
    complement = ratio - 1 if ratio >= 0 else 1 + ratio
    one = instant_query(f"limit_ratio({ratio!r}, x)", source, 0).labels
    other = instant_query(f"limit_ratio({complement!r}, x)", source, 0).labels
    if ratio != 0 and complement != 0:
        assert sorted(one + other) == sorted(numbered([1.0] * 50))


def test_a_ratio_takes_about_that_share() -> None:
    answer = instant_query("limit_ratio(0.5, x)", memory(numbered([1.0] * 1_000)), 0)
    assert 400 < len(answer.labels) < 600


@pytest.mark.parametrize(
    ("share", "expected"),
    [("0", 1), ("0.5", 2.5), ("0.75", 3.25), ("1", 4), ("-0.1", -INF), ("1.1", INF), ("NaN", NAN)],
)
def test_a_quantile_lies_between_the_nearest_ranks(share: str, expected: float) -> None:
    answer = instant_query(f"quantile({share}, x)", memory(numbered([4.0, 1.0, 3.0, 2.0])), 0)
    assert same(answer.value.tolist(), [expected])
    assert bool(answer.warnings) == (share in ("-0.1", "1.1", "NaN"))


def test_values_are_counted_under_their_shortest_text() -> None:
    values = [1.0, 1.0, 0.1, 1e21, -INF, NAN, NAN, -0.0, 0.0]
    answer = instant_query('count_values("v", x)', memory(numbered(values)), 0)
    found = {dict(s)["v"]: v for s, v in zip(answer.labels, answer.value.tolist(), strict=True)}
    assert found == {
        "1": 2,
        "0.1": 1,
        "1000000000000000000000": 1,
        "-Inf": 1,
        "NaN": 2,
        "-0": 1,
        "0": 1,
    }


def test_the_values_label_takes_the_place_of_one_that_is_there() -> None:
    counted = instant_query('count_values by (job) ("job", x)', memory(X), 0)
    assert {dict(s)["job"] for s in counted.labels} == {"1", "3", "4", "NaN", "10"}
    dropped = instant_query('count_values without (job, n) ("n", x)', memory(X), 0)
    assert dropped.labels == ((),)
    assert dropped.value.tolist() == [5]


@pytest.mark.parametrize(
    ("expr", "sentence"),
    [
        ("topk(NaN, x)", "Parameter value is NaN"),
        ("limitk(1e30, x)", "overflows int64"),
        ("limit_ratio(NaN, x)", "Ratio value is NaN"),
        ('count_values("", x)', "invalid label name"),
    ],
)
def test_impossible_parameters_are_refused(expr: str, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        instant_query(expr, memory(X), 0)


def test_a_ratio_out_of_range_is_capped_with_a_warning() -> None:
    answer = instant_query("limit_ratio(1.5, x)", memory(X), 0)
    assert len(answer.labels) == 5
    assert answer.warnings == ("ratio value should be between -1 and 1, got 1.5, capping to 1",)
