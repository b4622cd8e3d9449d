"""Sketches: the error bound, and that merging loses nothing."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.sketch import (
    BINS_MAX,
    INFINITE_BIN,
    Sketches,
    bins_of,
    collect,
    concat,
    count,
    merge,
    no_sketches,
    quantile,
    values_of,
)
from streams.events.batch import Ints

MAGNITUDES = st.floats(min_value=2.0**-128, max_value=2.0**127)
COVERED = st.one_of(MAGNITUDES, MAGNITUDES.map(lambda size: -size), st.just(0.0))
ANY = st.floats(allow_nan=False)
Sketch = tuple[Ints, Ints]


def sketch_of(values: list[float]) -> Sketch:
    bins, counts = np.unique(bins_of(np.array(values, dtype=np.float64)), return_counts=True)
    return bins, counts.astype(np.int64)


def plain(sketch: Sketch) -> tuple[list[int], list[int]]:
    return sketch[0].tolist(), sketch[1].tolist()


@given(value=COVERED)
def test_a_bin_stands_for_its_values_within_one_part_in_128(value: float) -> None:
    told = float(values_of(bins_of(np.array([value])))[0])
    assert abs(Fraction(told) - Fraction(value)) <= abs(Fraction(value)) / 128


@given(a=ANY, b=ANY)
def test_bins_rise_with_the_values_and_keep_their_sign(a: float, b: float) -> None:
    low, high = bins_of(np.array(sorted([a, b])))
    assert low <= high
    assert int(bins_of(np.array([-a]))[0]) == -int(bins_of(np.array([a]))[0])


@given(values=st.lists(ANY))
def test_no_value_lies_outside_the_bins(values: list[float]) -> None:
    bins = bins_of(np.array(values, dtype=np.float64))
    assert all(abs(bin_) <= INFINITE_BIN for bin_ in bins.tolist())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, 0.0),
        (-0.0, 0.0),
        (5e-324, 0.0),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (1e300, math.inf),
        (-1e300, -math.inf),
    ],
)
def test_what_is_too_small_counts_as_zero_and_too_large_as_infinite(
    value: float, told: float
) -> None:
    assert float(values_of(bins_of(np.array([value])))[0]) == told


def test_a_sketch_has_a_bounded_number_of_bins() -> None:
    assert BINS_MAX == 32_771
    assert len(values_of(np.arange(-INFINITE_BIN, INFINITE_BIN + 1))) == BINS_MAX


def test_the_values_of_all_bins_rise_strictly() -> None:
    told = values_of(np.arange(-INFINITE_BIN, INFINITE_BIN + 1))
    assert bool((told[1:] > told[:-1]).all())


@given(a=st.lists(ANY), b=st.lists(ANY))
def test_merging_is_the_sketch_of_all_observations(a: list[float], b: list[float]) -> None:
    assert plain(merge(sketch_of(a), sketch_of(b))) == plain(sketch_of(a + b))


@given(a=st.lists(ANY), b=st.lists(ANY), c=st.lists(ANY))
def test_merging_is_associative_and_commutative(
    a: list[float], b: list[float], c: list[float]
) -> None:
    x, y, z = sketch_of(a), sketch_of(b), sketch_of(c)
    assert plain(merge(merge(x, y), z)) == plain(merge(x, merge(y, z)))
    assert plain(merge(x, y)) == plain(merge(y, x))


@given(values=st.lists(COVERED, min_size=1), q=st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_one_part_in_128_of_the_observation_at_its_rank(
    values: list[float], q: float
) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert quantile(*sketch_of(values), q) == pytest.approx(exact, rel=1 / 128, abs=0)


def test_quantiles_outside_zero_and_one_are_infinite_and_of_nothing_nan() -> None:
    one = sketch_of([1.0])
    assert quantile(*one, 1.5) == math.inf
    assert quantile(*one, -0.5) == -math.inf
    assert math.isnan(quantile(*one, math.nan))
    assert math.isnan(quantile(*sketch_of([]), 0.5))


ROWS = st.lists(st.lists(ANY, max_size=6), min_size=1, max_size=6)


def packed(rows: list[list[float]]) -> Sketches:
    row = np.repeat(np.arange(len(rows)), [len(values) for values in rows])
    bins = bins_of(np.array([value for values in rows for value in values], dtype=np.float64))
    return count(row, bins, len(rows))


def unpacked(sketches: Sketches) -> list[tuple[list[int], list[int]]]:
    edges = sketches.offsets.tolist()
    return [
        (sketches.bins[begin:end].tolist(), sketches.counts[begin:end].tolist())
        for begin, end in pairwise(edges)
    ]


@given(rows=ROWS)
def test_sketches_of_many_rows_are_those_of_each_row(rows: list[list[float]]) -> None:
    assert unpacked(packed(rows)) == [plain(sketch_of(values)) for values in rows]


@given(rows=ROWS, data=st.data())
def test_taking_rows_takes_their_sketches(rows: list[list[float]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = packed(rows).take(np.array(chosen, dtype=np.intp))
    assert unpacked(taken) == [plain(sketch_of(rows[i])) for i in chosen]


@given(rows=ROWS, data=st.data())
def test_rows_collected_into_one_are_the_sketch_of_all_their_observations(
    rows: list[list[float]], data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    parts = packed(rows)
    joined = collect(np.array(groups)[parts.row_of_entry()], parts, 3)
    assert unpacked(joined) == [
        plain(
            sketch_of([v for g, values in zip(groups, rows, strict=True) if g == i for v in values])
        )
        for i in range(3)
    ]


@given(a=ROWS, b=ROWS)
def test_concatenated_rows_stay_what_they_were(a: list[list[float]], b: list[list[float]]) -> None:
    joined = concat([packed(a), no_sketches(2), packed(b)])
    assert unpacked(joined) == unpacked(packed([*a, [], [], *b]))
