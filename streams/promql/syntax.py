"""The tree of an expression, as the evaluation reads it: closed, typed, times in milliseconds.

Parentheses are gone. ``steady`` says that the value is the same at every step (all selectors are
pinned by ``@`` and nothing reads the step's time), so that it is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from streams.promql.matchers import Matcher

At = int | Literal["start", "end"] | None
"""``@``: a time in milliseconds, an end of the whole query, or none."""


@dataclass(frozen=True)
class Number:
    """A number or a duration in seconds."""

    value: float
    steady: bool = True


@dataclass(frozen=True)
class Text:
    """A string literal, unquoted."""

    value: str
    steady: bool = True


@dataclass(frozen=True)
class Selector:
    """An instant vector selector; the metric's name is one of the matchers."""

    matchers: tuple[Matcher, ...]
    offset_ms: int
    at: At
    steady: bool


@dataclass(frozen=True)
class RangeSelector:
    """A range vector selector; offset and ``@`` are the inner selector's."""

    selector: Selector
    range_ms: int
    steady: bool


@dataclass(frozen=True)
class Subquery:
    """A range vector from an expression; without a step, the default (1 minute)."""

    body: Expression
    range_ms: int
    step_ms: int | None
    offset_ms: int
    at: At
    steady: bool


@dataclass(frozen=True)
class Negate:
    """Unary minus."""

    body: Expression
    steady: bool


@dataclass(frozen=True)
class Matching:
    """How the series of two vectors find each other."""

    on: bool = False
    labels: tuple[str, ...] = ()
    card: Literal["one", "left", "right"] = "one"
    """``group_left`` is ``left``: many on the left; ``group_right`` is ``right``."""
    include: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binary:
    """An operator between two expressions; ``matching`` counts between two vectors only."""

    op: str
    left: Expression
    right: Expression
    matching: Matching
    as_bool: bool
    steady: bool


@dataclass(frozen=True)
class Aggregate:
    """An aggregation over the series of each step."""

    op: str
    body: Expression
    parameter: Expression | None
    by: bool
    """``by`` the labels, else ``without`` them; without a clause it is ``by ()``."""
    labels: tuple[str, ...]
    steady: bool


@dataclass(frozen=True)
class Call:
    """A function call; the number and the types of arguments are checked."""

    name: str
    arguments: tuple[Expression, ...]
    steady: bool


Expression = (
    Number | Text | Selector | RangeSelector | Subquery | Negate | Binary | Aggregate | Call
)


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions that an expression is made of, from left to right."""
    match node:
        case Number() | Text() | Selector():
            return ()
        case RangeSelector(selector=selector):
            return (selector,)
        case Subquery(body=body) | Negate(body=body):
            return (body,)
        case Binary(left=left, right=right):
            return (left, right)
        case Aggregate(body=body, parameter=parameter):
            return (body,) if parameter is None else (body, parameter)
        case Call(arguments=arguments):
            return arguments
        case _:
            assert_never(node)


def first_look(node: Expression) -> tuple[At, int] | None:
    """``@`` and offset of the first selector, those of the subqueries around it included."""
    stack: list[tuple[Expression, At, int]] = [(node, None, 0)]
    while stack:
        node, at, offset_ms = stack.pop()
        if isinstance(node, Selector | Subquery):
            at, offset_ms = (at, offset_ms) if node.at is None else (node.at, 0)
            offset_ms += node.offset_ms
        if isinstance(node, Selector):
            return at, offset_ms
        stack.extend((child, at, offset_ms) for child in reversed(children(node)))
    return None
