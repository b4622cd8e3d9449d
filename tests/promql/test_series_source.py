"""What every `SeriesSource` must do: the one in memory and the DuckDB file's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import QueryError
from streams.promql.frames import Labels
from streams.promql.matchers import Matcher, matches
from streams.promql.source import SeriesSource
from tests.projections.promql_making import projected
from tests.promql.timelines import STALE, Values, columns_of, labels_of, memory

UP_A, UP_B = labels_of("up", job="a"), labels_of("up", job="b", zone="x")
DOWN = labels_of("down", job="a")
ALL = 1_000_000

SourceOf = Callable[[Mapping[Labels, Values]], SeriesSource]


@pytest.fixture(params=["memory", "duckdb"])
def source_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceOf]:
    """Makes a source of series with samples 10 s apart; once a test."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield memory
        else:
            yield lambda series: stack.enter_context(projected(tmp_path, columns_of(series)))


@pytest.fixture
def source(source_of: SourceOf) -> SeriesSource:
    return source_of({UP_B: [1, 2, 3, 4], UP_A: [5, None, STALE, 8], DOWN: [9, 10]})


def test_series_come_in_the_order_of_their_labels(source: SeriesSource) -> None:
    found = source.select([Matcher("__name__", "=~", ".+")], 0, 60_000, ALL)
    assert found.labels == (DOWN, UP_A, UP_B)
    assert found.offsets.tolist() == [0, 2, 5, 9]


def test_both_bounds_are_inclusive_and_stale_markers_are_kept(source: SeriesSource) -> None:
    found = source.select([Matcher("__name__", "=", "up")], 10_000, 20_000, ALL)
    samples = dict(zip(found.labels, np.split(found.at_ms, found.offsets[1:-1]), strict=True))
    assert {labels: at.tolist() for labels, at in samples.items() if len(at)} == {
        UP_A: [20_000],
        UP_B: [10_000, 20_000],
    }
    assert found.value[:1].view(np.uint64) == np.array([STALE]).view(np.uint64)


@pytest.mark.parametrize(
    ("matchers", "labels"),
    [
        ([Matcher("zone", "=", "")], [DOWN, UP_A]),
        ([Matcher("zone", "!=", "")], [UP_B]),
        ([Matcher("zone", "=~", "|x")], [DOWN, UP_A, UP_B]),
        ([Matcher("job", "=~", "a|b"), Matcher("__name__", "!~", "u.")], [DOWN]),
        ([Matcher("nosuch", "!~", ".+"), Matcher("job", "=", "b")], [UP_B]),
        ([Matcher("job", "=", "c")], []),
    ],
)
def test_all_matchers_must_hold_and_a_missing_label_is_empty(
    source: SeriesSource, matchers: list[Matcher], labels: list[object]
) -> None:
    assert list(source.select(matchers, 0, 60_000, ALL).labels) == labels


def test_several_matchers_of_one_label_must_all_hold(source: SeriesSource) -> None:
    found = source.select([Matcher("job", "=~", "b"), Matcher("job", "!=", "")], 0, 60_000, ALL)
    assert found.value.tolist() == [1, 2, 3, 4]


def test_series_that_do_not_lie_together_keep_their_samples(source_of: SourceOf) -> None:
    apart = source_of({labels_of("x", n=str(n)): [n, n] for n in range(5)})
    found = apart.select([Matcher("n", "=~", "0|2|4")], 0, 60_000, ALL)
    assert found.value.tolist() == [0, 0, 2, 2, 4, 4]
    assert found.offsets.tolist() == [0, 2, 4, 6]


def test_more_samples_than_asked_for_are_not_read(source: SeriesSource) -> None:
    assert len(source.select([Matcher("job", "=", "b")], 0, 60_000, 4).value) == 4
    assert source.select([Matcher("job", "=", "b")], 0, 60_000, 3) is None


@pytest.mark.parametrize("name", ["__name__", "job"])
def test_a_pattern_that_re2_does_not_take_is_refused_whatever_there_is(
    source_of: SourceOf, name: str
) -> None:
    with pytest.raises(QueryError, match="regular expression"):
        source_of({}).select([Matcher(name, "=~", "(a{100}){100}")], 0, 60_000, ALL)


def test_a_pattern_is_anchored_and_its_dot_matches_a_newline() -> None:
    values = ["ab", "xab", "abx", "a\nb", ""]
    assert matches(Matcher("x", "=~", "a|ab"), values).tolist() == [True, *[False] * 4]
    assert matches(Matcher("x", "=~", "a.b"), values).tolist() == [False] * 3 + [True, False]
    assert matches(Matcher("x", "!~", ".+"), values).tolist() == [False] * 4 + [True]


def test_a_pattern_that_re2_does_not_take_is_named() -> None:
    with pytest.raises(QueryError, match="regular expression of x=~"):
        matches(Matcher("x", "=~", "(a{100}){100}"), ["a"])


@given(st.lists(st.text("ab", max_size=6)), st.text("ab.*|", max_size=6))
def test_patterns_agree_with_pythons_where_both_have_them(values: list[str], body: str) -> None:
    pattern = f"(?:{body})" if "**" not in body and not body.startswith("*") else "a"
    try:
        expected = [re.fullmatch(pattern, value, re.DOTALL) is not None for value in values]
    except re.error:
        return
    assert matches(Matcher("x", "=~", pattern), values).tolist() == expected
