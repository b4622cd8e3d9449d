"""What a condition needs and means: its series, how far it looks back, whether there is data.

Pure functions over the tree of `streams.promql.parsing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, assert_never

from streams.promql.functions_info import DEFAULT_NAME, NAME
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher
from streams.promql.syntax import (
    Aggregate,
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
    children,
)

Matchers = tuple[Matcher, ...]
Type = Literal["scalar", "vector", "matrix", "string"]

INSTANT_MS: Final = Limits().lookback_ms
COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
CHOOSING: Final = ("topk", "bottomk", "limitk", "limit_ratio")
"""Aggregations whose results are series of their input."""
SCALAR_CALLS: Final = ("scalar", "time", "pi", "start", "end", "range", "step")
ABSENCE: Final = ("absent", "absent_over_time")
_NOTHING: Final = Matcher(NAME, "=", "")


def selectors(expr: Expression) -> tuple[Matchers, ...]:
    """The matchers of each selector, each set once, as they are first met from left to right.

    `info` reads series that its text does not name; they are among them.
    """
    found: dict[Matchers, None] = {}
    for node in _nodes(expr):
        if isinstance(node, Selector):
            found[node.matchers] = None
        elif isinstance(node, Call) and node.name == "info":
            found[_info_selector(node)] = None
    return tuple(found)


def lookback_ms(expr: Expression, instant_ms: int = INSTANT_MS) -> int:
    """How old a sample may be that the value at a time depends on: ranges, offsets, subqueries and
    ``instant_ms``, the look-back of instant selectors. 0 where nothing is read.

    Not for ``@`` with a fixed time, which no rule may have; ``@ start()`` is the time itself.
    """
    return max(0, _reach_ms(expr, 0, instant_ms))


def type_of(expr: Expression) -> Type:
    """The type of an expression's value, by Prometheus' names for it."""
    match expr:
        case Number():
            return "scalar"
        case Text():
            return "string"
        case RangeSelector() | Subquery():
            return "matrix"
        case Selector() | Aggregate():
            return "vector"
        case Negate(body=body):
            return type_of(body)
        case Binary(left=left, right=right):
            both = type_of(left) == type_of(right) == "scalar"
            return "scalar" if both else "vector"
        case Call(name=name):
            return "scalar" if name in SCALAR_CALLS else "vector"
        case _:
            assert_never(expr)


def presence(expr: Expression) -> Expression:
    """An expression that has a series wherever there is data to tell whether the condition has it.

    Of a series that left the condition's result: if it is in this one's, by its labels without the
    metric's name, the condition is false; if not, its data is missing. It is the condition without
    what filters: comparisons give each pair that they compare, ``unless`` its left side, `topk` its
    input; `absent` gives its series always, since where it has no result there is data. What keeps
    the labels of `count_values` apart is their value, so that data of these ends with the value.
    It may fail where the condition does not (a match that only the filter made unique): then
    nobody can tell.
    """
    match expr:
        case Number() | Text() | Selector() | RangeSelector():
            return expr
        case Subquery(body=body) | Negate(body=body):
            return replace(expr, body=presence(body))
        case Aggregate(op=op, body=body):
            return presence(body) if op in CHOOSING else replace(expr, body=presence(body))
        case Binary():
            return _present_pairs(expr)
        case Call(name=name) if name in SCALAR_CALLS:
            return expr
        case Call(name=name, arguments=(argument, *_)) if name in ABSENCE:
            return _always(expr, argument)
        case Call(arguments=arguments):
            return replace(expr, arguments=tuple(map(presence, arguments)))
        case _:
            assert_never(expr)


def fixed_times(expr: Expression) -> bool:
    """Whether a selector or subquery is pinned to a time by ``@`` and a number."""
    return any(
        isinstance(node, Selector | Subquery) and isinstance(node.at, int) for node in _nodes(expr)
    )


def _present_pairs(node: Binary) -> Expression:
    left, right = presence(node.left), presence(node.right)
    both = replace(node, left=left, right=right)
    if node.op == "unless":
        return left
    if node.op not in COMPARISONS or node.as_bool:
        return both
    if type_of(node.right) == "scalar":
        return _where_known(left, node.right)
    if type_of(node.left) == "scalar":
        return _where_known(right, node.left)
    # with the labels that the comparison gives; between two NaN the second is true
    equal, other = replace(both, op="=="), replace(both, op="!=")
    return Binary("or", equal, other, Matching(), as_bool=False, steady=node.steady)


def _where_known(vector: Expression, scalar: Expression) -> Expression:
    """The vector, where the series that `scalar` makes numbers of are there."""
    for node in _nodes(scalar):
        if isinstance(node, Call) and node.name == "scalar":
            there = presence(node.arguments[0])
            steady = vector.steady and there.steady
            vector = Binary("and", vector, there, Matching(on=True), as_bool=False, steady=steady)
    return vector


def _always(call: Call, argument: Expression) -> Expression:
    """What is absent always, with the labels that ``call`` would have."""
    match argument:
        case Selector(matchers=matchers):
            nothing: Expression = replace(argument, matchers=(*matchers, _NOTHING))
        case RangeSelector(selector=selector):
            nothing = replace(
                argument, selector=replace(selector, matchers=(*selector.matchers, _NOTHING))
            )
        case _:
            return Call("vector", (Number(1.0),), steady=True)
    return replace(call, arguments=(nothing,))


def _reach_ms(expr: Expression, around_ms: int, instant_ms: int) -> int:
    """``around_ms``: how far the subqueries around it reach."""
    match expr:
        case Selector(offset_ms=offset_ms, at=at):
            return (around_ms if at is None else 0) + offset_ms + instant_ms
        case RangeSelector(selector=selector, range_ms=range_ms):
            return _reach_ms(selector, around_ms, range_ms)
        case Subquery(body=body, range_ms=range_ms, offset_ms=offset_ms, at=at):
            around_ms = (around_ms if at is None else 0) + offset_ms + range_ms
            return _reach_ms(body, around_ms, instant_ms)
        case Call(name="info", arguments=(base, *_)):
            return _reach_ms(base, around_ms, instant_ms) + instant_ms
        case _:
            inner = (_reach_ms(child, around_ms, instant_ms) for child in children(expr))
            return max(inner, default=0)


def _info_selector(call: Call) -> Matchers:
    given = call.arguments[1] if len(call.arguments) > 1 else None
    names = [m for m in given.matchers if m.name == NAME] if isinstance(given, Selector) else []
    if not names:
        return (DEFAULT_NAME,)
    if any(matcher.op in ("=", "=~") for matcher in names):
        return tuple(names)
    return (Matcher(NAME, "=~", ".+_info"), *names)


def _nodes(expr: Expression) -> Iterator[Expression]:
    """All of a tree, each before its children; of `info` not the second argument, which selects
    labels."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        inner = children(node)
        if isinstance(node, Call) and node.name == "info":
            inner = inner[:1]
        stack.extend(reversed(inner))
