"""Text to tree: `promql-parser` (Prometheus 3.8's grammar) behind limits of size and nesting.

The parser is native code with a recursive descent that a hostile text can bring down, so what it
gets is scanned first: bytes, depth of brackets, runs of signs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, assert_never

import promql_parser as grammar

from streams.errors import QuerySyntaxError
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher, Operator
from streams.promql.syntax import (
    Aggregate,
    At,
    Binary,
    Call,
    Expression,
    Matching,
    Negate,
    Number,
    RangeSelector,
    Selector,
    Subquery,
    Text,
)

DEPTH_MAX = 128
"""Levels of the tree; a chain of operators that associate to the left is one level."""
SIGNS_MAX = 16
OPERATORS_MAX = 256
"""In one expression: the parser's time and memory grow with the square of a chain's length."""
NAME = "__name__"
UNIX = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)

READS_THE_STEP = {
    *("days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month"),
    *("year", "predict_linear", "time", "timestamp"),
}
"""Functions whose value depends on the step even where all selectors are pinned."""

_QUOTED = re.compile(r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`""", re.DOTALL)
"""Comments and strings."""
_BYTE_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\(?:x[89a-fA-F]|[23])")
_BRACKETS = re.compile(r"[()\[\]{}]")
_OPERATORS_TEXT = re.compile(r"[-+*/%^<>]|[=!]=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_SIGNS = re.compile(rf"(?:[+-]\s*){{{SIGNS_MAX + 1}}}")
_NEGATIVE_AT = re.compile(r"@\s*-")

# Keyed by text: the parser's own enumerations cannot be hashed.
_OPERATORS: dict[str, Operator] = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_CARDS: dict[str, Literal["one", "left", "right"]] = {
    "VectorMatchCardinality.OneToOne": "one",
    "VectorMatchCardinality.ManyToMany": "one",
    "VectorMatchCardinality.ManyToOne": "left",
    "VectorMatchCardinality.OneToMany": "right",
}


@lru_cache(maxsize=256)
def parse(text: str, limits: Limits) -> Expression:
    """The tree, or `QuerySyntaxError`: too long, too deep, not PromQL, or not supported."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.expression_bytes_max:
        raise QuerySyntaxError(
            f"the expression has {size} bytes, at most {limits.expression_bytes_max} are taken"
        )
    _scan(text, limits)
    try:
        tree = grammar.parse(text)
    except ValueError as problem:
        raise QuerySyntaxError(f"parse error: {problem}") from None
    except BaseException as panic:
        # A panic of the native parser is no `Exception`: x[1e300] is too long for its durations.
        if type(panic).__name__ != "PanicException":
            raise
        raise QuerySyntaxError(f"parse error: {panic}") from None
    return _convert(tree, 0)


def _scan(text: str, limits: Limits) -> None:
    """Depth, signs, and what the parser takes for something else or panics at."""
    if _BYTE_ESCAPE.search("".join(token for token in _QUOTED.findall(text) if token[0] in "\"'")):
        raise QuerySyntaxError(
            "escapes of single bytes above \\x7f in strings are not supported: "
            "write the character itself or \\u and its number"
        )
    bare = _QUOTED.sub(" ", text)
    depth = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in "([{" else -1
        if depth > limits.brackets_max:
            raise QuerySyntaxError(
                f"more than {limits.brackets_max} levels of brackets: simplify the expression"
            )
    if len(_OPERATORS_TEXT.findall(bare)) > OPERATORS_MAX:
        raise QuerySyntaxError(f"more than {OPERATORS_MAX} operators: split the expression")
    if _SIGNS.search(bare):
        raise QuerySyntaxError(f"more than {SIGNS_MAX} signs in a row: simplify the expression")
    if _NEGATIVE_AT.search(bare):
        raise QuerySyntaxError("@ with a time before 1970 is not supported")


def _convert(node: grammar.Expr, depth: int) -> Expression:
    if depth > DEPTH_MAX:
        raise QuerySyntaxError(f"nested deeper than {DEPTH_MAX} levels: simplify the expression")
    match node:
        case grammar.ParenExpr():
            return _convert(node.expr, depth + 1)
        case grammar.NumberLiteral():
            return Number(node.val)
        case grammar.StringLiteral():
            return Text(node.val)
        case grammar.VectorSelector():
            return _selector(node)
        case grammar.MatrixSelector():
            selector = _selector(node.vector_selector)
            return RangeSelector(selector, node.range // MS, selector.steady)
        case grammar.SubqueryExpr():
            return _subquery(node, depth)
        case grammar.UnaryExpr():
            body = _convert(node.expr, depth + 1)
            return Negate(body, body.steady)
        case grammar.BinaryExpr():
            return _chain(node, depth)
        case grammar.AggregateExpr():
            return _aggregate(node, depth)
        case grammar.Call():
            arguments = tuple(_convert(argument, depth + 1) for argument in node.args)
            name = node.func.name
            steady = name not in READS_THE_STEP and all(a.steady for a in arguments)
            return Call(name, arguments, steady)
        case _:
            raise QuerySyntaxError(f"{type(node).__name__} is not supported")


def _selector(node: grammar.VectorSelector) -> Selector:
    if node.matchers.or_matchers:
        raise QuerySyntaxError("'or' between matchers is not PromQL: use =~ or the operator or")
    matchers = [Matcher(m.name, _OPERATORS[str(m.op)], m.value) for m in node.matchers.matchers]
    if node.name:
        matchers.insert(0, Matcher(NAME, "=", node.name))
    if sum(m.name == NAME and m.op == "=" for m in matchers) > 1:
        raise QuerySyntaxError("parse error: metric name must not be set twice")
    at = _at(node.at)
    return Selector(tuple(matchers), _offset_ms(node.offset), at, at is not None)


def _subquery(node: grammar.SubqueryExpr, depth: int) -> Subquery:
    assert node.range is not None
    body = _convert(node.expr, depth + 1)
    step_ms = None if node.step is None else node.step // MS
    at = _at(node.at)
    # A body that is pinned does not make it steady: how many steps of it there are is not.
    return Subquery(body, node.range // MS, step_ms, _offset_ms(node.offset), at, at is not None)


def _offset_ms(offset: timedelta | None) -> int:
    return 0 if offset is None else offset // MS


def _at(modifier: Any) -> At:
    match None if modifier is None else modifier.type:
        case None:
            return None
        case grammar.AtModifierType.Start:
            return "start"
        case grammar.AtModifierType.End:
            return "end"
    try:
        return round((modifier.at - UNIX) / MS)
    except (ValueError, OverflowError) as problem:
        raise QuerySyntaxError(f"the timestamp of @ is out of range: {problem}") from None


def _chain(node: grammar.BinaryExpr, depth: int) -> Expression:
    """``a + b + c + …`` without a level of recursion for each operator."""
    chain: list[grammar.BinaryExpr] = []
    first: grammar.Expr = node
    while isinstance(first, grammar.BinaryExpr):
        chain.append(first)
        first = first.lhs
    left = _convert(first, depth + 1)
    for link in reversed(chain):
        right = _convert(link.rhs, depth + 1)
        steady = left.steady and right.steady
        as_bool = link.modifier is not None and link.modifier.return_bool
        left = Binary(str(link.op), left, right, _matching(link), as_bool, steady)
    return left


def _matching(node: grammar.BinaryExpr) -> Matching:
    modifier = node.modifier
    if modifier is None:
        return Matching()
    fill = modifier.fill_values
    if fill is not None and (fill.lhs is not None or fill.rhs is not None):
        raise QuerySyntaxError(
            "fill(), fill_left() and fill_right() are experimental in Prometheus, not supported"
        )
    labels = modifier.matching
    return Matching(
        on=labels is not None and labels.type == grammar.LabelModifierType.Include,
        labels=tuple(labels.labels) if labels is not None else (),
        card=_CARDS[str(modifier.card)],
        include=tuple(modifier.group_labels or ()),
    )


def _aggregate(node: grammar.AggregateExpr, depth: int) -> Aggregate:
    body = _convert(node.expr, depth + 1)
    parameter = None if node.param is None else _convert(node.param, depth + 1)
    steady = body.steady and (parameter is None or parameter.steady)
    by = node.modifier is None or node.modifier.type == grammar.AggModifierType.By
    labels = () if node.modifier is None else tuple(node.modifier.labels)
    return Aggregate(str(node.op), body, parameter, by, labels, steady)


def pinned(node: Expression) -> tuple[tuple[str, str], ...]:
    """The labels that `absent` may give its result: what the selector fixes by one ``=``.

    >>> pinned(parse('absent(up{job="a", env=~"b", x="1", x="2"})', Limits()).arguments[0])
    (('job', 'a'),)
    """
    match node:
        case RangeSelector(selector=selector):
            return pinned(selector)
        case Selector(matchers=matchers):
            fixed: dict[str, str] = {}
            for matcher in matchers:
                first = matcher.op == "=" and matcher.name not in fixed
                fixed[matcher.name] = matcher.value if first else ""
            fixed.pop(NAME, None)
            return tuple(sorted((name, value) for name, value in fixed.items() if value))
        case Number() | Text() | Subquery() | Negate() | Binary() | Aggregate() | Call():
            return ()
        case _:
            assert_never(node)
