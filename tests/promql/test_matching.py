"""Operators: floats as in Go, which series meet, under which labels, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streams.errors import QueryError
from streams.promql.engine import instant_query, range_query
from streams.promql.frames import Labels
from tests.promql.timelines import Values, labels_of, memory, same

NAN, INF = math.nan, math.inf
REQUESTS = {
    labels_of("ok", code="200", host="a"): [10.0],
    labels_of("ok", code="200", host="b"): [20.0],
    labels_of("all", host="a", zone="x"): [100.0],
    labels_of("all", host="b", zone="y"): [100.0],
    labels_of("all", host="c", zone="y"): [100.0],
}


def values(expr: str, series: dict[Labels, Values]) -> dict[str, float]:
    """Per series ``name{label=value}``, in one line."""
    answer = instant_query(expr, memory(series), 0)
    named = [
        dict(labels).get("__name__", "")
        + "{" + ",".join(f"{k}={v}" for k, v in labels if k != "__name__") + "}"
        for labels in answer.labels
    ]  # fmt: skip
    return dict(zip(named, answer.value.tolist(), strict=True))


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("7 % 4", 3.0),
        ("-7 % 4", -3.0),
        ("7 % -Inf", 7.0),
        ("1 / 0", INF),
        ("-1 / 0", -INF),
        ("0 / 0", NAN),
        ("5 % 0", NAN),
        ("-2 ^ 2", -4.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("NaN ^ 0", 1.0),
        ("(-Inf) ^ 0.5", INF),
        ("(-1) ^ 0.5", NAN),
        ("-1 atan2 0", -math.pi / 2),
        ("1 == bool NaN", 0.0),
        ("NaN != bool NaN", 1.0),
        ("2 * 3 + 4 > bool 9", 1.0),
        ("--3", 3.0),
    ],
)
def test_numbers_are_computed_as_in_go(expr: str, expected: float) -> None:
    answer = instant_query(expr, memory({}), 0)
    assert answer.kind == "scalar"
    assert same(answer.value.tolist(), [expected])


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("ok * 2", {"{code=200,host=a}": 20, "{code=200,host=b}": 40}),
        ("ok > 10", {"ok{code=200,host=b}": 20}),
        ("10 < ok", {"ok{code=200,host=b}": 20}),
        ("ok > bool 10", {"{code=200,host=a}": 0, "{code=200,host=b}": 1}),
        ("100 - ok", {"{code=200,host=a}": 90, "{code=200,host=b}": 80}),
        ("-ok", {"{code=200,host=a}": -10, "{code=200,host=b}": -20}),
        ("+ok", {"ok{code=200,host=a}": 10, "ok{code=200,host=b}": 20}),
    ],
)
def test_a_comparison_filters_and_keeps_names_and_all_else_drops_them(
    expr: str, expected: dict[str, float]
) -> None:
    assert values(expr, REQUESTS) == expected


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("ok / all", {}),
        ("ok / on(host) all", {"{host=a}": 0.1, "{host=b}": 0.2}),
        ("ok / ignoring(code, zone) all", {"{host=a}": 0.1, "{host=b}": 0.2}),
        ("ok < on(host) all", {"{host=a}": 10, "{host=b}": 20}),
        ("ok < ignoring(code, zone) all", {"ok{host=a}": 10, "ok{host=b}": 20}),
        ("all > ignoring(code, zone) ok * 6", {"all{host=a}": 100}),
        ("ok == bool on(host) all", {"{host=a}": 0, "{host=b}": 0}),
        ("sum(ok) / sum(all)", {"{}": 0.1}),
    ],
)
def test_one_to_one_series_meet_where_their_labels_agree(
    expr: str, expected: dict[str, float]
) -> None:
    assert values(expr, REQUESTS) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (
            "ok / on(code) group_left max by (code) (ok)",
            {"{code=200,host=a}": 0.5, "{code=200,host=b}": 1},
        ),
        (
            "ok * on(host) group_left(zone) all",
            {"{code=200,host=a,zone=x}": 1000, "{code=200,host=b,zone=y}": 2000},
        ),
        (
            "all - on(host) group_right(zone) ok",
            {"{code=200,host=a,zone=x}": 90, "{code=200,host=b,zone=y}": 80},
        ),
        (
            "ok >= on(code) group_left max by (code) (ok)",
            {"ok{code=200,host=b}": 20},
        ),
    ],
)
def test_many_to_one_keeps_the_labels_of_the_many_and_those_included(
    expr: str, expected: dict[str, float]
) -> None:
    assert values(expr, REQUESTS) == pytest.approx(expected)


def test_an_included_label_that_the_one_side_lacks_is_removed() -> None:
    series = {
        labels_of("many", n="1", zone="old"): [1.0],
        labels_of("one", n="1"): [2.0],
    }
    assert values("many * on(n) group_left(zone) one", series) == {"{n=1}": 2}


@pytest.mark.parametrize(
    ("expr", "sentence"),
    [
        (
            "ok + on(code) ok",
            'duplicate series for the match group {code="200"} on the right hand-side of the '
            'operation: [{__name__="ok", code="200", host="a"}, {__name__="ok", code="200", '
            'host="b"}];many-to-many matching not allowed',
        ),
        ("sum by (code) (ok) * on(code) group_right ok + on(code) ok", "on the right hand-side"),
        ("all * on(zone) group_right all", "on the left hand-side"),
        ("ok + on(code) max by (code) (ok)", "many-to-one matching must be explicit"),
        ('{__name__=~"up|down"} * 2', "same labelset"),
        ('-{__name__=~"up|down"}', "same labelset"),
        ('{__name__=~"up|down"} * ignoring() group_left max(up)', "must ensure unique matches"),
    ],
)
def test_ambiguous_matches_are_refused(expr: str, sentence: str) -> None:
    series = {**REQUESTS, labels_of("up"): [1.0], labels_of("down"): [0.0]}
    with pytest.raises(QueryError) as refused:
        instant_query(expr, memory(series), 0)
    assert sentence in str(refused.value)
    assert (refused.value.status, refused.value.kind) == (422, "execution")


@pytest.mark.parametrize("exponent", ["0.5", "-1", "2", "1"])
def test_a_power_has_the_same_bits_for_one_step_as_for_many(exponent: str) -> None:
    source = memory({labels_of("x", n=str(n)): [n / 7 - 1] * 2 for n in range(99)}, 300_000)
    many = range_query(f"x ^ {exponent}", source, 0, 300_000, 300_000)
    one = instant_query(f"x ^ {exponent}", source, 0)
    by_label = dict(zip(many.labels, many.value[::2].tolist(), strict=True))
    assert np.array_equal(
        np.array([by_label[labels] for labels in one.labels]), one.value, equal_nan=True
    )


def test_series_that_never_share_a_step_are_no_ambiguity_and_become_one() -> None:
    series = {
        labels_of("x", n="old"): [1.0, 2.0, None, None],
        labels_of("x", n="new"): [None, None, 3.0, 4.0],
        labels_of("y"): [10.0, 10.0, 10.0, 10.0],
    }
    source = memory(series, every_ms=300_000)
    answer = range_query("y * on() x", source, 0, 900_000, 300_000)
    assert answer.labels == ((),)
    assert answer.value.tolist() == [10, 20, 30, 40]


def test_one_side_without_values_is_not_searched_for_ambiguity() -> None:
    assert values("nosuch + on(code) ok", REQUESTS) == {}


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("ok and on(host) all", ["ok{code=200,host=a}", "ok{code=200,host=b}"]),
        ('ok and on(host) all{zone="x"}', ["ok{code=200,host=a}"]),
        ('ok unless on(host) all{zone="x"}', ["ok{code=200,host=b}"]),
        ("ok and all", []),
        ("ok unless all", ["ok{code=200,host=a}", "ok{code=200,host=b}"]),
        ('ok{host="a"} or ok', ["ok{code=200,host=a}", "ok{code=200,host=b}"]),
        ('ok{host="a"} or on() ok', ["ok{code=200,host=a}"]),
        ('ok or on(host) all{host=~"b|c"}', [
            "ok{code=200,host=a}", "ok{code=200,host=b}", "all{host=c,zone=y}"]),
        ("nosuch or vector(1)", ["{}"]),
        ("ok and on() vector(1)", ["ok{code=200,host=a}", "ok{code=200,host=b}"]),
        ("ok and on() nosuch", []),
    ],
)  # fmt: skip
def test_set_operators_choose_series(expr: str, expected: list[str]) -> None:
    assert list(values(expr, REQUESTS)) == expected


def test_set_operators_decide_at_each_step() -> None:
    series = {labels_of("x"): [1.0, 2.0, 3.0], labels_of("y"): [10.0, 10.0, 10.0]}
    source = memory(series, every_ms=300_000)
    for expr, expected in (
        ("y and (x == 2)", [10]),
        ("y unless (x == 2)", [10, 10]),
        ("(x == 2) or y * 1", [10, 10, 2]),
    ):
        assert range_query(expr, source, 0, 600_000, 300_000).value.tolist() == expected
