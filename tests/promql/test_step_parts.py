"""A range computed in parts has the same answer, whatever the parts, and holds little at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import QueryCancelled, QueryError, QueryTooLarge
from streams.promql.answer import Answer
from streams.promql.engine import range_query
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher
from streams.promql.source import MemorySource, Selected, SeriesSource
from tests.effort import examples
from tests.promql.differential_data import BEGIN_MS, series
from tests.promql.expressions import Expressions
from tests.promql.timelines import labels_of, memory

DATA = MemorySource(series())
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS


class Watched:
    """A source that notes what it was asked and how much it gave."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source
        self.spans_ms: list[tuple[int, int]] = []
        self.samples: list[int] = []

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        found = self._source.select(matchers, start_ms, end_ms, samples_max)
        if found is not None:
            self.spans_ms.append((start_ms, end_ms))
            self.samples.append(len(found.at_ms))
        return found


@settings(max_examples=examples(150))
@given(st.integers(0, 2**32), st.sampled_from([1, 40, 300]), st.sampled_from([7_000, 61_000]))
def test_any_expression_in_parts_is_what_it_is_at_once(
    seed: int, part_max: int, step_ms: int
) -> None:
    expr = Expressions(seed).one()
    range_ms = (BEGIN_MS + 307_000, BEGIN_MS + 307_000 + 59 * step_ms, step_ms)
    at_once = answered(expr, range_ms, Limits())
    in_parts = answered(expr, range_ms, Limits(part_max=part_max))
    if isinstance(at_once, str) or isinstance(in_parts, str):
        # Of two pairs of series that must not meet, either may be named.
        assert str(in_parts)[:40] == str(at_once)[:40], expr
        return
    assert in_parts.labels == at_once.labels, expr
    assert in_parts.offsets.tolist() == at_once.offsets.tolist(), expr
    assert in_parts.at_ms.tolist() == at_once.at_ms.tolist(), expr
    np.testing.assert_allclose(in_parts.value, at_once.value, rtol=1e-12, atol=0, err_msg=expr)
    assert sorted(in_parts.warnings) == sorted(at_once.warnings), expr
    assert sorted(in_parts.infos) == sorted(at_once.infos), expr


def test_more_samples_than_may_be_held_at_once_are_read_in_parts() -> None:
    source = Watched(a_day(series=10))
    limits = Limits(samples_max=9_000, part_max=3_000)
    answer = range_query("sum(rate(x_total[5m]))", source, 0, DAY_MS, 5 * MINUTE_MS, limits=limits)
    assert len(answer.at_ms) == 289
    assert answer.value.tolist() == pytest.approx([10.0] * 289)
    assert max(source.samples) <= 3_000
    assert sum(source.samples) > 9_000
    starts = [start for start, _ in source.spans_ms]
    assert starts == sorted(starts)


def test_a_window_as_long_as_the_range_is_read_once_or_refused() -> None:
    source = Watched(a_day(series=10))
    ask = partial(range_query, "max_over_time(x_total[1d])", source, 0, DAY_MS, 60 * MINUTE_MS)
    assert len(ask(limits=Limits(part_max=3_000)).labels) == 10
    assert len(source.spans_ms) == 1
    with pytest.raises(QueryTooLarge, match="more than 9000 samples at once"):
        ask(limits=Limits(samples_max=9_000, part_max=3_000))


def test_what_is_the_same_at_every_step_is_read_once_for_all_parts() -> None:
    source = Watched(a_day(series=1))
    answer = range_query(
        "x_total - (x_total @ 3660)", source, 0, DAY_MS, MINUTE_MS, limits=Limits(part_max=500)
    )
    assert answer.value[0] == -3_660
    assert len(source.spans_ms) > 4
    assert source.spans_ms.count((3_360_001, 3_660_000)) == 1


def test_series_of_different_parts_that_lose_what_tells_them_apart_are_refused() -> None:
    apart = memory(
        {labels_of("a", job="x"): [1.0] * 60, labels_of("b", job="x"): [None] * 600 + [1.0] * 60}
    )
    for part_max in (1, 10_000):
        with pytest.raises(QueryError, match="same labelset"):
            range_query(
                'count_over_time({__name__=~"a|b"}[20s])',
                apart,
                0,
                7_000_000,
                100_000,
                limits=Limits(part_max=part_max),
            )


def test_an_answer_is_limited_over_all_parts() -> None:
    with pytest.raises(QueryTooLarge, match="answer has 10 series at 289 steps, at most 2000"):
        range_query(
            "x_total",
            a_day(series=10),
            0,
            DAY_MS,
            5 * MINUTE_MS,
            limits=Limits(cells_max=2_000, part_max=500),
        )


def test_a_query_in_parts_is_cancelled_between_them() -> None:
    asked = count()
    with pytest.raises(QueryCancelled):
        range_query(
            "x_total",
            a_day(series=10),
            0,
            DAY_MS,
            MINUTE_MS,
            limits=Limits(part_max=500),
            cancelled=lambda: next(asked) > 20,
        )


def a_day(series: int) -> MemorySource:
    """Counters that rise by one a second, told every minute from the day before on."""
    at_ms = MINUTE_MS * np.arange(-1_440, 1_441, dtype=np.int64)
    value = at_ms / 1_000
    return MemorySource({labels_of("x_total", n=str(n)): (at_ms, value) for n in range(series)})


def answered(expr: str, range_ms: tuple[int, int, int], limits: Limits) -> Answer | str:
    """The answer, or why there is none."""
    try:
        return range_query(expr, DATA, *range_ms, limits=limits)
    except QueryError as refusal:
        return str(refusal)
