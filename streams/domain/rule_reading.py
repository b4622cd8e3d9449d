"""What a rule's expressions give at one time, over any `SeriesSource`. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.domain.alert_memory import Reading, Values, nameless
from streams.domain.rule_syntax import COMPARISONS, presence
from streams.errors import QueryError
from streams.events.rules import Rule
from streams.promql.engine import never
from streams.promql.evaluation import Run, evaluate
from streams.promql.frames import Annotations, Context, Frame, Labels, ScalarSteps, Steps
from streams.promql.limits import Budget, Limits
from streams.promql.matchers import Matcher
from streams.promql.parsing import parse
from streams.promql.source import SeriesSource
from streams.promql.syntax import Binary, Expression, Negate, Number, Selector

LIMITS: Final = Limits()
_SWAPPED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition that compares the newest samples of a selector with a number; ``op`` as if the
    selector stood on the left."""

    matchers: tuple[Matcher, ...]
    op: str
    number: float


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule with its parsed expressions. ``clear``: None for a rule without ``clear_condition``;
    ``threshold``: None where the condition is more than that."""

    rule: Rule
    condition: Expression
    present: Expression
    clear: Expression | None
    threshold: Threshold | None


def compiled(rule: Rule) -> Compiled:
    """`QueryError` where an expression is none."""
    condition = parse(rule.condition, LIMITS)
    clear = parse(rule.clear_condition, LIMITS) if rule.clear_condition else None
    return Compiled(rule, condition, presence(condition), clear, _threshold(condition))


def values_at(node: Expression, source: SeriesSource, at_ms: int) -> dict[Labels, float]:
    """The values of an expression by series, without the metric's name; those of a scalar under no
    labels.

    `QueryError` where it cannot be evaluated, or is neither vector nor scalar.
    """
    times = np.array([at_ms], dtype=np.int64)
    budget = Budget(LIMITS, never)
    context = Context(Steps(times, LIMITS.lookback_ms), Annotations(), budget)
    match evaluate(node, Run(source, at_ms, at_ms, 0, context)):
        case Frame(labels=labels, value=value, present=present):
            rows = np.flatnonzero(present[:, 0])
            found = tuple(labels[row] for row in rows.tolist())
            return nameless(found, value[rows, 0].tolist())
        case ScalarSteps(value=value):
            return {(): float(value[0])}
        case _:
            raise QueryError("a rule's expression is neither an instant vector nor a scalar")


def reading(compiled: Compiled, active: Values, source: SeriesSource, at_ms: int) -> Reading:
    """With what else is asked for, if it is; ``active``: the values of the condition."""

    def present() -> Values | None:
        try:
            return values_at(compiled.present, source, at_ms)
        except QueryError:
            return None  # nobody can tell

    def clear() -> Collection[Labels]:
        return () if compiled.clear is None else values_at(compiled.clear, source, at_ms)

    return Reading(active, present, clear)


def _threshold(condition: Expression) -> Threshold | None:
    if not isinstance(condition, Binary) or condition.as_bool or condition.op not in COMPARISONS:
        return None
    left, right, op = condition.left, condition.right, condition.op
    if isinstance(right, Selector):
        left, right, op = right, left, _SWAPPED[op]
    number = _number(right)
    if not isinstance(left, Selector) or number is None or left.offset_ms or left.at is not None:
        return None
    return Threshold(left.matchers, op, number)


def _number(node: Expression) -> float | None:
    match node:
        case Number(value=value):
            return value
        case Negate(body=Number(value=value)):
            return -value
        case _:
            return None
