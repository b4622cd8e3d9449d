"""Prometheus' matchers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.answers import Matcher
from projections.matching import match_series
from projections.series import SeriesTable, new_series
from streams.errors import InputError
from tests.projections.making import text

TEXTS = [
    text("cpu", host="web-1", zone="eu"),
    text("cpu", host="web-2"),
    text("cpu", host="db\n1"),
    text("mem", host="web-1"),
]


def known() -> SeriesTable:
    table = SeriesTable()
    table.add(new_series(one, "gauge", "") for one in TEXTS)
    return table


@pytest.mark.parametrize(
    ("matcher", "ids"),
    [
        (Matcher("host", "=", "web-1"), (0, 3)),
        (Matcher("host", "!=", "web-1"), (1, 2)),
        (Matcher("zone", "=", ""), (1, 2, 3)),
        (Matcher("zone", "!=", ""), (0,)),
        (Matcher("nowhere", "=", ""), (0, 1, 2, 3)),
        (Matcher("nowhere", "=~", "x?"), (0, 1, 2, 3)),
        (Matcher("nowhere", "=~", "x+"), ()),
        (Matcher("host", "=~", "web"), ()),
        (Matcher("host", "=~", "web-.|x"), (0, 1, 3)),
        (Matcher("host", "!~", "web-.*"), (2,)),
        (Matcher("host", "=~", "db.1"), (2,)),
        (Matcher("host", "=~", "(?i)WEB-2"), (1,)),
        (Matcher("__name__", "=~", "m.m"), (3,)),
    ],
)
def test_a_matcher_means_what_prometheus_means(matcher: Matcher, ids: tuple[int, ...]) -> None:
    assert match_series(known(), None, (matcher,)).ids == ids


def test_every_matcher_must_hold() -> None:
    matchers = (Matcher("host", "=~", "web-.*"), Matcher("zone", "=", ""))
    assert match_series(known(), ("cpu",), matchers).ids == (1,)


@pytest.mark.parametrize("pattern", ["(", "a)(b", "[", "(?=a)", r"\1", "a{2000}"])
def test_an_invalid_expression_is_refused_whatever_series_there_are(pattern: str) -> None:
    with pytest.raises(InputError, match="not a valid regular expression"):
        match_series(SeriesTable(), None, (Matcher("host", "=~", pattern),))


def test_an_over_long_expression_is_refused() -> None:
    with pytest.raises(InputError, match="longer than 1024 bytes"):
        match_series(SeriesTable(), None, (Matcher("host", "!~", "a" * 1025),))


@given(st.text(max_size=20))
def test_no_expression_harms_anybody(pattern: str) -> None:
    try:
        matched = match_series(known(), None, (Matcher("host", "=~", pattern),))
    except InputError:
        return
    assert set(matched.ids) <= {0, 1, 2, 3}
