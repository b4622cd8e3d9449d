"""What a condition needs, and how it is told apart that it is false from that data is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.rule_syntax import fixed_times, lookback_ms, presence, selectors, type_of
from streams.promql.evaluation import Run, evaluate
from streams.promql.frames import Annotations, Context, Frame, Labels, Steps
from streams.promql.limits import Budget, Limits
from streams.promql.parsing import parse
from streams.promql.source import MemorySource
from streams.promql.syntax import Expression
from tests.effort import examples

MINUTE = 60_000
AT_MS = 1_700_000_000_000

Values = dict[str, float]
"""By series, like ``a{x="1"}`` written as ``a 1``."""


def tree(text: str) -> Expression:
    return parse(text, Limits())


def labels_of(series: str) -> Labels:
    name, x = series.split()
    return (("__name__", name), ("job", "j"), ("x", x))


def result(expr: Expression, values: Values) -> set[Labels]:
    """The series of an expression, without their names, over samples of just now."""
    source = MemorySource(
        {
            labels_of(series): (np.array([AT_MS - 1_000]), np.array([value]))
            for series, value in values.items()
        }
    )
    context = Context(
        Steps(np.array([AT_MS]), 300_000), Annotations(), Budget(Limits(), lambda: False)
    )
    found = evaluate(expr, Run(source, AT_MS, AT_MS, 0, context))
    assert isinstance(found, Frame)
    rows = np.flatnonzero(found.present[:, 0])
    return {tuple(pair for pair in found.labels[row] if pair[0] != "__name__") for row in rows}


def has_data(condition: str, series: str, values: Values) -> bool:
    wanted = labels_of(series)[1:]
    return wanted in result(presence(tree(condition)), values)


@pytest.mark.parametrize(
    ("text", "looks_back_ms"),
    [
        ("up == 0", 5 * MINUTE),
        ("up offset 1h == 0", 65 * MINUTE),
        ("up offset -1h == 0", 0),
        ("rate(x[2m]) > 1", 2 * MINUTE),
        ("rate(x[2m] offset 10m) > y", 12 * MINUTE),
        ("max_over_time(rate(x[5m])[1h:1m]) > 1", 65 * MINUTE),
        ("max_over_time(rate(x[5m])[1h:1m] offset 1d) > 1", 1_505 * MINUTE),
        ("max_over_time((x @ end())[1h:1m]) > 1", 5 * MINUTE),
        ("vector(1) > 0", 0),
        ("time() > bool 5", 0),
    ],
)
def test_a_condition_looks_back_as_far_as_its_ranges_offsets_and_subqueries(
    text: str, looks_back_ms: int
) -> None:
    assert lookback_ms(tree(text)) == looks_back_ms


def test_every_selector_is_named_once_those_of_info_too() -> None:
    found = selectors(tree('info(rate(a{x="1"}[1m])) > b + a{x="1"} + absent(c)'))
    texts = [",".join(map(str, matchers)) for matchers in found]
    assert texts == [
        "__name__='target_info'",
        "__name__='a',x='1'",
        "__name__='b'",
        "__name__='c'",
    ]


def test_an_expression_has_the_type_that_prometheus_gives_it() -> None:
    texts = ["1 + 2", "up", "up[5m]", '"x"', "scalar(up)", "time() > bool 1", "up > 1", "-(1)"]
    assert [type_of(tree(text)) for text in texts] == [
        *("scalar", "vector", "matrix", "string", "scalar", "scalar", "vector", "scalar"),
    ]


def test_a_time_that_stands_still_is_seen() -> None:
    assert fixed_times(tree("up @ 1600000000 == 0"))
    assert not fixed_times(tree("up @ start() == 0"))


@pytest.mark.parametrize(
    ("condition", "values", "known"),
    [
        ("a > 80", {"a 1": 5.0}, True),
        ("a > 80", {"a 2": 99.0}, False),
        ("80 < a", {"a 1": 5.0}, True),
        ("a > bool 80 == 1", {"a 1": 5.0}, True),
        ("a + 1 > b", {"a 1": 5.0, "b 1": 9.0}, True),
        ("a + 1 > b", {"a 1": 5.0}, False),
        ("a > b", {"b 1": 5.0}, False),
        ("a > 1 and b > 1", {"a 1": 5.0, "b 1": 0.0}, True),
        ("a > 1 and b > 1", {"a 1": 5.0}, False),
        ("a > 1 unless b > 1", {"a 1": 5.0, "b 1": 2.0}, True),
        ("a > 1 unless b > 1", {"b 1": 2.0}, False),
        ("a > 1 or b > 1", {"b 1": 0.0}, True),
        ("a > 1 or b > 1", {"c 1": 0.0}, False),
        ("a > scalar(c)", {"a 1": 0.0, "c 1": 5.0}, True),
        ("a > scalar(c)", {"a 1": 0.0}, False),
        ("(a > 10) < 20", {"a 1": 5.0}, True),
        ("abs(a > 10) < 20", {"a 1": 5.0}, True),
        ("topk(1, a) > 2", {"a 1": 5.0, "a 2": 9.0}, True),
        ("-a > 2", {"a 1": 5.0}, True),
        ("max_over_time((a > 3)[5m:1s]) > 2", {"a 1": 1.0}, True),
        ("a * on (x) group_left b > 3", {"a 1": 1.0, "b 1": 1.0}, True),
        ('label_replace(a > 3, "job", "$1", "job", "(.*)") > 4', {"a 1": 1.0}, True),
    ],
)
def test_a_series_has_data_where_all_that_decides_has(
    condition: str, values: Values, known: bool
) -> None:
    assert has_data(condition, "a 1", values) is known


def test_what_is_absent_no_more_is_known() -> None:
    present = presence(tree('absent(a{x="1"})'))
    assert result(present, {"a 1": 1.0}) == result(present, {}) == {(("x", "1"),)}
    assert result(presence(tree("absent(sum(a > 1)) > 0")), {"a 1": 1.0}) == {()}
    assert result(presence(tree("absent_over_time(a[5m])")), {"a 1": 1.0}) == {()}


def test_a_group_has_data_where_a_series_of_it_has() -> None:
    present = presence(tree("count by (job) (a == 0) > 2"))
    assert result(present, {"a 1": 1.0}) == {(("job", "j"),)}
    assert result(present, {"b 1": 1.0}) == set()


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0:
        return draw(st.sampled_from(["a", "b", "c"]))
    left, right = draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1))
    number = draw(st.integers(0, 3))
    forms = [
        f"({left} > {number})",
        f"({number} <= {left})",
        f"({left} != on (job, x) {right})",
        f"({left} and {right})",
        f"({left} or {right})",
        f"({left} + on (job, x) {right})",
        f"abs({left})",
        f"sum by (job, x) ({left})",
        left,
    ]
    return draw(st.sampled_from(forms))


@given(
    condition=conditions(),
    values=st.dictionaries(
        st.sampled_from([f"{name} {x}" for name in "abc" for x in "12"]),
        st.integers(-2, 4).map(float),
    ),
)
@settings(max_examples=examples(200))
def test_a_series_of_the_result_always_has_data(condition: str, values: Values) -> None:
    expr = tree(condition)
    assert result(expr, values) <= result(presence(expr), values)
