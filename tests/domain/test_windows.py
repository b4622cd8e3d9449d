"""Samples to aggregates, against a plain loop; and aggregates of aggregates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.windows import Aggregates, Samples, concat, merge, reduce, rises
from tests.flow.window_model import Row, aggregate, merged, same

SIZE_MS = 1_000
Sample = tuple[int, int, float]

VALUES = st.one_of(
    st.floats(min_value=-100, max_value=100),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e308]),
)
SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(-3_000, 9_000), VALUES), max_size=40)


def columns(samples: list[Sample]) -> Samples:
    return Samples(
        np.array([series for series, _, _ in samples], dtype=np.int32),
        np.array([at_ms for _, at_ms, _ in samples], dtype=np.int64),
        np.array([value for _, _, value in samples], dtype=np.float64),
    )


RANK = np.arange(4, dtype=np.int32)
OBSERVED = np.array([False, True, False, True])


def rows_of(rows: Aggregates) -> list[tuple[tuple[int, int], Row]]:
    edges = rows.sketches.offsets.tolist()
    return [
        (
            (int(rows.start_ms[i]), int(rows.series[i])),
            Row(
                count=int(rows.count[i]),
                sum=float(rows.sum[i]),
                min=float(rows.min[i]),
                max=float(rows.max[i]),
                first=float(rows.first[i]),
                last=float(rows.last[i]),
                first_ms=int(rows.first_ms[i]),
                last_ms=int(rows.last_ms[i]),
                increase=float(rows.increase[i]),
                bins=dict(
                    zip(
                        rows.sketches.bins[edges[i] : edges[i + 1]].tolist(),
                        rows.sketches.counts[edges[i] : edges[i + 1]].tolist(),
                        strict=True,
                    )
                ),
            ),
        )
        for i in range(len(rows))
    ]


def modelled(samples: list[Sample], size_ms: int) -> list[tuple[tuple[int, int], Row]]:
    groups: dict[tuple[int, int], list[tuple[int, float]]] = {}
    seen: set[tuple[int, int]] = set()
    for series, at_ms, value in samples:
        if (series, at_ms) not in seen:
            seen.add((series, at_ms))
            groups.setdefault((at_ms // size_ms * size_ms, series), []).append((at_ms, value))
    return [
        (key, aggregate(group, bool(OBSERVED[key[1]]))) for key, group in sorted(groups.items())
    ]


@given(samples=SAMPLES)
def test_aggregates_equal_those_of_a_plain_loop_to_the_last_bit(samples: list[Sample]) -> None:
    rows, duplicates = reduce(columns(samples), RANK, OBSERVED, SIZE_MS)
    assert same(rows_of(rows), modelled(samples, SIZE_MS))
    assert duplicates == len(samples) - len({(series, at_ms) for series, at_ms, _ in samples})


@given(samples=SAMPLES, data=st.data())
def test_the_order_of_arrival_decides_only_between_duplicates(
    samples: list[Sample], data: st.DataObject
) -> None:
    unique = list({(series, at_ms): (series, at_ms, v) for series, at_ms, v in samples}.values())
    shuffled = data.draw(st.permutations(unique))
    one, _ = reduce(columns(unique), RANK, OBSERVED, SIZE_MS)
    other, _ = reduce(columns(shuffled), RANK, OBSERVED, SIZE_MS)
    assert same(rows_of(one), rows_of(other))


@given(samples=SAMPLES, parts=st.integers(1, 5))
def test_a_large_window_is_the_merge_of_its_small_ones(samples: list[Sample], parts: int) -> None:
    rows, _ = reduce(columns(samples), RANK, OBSERVED, SIZE_MS)
    large: dict[tuple[int, int], list[Row]] = {}
    for (start_ms, series), row in modelled(samples, SIZE_MS):
        size_ms = SIZE_MS * parts
        large.setdefault((start_ms // size_ms * size_ms, series), []).append(row)
    expected = [(key, merged(group)) for key, group in sorted(large.items())]
    assert same(rows_of(merge(rows, RANK, SIZE_MS * parts)), expected)


@given(samples=SAMPLES, parts=st.integers(1, 5))
def test_merged_windows_tell_what_reducing_in_the_large_size_tells(
    samples: list[Sample], parts: int
) -> None:
    rows, _ = reduce(columns(samples), RANK, OBSERVED, SIZE_MS)
    large, _ = reduce(columns(samples), RANK, OBSERVED, SIZE_MS * parts)
    small = merge(rows, RANK, SIZE_MS * parts)
    for name in ("series", "start_ms", "count", "min", "max", "first", "last", "last_ms"):
        assert np.array_equal(getattr(small, name), getattr(large, name), equal_nan=True), name
    assert small.sketches.bins.tolist() == large.sketches.bins.tolist()
    assert small.sketches.counts.tolist() == large.sketches.counts.tolist()
    finite = np.isfinite(large.sum) & (np.abs(large.sum) < 1e300)
    assert small.sum[finite] == pytest.approx(large.sum[finite], rel=1e-9, abs=1e-9)
    assert small.increase[finite] == pytest.approx(large.increase[finite], rel=1e-9, abs=1e-9)


def disjoint(values: list[float], begin_ms: int) -> Aggregates:
    samples = [(0, begin_ms + i, value) for i, value in enumerate(values)]
    return reduce(columns(samples), RANK, OBSERVED, SIZE_MS)[0]


FINITE = st.lists(st.integers(0, 1_000).map(float), min_size=1, max_size=5)


@given(a=FINITE, b=FINITE, c=FINITE)
def test_merging_is_associative(a: list[float], b: list[float], c: list[float]) -> None:
    x, y, z = disjoint(a, 0), disjoint(b, 100), disjoint(c, 200)

    def both(left: Aggregates, right: Aggregates) -> Aggregates:
        return merge(concat([left, right]), RANK, SIZE_MS)

    assert same(rows_of(both(both(x, y), z)), rows_of(both(x, both(y, z))))


@given(a=FINITE, b=FINITE)
def test_late_rows_join_at_the_same_seam_whichever_was_told_first(
    a: list[float], b: list[float]
) -> None:
    x, y = disjoint(a, 0), disjoint(b, 100)
    forth = merge(concat([x, y]), RANK, SIZE_MS)
    back = merge(concat([y, x]), RANK, SIZE_MS)
    assert same(rows_of(forth), rows_of(back))


def test_the_increase_of_rows_that_overlap_in_time_is_the_larger_one() -> None:
    told = reduce(columns([(0, 0, 1.0), (0, 900, 101.0)]), RANK, OBSERVED, SIZE_MS)[0]
    late = reduce(columns([(0, 300, 40.0), (0, 600, 70.0)]), RANK, OBSERVED, SIZE_MS)[0]
    rows = merge(concat([told, late]), RANK, SIZE_MS)
    assert rows.increase.tolist() == [100.0]
    assert rows.count.tolist() == [4]


def test_a_counter_that_falls_began_again_at_zero() -> None:
    assert rises(np.array([10.0, 3.0]), np.array([3.0, 5.0])).tolist() == [3.0, 2.0]
    rows, _ = reduce(columns([(0, 0, 10.0), (0, 1, 3.0), (0, 2, 5.0)]), RANK, OBSERVED, SIZE_MS)
    assert rows.increase.tolist() == [5.0]


def test_two_dictionary_entries_of_one_series_are_one_row_with_the_newest_entry() -> None:
    rank = np.array([7, 7], dtype=np.int32)
    samples = columns([(1, 5, 2.0), (0, 9, 3.0), (1, 9, 4.0)])
    rows, duplicates = reduce(samples, rank, np.array([False, False]), SIZE_MS)
    assert rows.series.tolist() == [0]
    assert (rows.count.tolist(), rows.sum.tolist(), duplicates) == ([2], [5.0], 1)


def test_a_signalling_nan_is_a_nan_like_any_other() -> None:
    value = np.array([0x7FF0000000000001], dtype=np.uint64).view(np.float64)
    samples = Samples(np.array([1], np.int32), np.array([5]), value)
    rows, _ = reduce(samples, RANK, OBSERVED, SIZE_MS)
    assert rows.sum.view(np.uint64).tolist() == np.array([np.nan]).view(np.uint64).tolist()
    assert len(rows.sketches.bins) == 0
