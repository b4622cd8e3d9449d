"""Functions of range vectors; each expectation is worked out by hand from the documentation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import QueryError
from streams.promql.engine import instant_query, range_query
from tests.promql.timelines import STALE, instantly, labels_of, memory, same

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        # Samples at 10, 20, 30 s in (0 s, 30 s]: 10 s apart, 10 s from the start, 0 s from the end.
        ("increase(x_total[30s])", 20 * 30 / 20),
        ("rate(x_total[30s])", 1.0),
        ("delta(x_total[30s])", 30.0),
        ("irate(x_total[30s])", 1.0),
        ("idelta(x_total[30s])", 10.0),
        ("changes(x_total[30s])", 2.0),
        ("resets(x_total[30s])", 0.0),
    ],
)
def test_a_steady_counter_is_stretched_to_the_whole_window(expr: str, expected: float) -> None:
    assert same(instantly(expr, [100, 110, 120, 130], at_s=30), [expected])


def test_far_from_a_bound_a_rate_is_stretched_by_half_a_distance_only() -> None:
    # Samples at 40, 50, 60 s in (0, 90]: 40 s to the start and 30 s to the end are more than 11 s.
    values = [None, None, None, None, 1000, 1010, 1020]
    assert same(instantly("increase(x_total[90s])", values, at_s=90), [20 * (20 + 5 + 5) / 20])


def test_a_counter_is_not_stretched_below_zero() -> None:
    # It rose by 20 in 20 s from 5, so it was zero 5 s before its first sample, within the window.
    values = [None, 5, 15, 25]
    assert same(instantly("increase(x_total[30s])", values, at_s=30), [20 * (20 + 5) / 20])
    assert same(instantly("delta(x_total[30s])", values, at_s=30), [20 * (20 + 10) / 20])


@pytest.mark.parametrize(
    ("values", "increased"),
    [
        ([1000, 1010, 4, 14], (14 - 1000) + 1010),
        ([1000, 900, 800, 700], (700 - 1000) + 1000 + 900 + 800),
        ([1000, NAN, 4, 14], 14 - 1000),  # NaN is not less than anything, nor is 4 than NaN
    ],
)
def test_each_fall_of_a_counter_is_a_reset(values: list[float], increased: float) -> None:
    # (-1 s, 30 s]: 1 s before the first sample, which is nearer than the distance of samples.
    to_start = 1.0
    if increased > 0:
        to_start = min(1.0, 30 * 1000 / increased)
    assert same(
        instantly("increase(x_total[31s])", values, at_s=30), [increased * (30 + to_start) / 30]
    )
    falls = sum(b < a for a, b in pairwise(values))
    assert instantly("resets(x_total[31s])", values, at_s=30) == [falls]


def test_resets_before_the_window_do_not_count() -> None:
    values = [50, 1, 2, 3, 4]
    assert instantly("resets(x_total[20s])", values, at_s=40) == [0.0]
    assert instantly("irate(x_total[40s])", [100, 50], at_s=10) == [5.0]


@pytest.mark.parametrize("name", ["rate", "increase", "delta", "irate", "idelta", "deriv"])
def test_one_sample_gives_no_rate(name: str) -> None:
    assert instantly(f"{name}(x_total[10s])", [1, 2, 3], at_s=20) == []


OVER_TIME = [
    ("sum", [1, 2, 4], 7.0),
    ("sum", [1e100, 1, -1e100], 1.0),
    ("sum", [INF, 1, -INF], NAN),
    ("sum", [1e308, 1e308, -1e308], INF),
    ("avg", [1, 2, 6], 3.0),
    ("avg", [1e308, 1e308, 1e308], 1e308),
    ("avg", [-INF, 5, 7], -INF),
    ("avg", [1, NAN, 3], NAN),
    ("min", [3, NAN, 2], 2.0),
    ("min", [NAN, NAN], NAN),
    ("max", [NAN, 3, 2], 3.0),
    ("max", [-INF, -INF], -INF),
    ("count", [1, NAN, 3], 3.0),
    ("stdvar", [2, 4, 4, 4, 5, 5, 7, 9], 4.0),
    ("stddev", [2, 4, 4, 4, 5, 5, 7, 9], 2.0),
    ("stddev", [1e9 + 1, 1e9 + 1, 1e9 + 1], 0.0),
    ("stdvar", [INF, 1], NAN),
    ("first", [7, 8, 9], 7.0),
    ("last", [7, 8, 9], 9.0),
    ("present", [7, 8, 9], 1.0),
    ("mad", [4, 6, 2, 1, 999, 1, 2], 1.0),
    ("mad", [4, NAN, 2], NAN),
    ("ts_of_first", [7, 8, 9], 0.0),
    ("ts_of_last", [7, 8, 9], 20.0),
    ("ts_of_max", [7, 9, 9, 1], 20.0),
    ("ts_of_min", [NAN, 1, 1, 7], 20.0),
]


@pytest.mark.parametrize(("name", "values", "expected"), OVER_TIME)
def test_samples_are_aggregated_over_time(name: str, values: list[float], expected: float) -> None:
    assert same(instantly(f"{name}_over_time(x_total[200s])", values, at_s=100), [expected])


@pytest.mark.parametrize(
    ("share", "values", "expected"),
    [
        (0.5, [1, 2, 10], 2.0),
        (0.75, [0, 1, 2], 1.5),
        (0.0, [3, NAN, 2], NAN),  # NaN is less than every number
        (1.0, [3, NAN, 2], 3.0),
        (0.25, [5], 5.0),
        (1.0, [-INF, INF], NAN),  # 0 of the next rank, too: 0 x Inf
    ],
)
def test_a_quantile_lies_between_the_nearest_ranks(
    share: float, values: list[float], expected: float
) -> None:
    expr = f"quantile_over_time({share}, x_total[200s])"
    assert same(instantly(expr, values, at_s=100), [expected])


@pytest.mark.parametrize(("share", "expected"), [("-1", -INF), ("2", INF), ("NaN", NAN)])
def test_a_quantile_out_of_range_is_infinite_and_warned_of(share: str, expected: float) -> None:
    source = memory({labels_of("x"): [1, 2]})
    answer = instant_query(f"quantile_over_time({share}, x[1m])", source, 10_000)
    assert same(answer.value.tolist(), [expected])
    assert answer.warnings == (f"quantile value should be between 0 and 1, got {share}",)


def test_a_window_without_samples_gives_nothing() -> None:
    for name, _, _ in OVER_TIME:
        assert instantly(f"{name}_over_time(x_total[5s])", [1, 2], at_s=100) == []


def test_stale_markers_are_no_samples_of_a_window() -> None:
    assert instantly("count_over_time(x_total[60s])", [1, STALE, 3], at_s=30) == [2.0]


def test_a_line_is_fitted_through_the_samples() -> None:
    # (0, 0), (10, 1), (20, 5): means 10 and 2, slope 50 / 200 per second.
    values = [0, 1, 5]
    assert same(instantly("deriv(x_total[60s])", values, at_s=20), [0.25])
    # At 40 s the line is at 2 + 30 / 4; 100 s later 25 higher.
    assert same(instantly("predict_linear(x_total[60s], 100)", values, at_s=40), [9.5 + 25])


@pytest.mark.parametrize(("value", "slope"), [(5.0, 0.0), (INF, NAN), (-INF, NAN)])
def test_a_level_line_is_exactly_level(value: float, slope: float) -> None:
    assert same(instantly("deriv(x_total[60s])", [value] * 4, at_s=30), [slope])
    predicted = value if slope == 0 else NAN
    assert same(instantly("predict_linear(x_total[60s], 9)", [value] * 4, at_s=30), [predicted])


def test_double_exponential_smoothing_follows_level_and_trend() -> None:
    # Level 1, trend 3 - 1. Second: 0.5 * 3 + 0.5 * (1 + 2) = 3. The trend becomes
    # 0.25 * (3 - 1) + 0.75 * 2 = 2. Third: 0.5 * 9 + 0.5 * (3 + 2) = 7.
    expr = "double_exponential_smoothing(x_total[60s], 0.5, 0.25)"
    assert same(instantly(expr, [1, 3], at_s=20), [3.0])
    assert same(instantly(expr, [1, 3, 9], at_s=20), [7.0])


@pytest.mark.parametrize("factors", ["0, 0.5", "1, 0.5", "0.5, 0", "0.5, 1.5"])
def test_smoothing_factors_lie_between_0_and_1(factors: str) -> None:
    with pytest.raises(QueryError, match=r"invalid .* factor. Expected: 0 < .f < 1, got: "):
        instantly(f"double_exponential_smoothing(x_total[60s], {factors})", [1, 2], at_s=20)


def test_a_rate_of_what_is_not_named_like_a_counter_is_doubted() -> None:
    source = memory({labels_of("load"): [1, 2, 3], labels_of("x_total"): [1, 2, 3]})
    said = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
    assert instant_query("rate(load[1m])", source, 20_000).infos == (f'{said}"load"',)
    assert instant_query("rate(x_total[1m])", source, 20_000).infos == ()
    assert instant_query("delta(load[1m])", source, 20_000).infos == ()


FUNCTIONS = [
    *sorted({f"{name}_over_time(x_total[45s])" for name, _, _ in OVER_TIME}),
    "rate(x_total[45s])",
    "resets(x_total[45s])",
    "changes(x_total[45s])",
    "idelta(x_total[45s])",
    "deriv(x_total[45s])",
    "predict_linear(x_total[45s], 60)",
    "quantile_over_time(0.3, x_total[45s])",
    "double_exponential_smoothing(x_total[45s], 0.3, 0.6)",
]


@pytest.mark.parametrize("expr", FUNCTIONS)
@given(
    st.lists(
        st.lists(
            st.none() | st.sampled_from([0.0, 1.0, 7.5, NAN, INF, -INF, STALE, 1e308, 3e-9]),
            min_size=1,
            max_size=14,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_range_query_is_the_instant_queries_of_its_steps(
    expr: str, many: list[list[float | None]]
) -> None:
    source = memory({labels_of("x_total", n=str(n)): values for n, values in enumerate(many)})
    answer = range_query(expr, source, 0, 150_000, 7_000)
    found: dict[int, list[float]] = {}
    for row in range(len(answer.labels)):
        some = slice(answer.offsets[row], answer.offsets[row + 1])
        for at_ms, value in zip(answer.at_ms[some], answer.value[some], strict=True):
            found.setdefault(int(at_ms), []).append(float(value))
    for at_ms in range(0, 150_001, 7_000):
        once = instant_query(expr, source, at_ms)
        assert np.array_equal(found.get(at_ms, []), once.value, equal_nan=True), at_ms
