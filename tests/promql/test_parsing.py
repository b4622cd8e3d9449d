"""What reaches the parser, what it makes of it, and what is refused with which sentence."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import QueryError, QuerySyntaxError
from streams.promql.engine import instant_query
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher
from streams.promql.parsing import DEPTH_MAX, OPERATORS_MAX, SIGNS_MAX, parse, pinned
from streams.promql.source import MemorySource
from streams.promql.syntax import Binary, Call, RangeSelector, Selector, Subquery

LIMITS = Limits()
NOTHING = MemorySource({})
PIECES = st.sampled_from(
    [
        *("x", "rate", "sum", "by", "on", "offset", "group_left", "and", "start()", "5m", "1", "é"),
        *("(", ")", "[", "]", "{", "}", ":", "-", "@", '"', "\\x", "#", "=~", ",", "+", "^", " "),
    ]
)


def test_a_selector_is_its_matchers_and_the_time_that_it_looks_at() -> None:
    selector = parse('up{job!="a", env=~"b.*"} offset 1m30s @ 1000.5', LIMITS)
    assert selector == Selector(
        (Matcher("__name__", "=", "up"), Matcher("job", "!=", "a"), Matcher("env", "=~", "b.*")),
        offset_ms=90_000,
        at=1_000_500,
        steady=True,
    )


def test_names_may_be_any_utf_8_in_quotes() -> None:
    selector = parse('{"cpu.größe", "my host"="ä"}', LIMITS)
    assert isinstance(selector, Selector)
    assert selector.matchers == (
        Matcher("__name__", "=", "cpu.größe"),
        Matcher("my host", "=", "ä"),
    )


def test_an_expression_is_steady_when_every_selector_is_pinned_and_no_step_is_read() -> None:
    assert parse("sum(rate(x[5m] @ end())) / 2", LIMITS).steady
    assert not parse("x @ 5 + x", LIMITS).steady
    assert not parse("timestamp(x @ 5)", LIMITS).steady
    assert not parse("sum_over_time((x @ 5)[1m:])", LIMITS).steady
    assert parse("sum_over_time(x[1m:] @ start())", LIMITS).steady


def test_ranges_and_subqueries_are_in_milliseconds() -> None:
    call = parse("rate(x[1m500ms] offset -1h)", LIMITS)
    assert isinstance(call, Call)
    (window,) = call.arguments
    assert isinstance(window, RangeSelector)
    assert (window.range_ms, window.selector.offset_ms) == (60_500, -3_600_000)
    subquery = parse("x[1h:]", LIMITS)
    assert isinstance(subquery, Subquery)
    assert (subquery.range_ms, subquery.step_ms) == (3_600_000, None)


def test_operators_associate_to_the_left_but_powers_to_the_right() -> None:
    sums = parse("1 - 2 - 3", LIMITS)
    powers = parse("1 ^ 2 ^ 3", LIMITS)
    assert isinstance(sums, Binary)
    assert isinstance(powers, Binary)
    assert isinstance(sums.left, Binary)
    assert isinstance(powers.right, Binary)


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ('x{job="a", env=~"b"}', (("job", "a"),)),
        ('x{job="a", job="b", env="c"}', (("env", "c"),)),
        ('x{job="", env="c"}', (("env", "c"),)),
        ("sum(x)", ()),
    ],
)
def test_absence_takes_the_labels_that_one_equality_fixes(
    selector: str, labels: tuple[tuple[str, str], ...]
) -> None:
    assert pinned(parse(selector, LIMITS)) == labels


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "no expression found"),
        ("sum(", "parse error"),
        ("rate(x)", "expected type matrix in call to function 'rate', got vector"),
        ("nosuch(x)", "unknown function with name 'nosuch'"),
        ("{}", "at least one non-empty matcher"),
        ('{a=~".*"}', "at least one non-empty matcher"),
        ('{"x", __name__="y"}', "metric name must not be set twice"),
        ("1 > 2", "BOOL modifier"),
        ("x and 1", "set operator 'and' not allowed"),
        ('{a="b" or c="d"}', "'or' between matchers is not PromQL"),
        ("a + fill(0) b", "fill(), fill_left() and fill_right() are experimental"),
        ("rate(x[5m] smoothed)", "parse error"),
        ("x @ -1", "@ with a time before 1970"),
        ("x @ # why\n -1", "@ with a time before 1970"),
        ("x @ 99999999999999", "the timestamp of @ is out of range"),
        (r'x{a="\xff"}', "single bytes above"),
        (r'"\377"', "single bytes above"),
        ("x" * 4_097, "4097 bytes, at most 4096"),
        ("(" * 65 + "x" + ")" * 65, "more than 64 levels of brackets"),
        ("-" * (SIGNS_MAX + 1) + "x", "signs in a row"),
        ("x" + "+x" * (OPERATORS_MAX + 1), "more than 256 operators"),
        ("1" + "^1" * (DEPTH_MAX + 1), "nested deeper than 128 levels"),
    ],
)
def test_what_is_not_taken_says_why(expression: str, sentence: str) -> None:
    with pytest.raises(QuerySyntaxError) as refused:
        parse(expression, LIMITS)
    assert sentence in str(refused.value)
    assert (refused.value.status, refused.value.kind) == (400, "bad_data")


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 64 + "x" + ")" * 64,
        '"' + "(" * 1_000 + '"',
        "x # " + "(" * 1_000,
        r'"\\xff is a backslash and four letters"',
        r"`\xff`",
        "'@ -1 + - + - + - + - + - + - + - + - + - +'",
        "1" + "+1" * OPERATORS_MAX,
    ],
)
def test_the_limits_count_neither_strings_nor_comments(expression: str) -> None:
    parse(expression, LIMITS)


@given(st.lists(PIECES, max_size=24).map("".join) | st.text(max_size=200))
def test_any_text_is_answered_or_refused(text: str) -> None:
    with suppress(QueryError):
        assert instant_query(text, NOTHING, 0).kind in ("vector", "matrix", "scalar", "string")
