"""The engine as a whole: answers, errors, costs, and that all ways to ask agree."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import QueryCancelled, QueryError, QuerySyntaxError, QueryTooLarge
from streams.promql.answer import Answer
from streams.promql.engine import instant_query, range_query
from streams.promql.limits import Limits
from streams.promql.source import MemorySource
from tests.promql.timelines import STALE, labels_of, memory

X = labels_of("x", job="a")
STEP_MS = 60_000
SOURCE = memory({labels_of("x_total", n=str(n)): [1, 2, 3, 4] for n in range(10)})


def test_an_answer_says_of_what_type_it_is() -> None:
    source = memory({X: [1, 2]})
    vector = instant_query("x", source, 10_000)
    assert (vector.kind, vector.labels, vector.at_ms.tolist()) == ("vector", (X,), [10_000])
    scalar = instant_query("1 + 1", source, 10_000)
    assert (scalar.kind, scalar.value.tolist(), scalar.labels) == ("scalar", [2], ((),))
    assert instant_query('"a"', source, 0).text == "a"
    matrix = instant_query("x[1m]", source, 10_000)
    assert (matrix.kind, matrix.at_ms.tolist()) == ("matrix", [0, 10_000])
    ranged = range_query("1", source, 0, 20_000, 10_000)
    assert (ranged.kind, ranged.labels, ranged.value.tolist()) == ("matrix", ((),), [1, 1, 1])


def test_a_range_ends_at_the_last_step_that_is_not_after_its_end() -> None:
    answer = range_query("time()", memory({}), 1_000, 31_999, 10_000)
    assert answer.at_ms.tolist() == [1_000, 11_000, 21_000, 31_000]
    assert range_query("end()", memory({}), 0, 31_999, 10_000).value[0] == 31.999


def test_a_range_is_sorted_by_labels_and_an_instant_vector_as_asked() -> None:
    source = memory({labels_of("x", n="1"): [2, 2], labels_of("x", n="2"): [9, 9]})
    assert instant_query("sort_desc(x)", source, 0).value.tolist() == [9, 2]
    answer = range_query("sort_desc(x)", source, 0, 10_000, 10_000)
    assert answer.value.tolist() == [2, 2, 9, 9]


@pytest.mark.parametrize(("expr", "kind"), [("x[5m]", "range vector"), ('"a"', "string")])
def test_a_range_query_takes_scalars_and_instant_vectors_only(expr: str, kind: str) -> None:
    with pytest.raises(QuerySyntaxError, match=f'invalid expression type "{kind}"'):
        range_query(expr, memory({}), 0, 10, 1)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "step_ms", "sentence"),
    [
        (0, 10, 0, "zero or negative steps"),
        (10, 0, 1, "end timestamp must not be before start"),
        (0, 11_000, 1, "11001 steps, at most 11000"),
        (-(10**15), 0, 10**14, "outside of the years"),
    ],
)
def test_impossible_ranges_are_refused(
    start_ms: int, end_ms: int, step_ms: int, sentence: str
) -> None:
    with pytest.raises(QueryError, match=sentence):
        range_query("x", memory({}), start_ms, end_ms, step_ms)


def test_absence_is_a_series_with_the_labels_asked_for() -> None:
    answer = range_query('absent(x{job="a"})', memory({X: [1, STALE]}), 0, 20_000, 10_000)
    assert answer.labels == ((("job", "a"),),)
    assert answer.at_ms.tolist() == [10_000, 20_000]
    over = range_query("absent_over_time(x[10s])", memory({X: [1]}), 0, 20_000, 10_000)
    assert over.at_ms.tolist() == [10_000, 20_000]


def test_what_a_query_reads_holds_and_computes_is_limited() -> None:
    for limits, sentence in (
        (Limits(samples_max=39), "more than 39 samples at once"),
        (Limits(series_max=9), "10 series, at most 9"),
        (Limits(cells_max=19), "more than 19 values at once, with a vector of 10 series"),
        (Limits(work_max=60), "computes more than 60 values"),
        (Limits(steps_max=1), "2 steps, at most 1"),
        (Limits(expression_bytes_max=10), "at most 10"),
    ):
        with pytest.raises(QueryError) as refused:
            range_query("sum(x_total + 1)", SOURCE, 30_000, 40_000, 10_000, limits=limits)
        assert sentence in str(refused.value)


def test_samples_are_counted_over_all_selectors() -> None:
    limits = Limits(samples_max=60)
    instant_query("sum(x_total)", SOURCE, 30_000, limits=limits)
    with pytest.raises(QueryTooLarge):
        instant_query("x_total + x_total", SOURCE, 30_000, limits=limits)


def test_a_subquery_of_too_many_steps_is_refused_before_it_is_computed() -> None:
    with pytest.raises(QueryTooLarge, match="1 series at 3153600000000 steps"):
        instant_query("max_over_time(x_total[100y:1ms])", SOURCE, 0)


def test_a_query_stops_soon_after_it_is_cancelled() -> None:
    asked = count()
    with pytest.raises(QueryCancelled):
        range_query(
            "sum(rate(x_total[1m])) + 1",
            SOURCE,
            0,
            60_000,
            10_000,
            cancelled=lambda: next(asked) > 1,
        )
    assert next(asked) == 3


def test_a_query_of_one_long_window_can_be_cancelled_within_it() -> None:
    asked = count()
    with pytest.raises(QueryCancelled):
        instant_query(
            "stddev_over_time(vector(time())[100000s:1s])",
            SOURCE,
            0,
            cancelled=lambda: next(asked) > 50,
        )


def test_infos_and_warnings_are_sentences_said_once() -> None:
    source = memory({labels_of("gauge", n=str(n)): [1, 2, 3] for n in range(3)})
    answer = range_query("rate(gauge[1m]) + rate(gauge[1m])", source, 0, 30_000, 10_000)
    assert len(answer.infos) == 1
    assert "gauge" in answer.infos[0]
    assert instant_query("quantile(2, gauge)", source, 0).warnings


def test_two_series_of_one_labelset_are_refused_at_any_step_of_a_range_function() -> None:
    source = memory({labels_of("a"): [1, 2], labels_of("b"): [None] * 60 + [1, 2]})
    with pytest.raises(QueryError, match="same labelset"):
        range_query('rate({__name__=~"a|b"}[1m])', source, 0, 650_000, 10_000)


SAMPLES = st.lists(
    st.none() | st.floats(-100, 100) | st.sampled_from([math.nan, math.inf, 0.0, STALE]),
    min_size=1,
    max_size=40,
)
EXPRESSIONS = st.sampled_from(
    [
        "x",
        "-x + 1",
        "x > 2",
        "x * on(n) x offset 1m",
        "x * on() group_left sum(x)",
        "x and on(n) (x > 0)",
        "x offset 1m or x",
        "x unless x offset 2m",
        "x @ 300",
        "rate(x[2m])",
        "sum_over_time(x[3m])",
        "max_over_time(rate(x[2m])[3m:30s])",
        "count_over_time((x @ 300)[3m:30s])",
        "sum by (n) (x)",
        "avg(x)",
        "min(x) + max(x)",
        "stddev(x)",
        "topk(1, x)",
        "limitk(1, x)",
        "quantile(0.3, x)",
        'count_values("v", x)',
        "absent(x)",
        "timestamp(x)",
        "scalar(x) + time()",
        "predict_linear(x[5m], 60)",
    ]
)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, SAMPLES, SAMPLES)
def test_a_range_is_its_instants_one_after_another(
    expr: str, one: list[float | None], other: list[float | None]
) -> None:
    source = memory({labels_of("x", n="1"): one, labels_of("x", n="2"): other}, every_ms=17_000)
    ranged = _cells(range_query(expr, source, 0, 12 * STEP_MS, STEP_MS))
    stepwise: dict[tuple[object, int], float] = {}
    for at_ms in range(0, 12 * STEP_MS + 1, STEP_MS):
        stepwise |= _cells(instant_query(expr, source, at_ms))
    assert ranged.keys() == stepwise.keys()
    for cell, value in ranged.items():
        assert value == pytest.approx(stepwise[cell], rel=1e-12, nan_ok=True)


def _cells(answer: Answer) -> dict[tuple[object, int], float]:
    rows = np.repeat(np.arange(len(answer.labels)), np.diff(answer.offsets))
    return {
        (answer.labels[row], at_ms): value
        for row, at_ms, value in zip(
            rows.tolist(), answer.at_ms.tolist(), answer.value.tolist(), strict=True
        )
    }


def test_an_empty_source_answers_everything_with_nothing() -> None:
    for expr in ("x", "sum(x)", "rate(x[1m])", "x + x", "topk(1, x)", "quantile(0.5, x)", "x or x"):
        assert not instant_query(expr, MemorySource({}), 0).labels
        assert not range_query(expr, MemorySource({}), 0, 10, 1).labels
