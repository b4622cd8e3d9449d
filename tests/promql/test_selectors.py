"""Selectors and subqueries: what they look at, at which step. Samples are 10 s apart."""

from __future__ import annotations

import pytest

from streams.promql.engine import instant_query, range_query
from tests.promql.timelines import STALE, labels_of, memory

X = labels_of("x")
MINUTE = 60_000


def over(
    expr: str, values: list[float | None], start_s: int, end_s: int, step_s: int
) -> list[float]:
    answer = range_query(expr, memory({X: values}), start_s * 1000, end_s * 1000, step_s * 1000)
    return answer.value.tolist()


def test_the_newest_sample_counts_for_less_than_five_minutes() -> None:
    source = memory({X: [7]})
    assert instant_query("x", source, 5 * MINUTE - 1).value.tolist() == [7]
    assert not instant_query("x", source, 5 * MINUTE).labels
    assert not instant_query("x", source, -1).labels


def test_a_stale_marker_ends_a_series_until_its_next_sample() -> None:
    answer = range_query("x", memory({X: [1, 2, STALE, None, 5]}), 0, 50_000, 5_000)
    assert answer.at_ms.tolist() == [0, 5_000, 10_000, 15_000, 40_000, 45_000, 50_000]
    assert answer.value.tolist() == [1, 1, 2, 2, 5, 5, 5]


def test_a_range_leaves_out_its_start_and_the_stale_markers() -> None:
    answer = instant_query("x[30s]", memory({X: [1, 2, STALE, 4]}), 30_000)
    assert answer.kind == "matrix"
    assert answer.at_ms.tolist() == [10_000, 30_000]
    assert answer.value.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("x offset 10s", 3),
        ("x offset -10s", 5),
        ("x @ 10", 2),
        ("x @ 10 offset 10s", 1),
        ("x offset 10s @ 10", 1),
        ("sum_over_time(x[20s] offset 10s)", 2 + 3),
        ("sum_over_time(x[20s] @ 20)", 2 + 3),
    ],
)
def test_offset_and_at_move_what_is_looked_at(expr: str, value: float) -> None:
    answer = instant_query(expr, memory({X: [1, 2, 3, 4, 5]}), 30_000)
    assert answer.value.tolist() == [value]
    assert answer.at_ms.tolist() in ([30_000], [10_000])


def test_start_and_end_are_those_of_the_whole_query_also_within_a_subquery() -> None:
    values: list[float | None] = [1, 2, 3, 4, 5]
    assert over("x @ start()", values, 10, 30, 10) == [2, 2, 2]
    assert over("x @ end() - x", values, 10, 30, 10) == [2, 1, 0]
    assert over("max_over_time((x @ end())[1m:1m])", values, 60, 60, 10) == [5]
    assert over("last_over_time((x @ start())[20s:10s])", values, 10, 30, 10) == [2, 2, 2]


def test_a_subquerys_steps_are_multiples_of_its_step_whatever_the_querys_are() -> None:
    values: list[float | None] = [0, 1, 2, 3, 4, 5, 6, 7]
    # Steps 20, 40 and 60 s; the window (25, 65] holds 40 and 60.
    assert over("sum_over_time(x[40s:20s])", values, 65, 65, 10) == [4 + 6]
    # (20, 60] leaves out its start.
    assert over("sum_over_time(x[40s:20s])", values, 60, 60, 10) == [4 + 6]
    assert over("count_over_time(x[10m:])", values, 70, 70, 10) == [2]


def test_steps_before_the_epoch_are_aligned_as_those_after_it() -> None:
    answer = instant_query("vector(1)[50s:20s]", memory({}), -5_000)
    assert answer.at_ms.tolist() == [-40_000, -20_000]


def test_a_subquery_of_a_scalar_has_its_value_at_each_step() -> None:
    answer = instant_query("sum_over_time(vector(time())[30s:10s])", memory({}), 60_000)
    assert answer.value.tolist() == [40 + 50 + 60]


def test_the_time_of_a_sample_is_that_of_its_own_and_not_the_steps() -> None:
    source = memory({X: [1, 2]})
    assert instant_query("timestamp(x)", source, 25_000).value.tolist() == [10.0]
    assert instant_query("timestamp(x + 0)", source, 25_000).value.tolist() == [25.0]


def test_series_with_samples_at_different_times_are_looked_at_each_for_itself() -> None:
    source = memory({labels_of("x", n="a"): [1, None, 3], labels_of("x", n="b"): [None, 5, None]})
    answer = range_query("x", source, 0, 20_000, 10_000)
    assert answer.offsets.tolist() == [0, 3, 5]
    assert answer.value.tolist() == [1, 1, 3, 5, 5]
    counts = range_query("count_over_time(x[15s])", source, 0, 20_000, 10_000)
    assert counts.value.tolist() == [1, 1, 1, 1, 1]
