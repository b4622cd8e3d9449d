"""Classic histograms; expectations worked out by hand from the documentation."""

from __future__ import annotations

import math

import pytest

from streams.promql.engine import instant_query, range_query
from streams.promql.source import MemorySource
from tests.promql.timelines import labels_of, memory, same

NAN, INF = math.nan, math.inf
MONOTONY = "input to histogram_quantile needed to be fixed for monotonicity"


def histogram(counts: dict[str, float]) -> MemorySource:
    return memory({labels_of("h_bucket", job="a", le=le): [n] for le, n in counts.items()})


EVEN = {"1": 10.0, "2": 30.0, "4": 40.0, "+Inf": 50.0}


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.1, EVEN, 0.5),  # 5 of 10 in (0, 1]
        (0.4, EVEN, 1.5),  # the 20th: 10 of 20 in (1, 2]
        (0.8, EVEN, 4.0),
        (0.9, EVEN, 4.0),  # in +Inf: the bound below
        (0.0, EVEN, 0.0),
        (-1, EVEN, -INF),
        (2, EVEN, INF),
        (0.5, {"1": 0.0, "+Inf": 0.0}, NAN),
        (0.5, {"1": 5.0, "2": 9.0}, NAN),  # without +Inf
        (0.5, {"+Inf": 9.0}, NAN),
        (0.1, {"-1": 5.0, "1": 9.0, "+Inf": 10.0}, -1.0),  # the first is not positive
        (0.5, {"1": 2.0, "1.0": 8.0, "2": 20.0, "+Inf": 20.0}, 1.0),  # one bucket of 10
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    share: float, counts: dict[str, float], expected: float
) -> None:
    answer = instant_query(f"histogram_quantile({share}, h_bucket)", histogram(counts), 0)
    assert same(answer.value.tolist(), [expected])
    assert answer.labels == ((("job", "a"),),)
    assert answer.infos == ()


def test_falling_counts_are_raised_and_told() -> None:
    falling = histogram({"1": 10.0, "2": 8.0, "4": 20.0, "+Inf": 20.0})
    answer = instant_query("histogram_quantile(0.75, h_bucket)", falling, 0)
    assert same(answer.value.tolist(), [3.0])  # as if 10 up to 2: 5 of 10 in (2, 4]
    assert len(answer.infos) == 1
    assert answer.infos[0].startswith(MONOTONY)


def test_counts_that_differ_by_rounding_are_levelled_silently() -> None:
    nearly = histogram({"1": 10.0, "2": 10.0 * (1 - 1e-15), "+Inf": 10.0 * (1 - 1e-15)})
    answer = instant_query("histogram_quantile(1, h_bucket)", nearly, 0)
    assert (answer.value.tolist(), answer.infos) == ([1.0], ())


@pytest.mark.parametrize(
    ("lower", "upper", "counts", "expected"),
    [
        ("0", "1", EVEN, 0.2),
        ("0.5", "1.5", EVEN, (5 + 10) / 50),
        ("-Inf", "+Inf", EVEN, 1.0),
        ("4", "+Inf", EVEN, 0.2),
        ("5", "+Inf", EVEN, 0.2),  # how far it is into +Inf cannot be told
        ("1", "1", EVEN, 0.0),
        ("2", "1", EVEN, 0.0),
        ("NaN", "1", EVEN, NAN),
        ("0", "1", {"1": 0.0, "+Inf": 0.0}, NAN),
        ("0", "1", {"1": 5.0, "2": 5.0}, NAN),
        ("-3", "0", {"-1": 4.0, "1": 8.0, "+Inf": 8.0}, (6 - 4) / 8),
    ],
)
def test_a_fraction_counts_what_lies_between(
    lower: str, upper: str, counts: dict[str, float], expected: float
) -> None:
    expr = f"histogram_fraction({lower}, {upper}, h_bucket)"
    assert same(instant_query(expr, histogram(counts), 0).value.tolist(), [expected])


def test_several_quantiles_stand_under_a_label() -> None:
    answer = instant_query('histogram_quantiles(h_bucket, "q", 0.1, 1)', histogram(EVEN), 0)
    assert {
        dict(labels)["q"]: value for labels, value in zip(answer.labels, answer.value, strict=True)
    } == {
        "0.1": 0.5,
        "1.0": 4.0,
    }


@pytest.mark.parametrize("le", ["", "abc", "1_0", " 1", "0x1"])
def test_what_has_no_bound_is_left_out_and_warned_of(le: str) -> None:
    source = memory({labels_of("x", **({"le": le} if le else {})): [1]})
    answer = instant_query("histogram_quantile(0.5, x)", source, 0)
    assert answer.labels == ()
    assert answer.warnings == (f'bucket label "le" is missing or has a malformed value of "{le}"',)


def test_buckets_may_come_and_go() -> None:
    source = memory(
        {
            labels_of("h_bucket", le="1"): [0, 0, 0],
            labels_of("h_bucket", le="2"): [None, 10, 10],
            labels_of("h_bucket", le="4"): [10, 10, 10],
            labels_of("h_bucket", le="+Inf"): [10, 10, 10],
        }
    )
    answer = range_query("histogram_quantile(0.5, h_bucket)", source, 0, 20_000, 10_000)
    assert same(answer.value.tolist(), [1 + 3 / 2, 1.5, 1.5])


def test_two_histograms_of_one_name_stay_apart() -> None:
    buckets = {
        labels_of("h_bucket", job=job, le=le): [count]
        for job, counts in (("a", (1, 2)), ("b", (2, 2)))
        for le, count in zip(("1", "+Inf"), counts, strict=True)
    }
    answer = instant_query("histogram_quantile(0.5, h_bucket)", memory(buckets), 0)
    values = {
        dict(labels)["job"]: value
        for labels, value in zip(answer.labels, answer.value, strict=True)
    }
    assert values == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize("name", ["count", "sum", "avg", "stddev", "stdvar"])
def test_floats_are_no_native_histograms(name: str) -> None:
    assert instant_query(f"histogram_{name}(h_bucket)", histogram(EVEN), 0).labels == ()
