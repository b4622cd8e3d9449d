"""The walk over the tree: each expression becomes its value at all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np

from streams.errors import QueryError, QuerySyntaxError
from streams.promql import selectors
from streams.promql.aggregations import aggregate
from streams.promql.frames import (
    Argument,
    Context,
    Frame,
    Ints,
    Labels,
    ScalarSteps,
    Steps,
    Windows,
    unnamed,
)
from streams.promql.functions import RANGE_FUNCTIONS, VECTOR_FUNCTIONS
from streams.promql.functions_info import enriched, info_matchers
from streams.promql.labelsets import SAME_LABELSET, merged, occupied
from streams.promql.matchers import Matcher
from streams.promql.matching import between, join_sets
from streams.promql.operators import negative, scalars, vector_and_scalar
from streams.promql.parsing import pinned
from streams.promql.series_shares import in_shares
from streams.promql.source import SeriesSource
from streams.promql.subqueries import SUBQUERY_STEP_MS, aligned_steps, windows_of_frame
from streams.promql.syntax import (
    Aggregate,
    At,
    Binary,
    Call,
    Expression,
    Negate,
    Number,
    RangeSelector,
    Selector,
    Subquery,
    Text,
    first_look,
)

Value = Frame | Windows | ScalarSteps | str
SETS = ("and", "or", "unless")


class Unnamed:
    """Labels without names, as they come in one part of a range after another."""

    def __init__(self) -> None:
        self._origins: dict[Labels, Labels] = {}
        self._last: tuple[tuple[Labels, ...], tuple[Labels, ...]] = ((), ())

    def of(self, labels: tuple[Labels, ...]) -> tuple[Labels, ...]:
        """`QueryError` where two series, maybe of different parts, become one."""
        if labels is not self._last[0]:
            short = tuple(unnamed(series) for series in labels)
            for series, origin in zip(short, labels, strict=True):
                if self._origins.setdefault(series, origin) != origin:
                    raise QueryError(SAME_LABELSET)
            self._last = (labels, short)
        return self._last[1]


@dataclass(frozen=True)
class Run:
    """One query: where its samples are, its ends (for ``@``), and the steps now evaluated."""

    source: SeriesSource
    start_ms: int
    end_ms: int
    step_ms: int
    """0 of an instant query"""
    context: Context
    steady: dict[int, Value] = field(default_factory=dict)
    """What is the same at every step, by the node's id; it is computed once."""
    unnamed: dict[int, Unnamed] = field(default_factory=dict)
    """What each range function has made of labels, by the node's id."""

    @property
    def at_ms(self) -> Ints:
        """[T] The steps."""
        return self.context.steps.at_ms

    def times(self, at: At, offset_ms: int) -> Ints:
        """[T] What time each step asks for."""
        match at:
            case None:
                return self.at_ms - offset_ms
            case "start":
                pinned_ms = self.start_ms
            case "end":
                pinned_ms = self.end_ms
            case _:
                pinned_ms = at
        return np.full(len(self.at_ms), pinned_ms - offset_ms, dtype=np.int64)

    def over(self, at_ms: Ints) -> Run:
        """The same query over other steps."""
        steps = Steps(at_ms, self.context.steps.lookback_ms)
        return replace(self, context=replace(self.context, steps=steps))

    def among(self, source: SeriesSource) -> Run:
        """The same query over some of the series."""
        return replace(self, source=source, steady={})


QUERY_FACTS: dict[str, Callable[[Run], int]] = {
    "start": lambda run: run.start_ms,
    "end": lambda run: run.end_ms,
    "range": lambda run: run.end_ms - run.start_ms,
    "step": lambda run: run.step_ms,
}
"""Functions of the query itself, in milliseconds; subqueries do not change them."""


def evaluate(node: Expression, run: Run) -> Value:
    """The value of an expression; `QueryError` for what its operators refuse.

    What is the same at every step is evaluated at one of them.
    """
    if node.steady and len(run.at_ms) > 1 and not isinstance(node, Number | Text):
        if id(node) not in run.steady:
            run.steady[id(node)] = _evaluate(node, run.over(run.at_ms[:1]))
        return _repeated(run.steady[id(node)], len(run.at_ms))
    return _evaluate(node, run)


def _evaluate(node: Expression, run: Run) -> Value:
    match node:
        case Number(value=number):
            return ScalarSteps(np.full(len(run.at_ms), number))
        case Text(value=text):
            return text
        case Selector():
            return occupied(_instant(node, run)[0])
        case RangeSelector(selector=selector, range_ms=range_ms):
            times = run.times(selector.at, selector.offset_ms)
            return selectors.windows(selector, times, range_ms, run.source, run.context.budget)
        case Subquery():
            return _subquery(node, run)
        case Negate(body=body):
            value = evaluate(body, run)
            if isinstance(value, ScalarSteps):
                return ScalarSteps(-value.value)
            return negative(_vector(value))
        case Binary():
            return _chain(node, run)
        case Aggregate():
            grouping = (node.by, node.labels)
            parameter = None if node.parameter is None else evaluate(node.parameter, run)
            assert not isinstance(parameter, Frame | Windows)
            vector = _vector(evaluate(node.body, run))
            return aggregate(node.op, vector, parameter, grouping, run.context)
        case Call():
            return _call(node, run)
        case _:
            assert_never(node)


def _repeated(value: Value, steps: int) -> Value:
    match value:
        case Frame(labels=labels):
            wide = (len(labels), steps)
            return Frame(
                labels, np.broadcast_to(value.value, wide), np.broadcast_to(value.present, wide)
            )
        case ScalarSteps():
            return ScalarSteps(np.full(steps, value.value[0]))
        case Windows():
            wide = (len(value.labels), steps)
            return replace(
                value,
                begin=np.broadcast_to(value.begin, wide),
                end=np.broadcast_to(value.end, wide),
                start_ms=np.broadcast_to(value.start_ms, steps),
                stop_ms=np.broadcast_to(value.stop_ms, steps),
            )
        case str():
            return value


def _instant(node: Selector, run: Run) -> tuple[Frame, Ints]:
    times = run.times(node.at, node.offset_ms)
    lookback_ms = run.context.steps.lookback_ms
    return selectors.instant(node, times, lookback_ms, run.source, run.context.budget)


def _subquery(node: Subquery, run: Run) -> Windows:
    times = run.times(node.at, node.offset_ms)
    step_ms = node.step_ms or SUBQUERY_STEP_MS
    inner = run.over(aligned_steps(times, node.range_ms, step_ms, run.context.budget))
    if not len(inner.at_ms):
        frame = Frame((), np.zeros((0, 0)), np.zeros((0, 0), np.bool_))
    else:
        value = evaluate(node.body, inner)
        frame = (
            Frame(((),), value.value[None], np.ones((1, len(value.value)), np.bool_))
            if (isinstance(value, ScalarSteps))
            else _vector(value)
        )
    return windows_of_frame(frame, inner.at_ms, times, node.range_ms)


def _chain(node: Binary, run: Run) -> Value:
    """``a + b + c + …`` from the left, without a level of recursion for each operator."""
    chain: list[Binary] = []
    first: Expression = node
    while isinstance(first, Binary) and (first.steady == node.steady):
        chain.append(first)
        first = first.left
    left = evaluate(first, run)
    for link in reversed(chain):
        left = _operate(link, left, evaluate(link.right, run), run.context)
    return left


def _operate(node: Binary, left: Value, right: Value, context: Context) -> Frame | ScalarSteps:
    if isinstance(left, ScalarSteps):
        if isinstance(right, ScalarSteps):
            return scalars(node.op, left, right)
        vector = _vector(right)
        context.budget.spend(vector.value.size)
        return vector_and_scalar(node.op, vector, left, swapped=True, as_bool=node.as_bool)
    vector = _vector(left)
    context.budget.spend(vector.value.size)
    if isinstance(right, ScalarSteps):
        return vector_and_scalar(node.op, vector, right, swapped=False, as_bool=node.as_bool)
    other = _vector(right)
    if node.op in SETS:
        return occupied(join_sets(node.op, vector, other, node.matching))
    matching, budget = node.matching, context.budget
    return between(node.op, vector, other, matching, as_bool=node.as_bool, budget=budget)


def _call(node: Call, run: Run) -> Frame | ScalarSteps:
    context = run.context
    if node.name == "timestamp" and isinstance(node.arguments[0], Selector):
        return _timestamps(node.arguments[0], run)
    if node.name == "info":
        return _info(node, run)
    if node.name in QUERY_FACTS:
        return ScalarSteps(np.full(len(run.at_ms), QUERY_FACTS[node.name](run) / 1000))
    if node.name in RANGE_FUNCTIONS:
        return _range_call(node.name, node, run)
    if node.name == "absent_over_time":
        values: list[Value] = [_range_call("present_over_time", node, run)]
    else:
        values = [evaluate(argument, run) for argument in node.arguments]
    if node.name in ("absent", "absent_over_time"):
        context = replace(context, pinned=pinned(node.arguments[0]))
        return VECTOR_FUNCTIONS["absent"](_arguments(values), context)
    if node.name not in VECTOR_FUNCTIONS:
        raise QuerySyntaxError(f"the function {node.name}() is not supported")
    result = VECTOR_FUNCTIONS[node.name](_arguments(values), context)
    return merged(result) if isinstance(result, Frame) else result


def _arguments(values: Sequence[Value]) -> list[Argument]:
    arguments: list[Argument] = []
    for value in values:
        assert not isinstance(value, Windows)
        arguments.append(value)
    return arguments


def _range_call(name: str, node: Call, run: Run) -> Frame:
    def called(source: SeriesSource) -> Frame:
        return _called(name, node, run if source is run.source else run.among(source))

    if any(isinstance(argument, RangeSelector) for argument in node.arguments):
        result = occupied(in_shares(called, run.source, run.context.budget))
    else:
        result = occupied(called(run.source))
    if not RANGE_FUNCTIONS[name].drops_name:
        return result
    return replace(result, labels=run.unnamed.setdefault(id(node), Unnamed()).of(result.labels))


def _called(name: str, node: Call, run: Run) -> Frame:
    values = [evaluate(argument, run) for argument in node.arguments]
    (windows,) = (value for value in values if isinstance(value, Windows))
    numbers = [value.value for value in values if isinstance(value, ScalarSteps)]
    return Frame(windows.labels, *RANGE_FUNCTIONS[name].fn(windows, numbers, run.context))


def _timestamps(node: Selector, run: Run) -> Frame:
    """``timestamp`` of a plain selector is when its samples were taken, not the step."""
    frame, at_ms = _instant(node, run)
    labels = tuple(unnamed(series) for series in frame.labels)
    return merged(Frame(labels, at_ms / 1000, frame.present))


def _info(node: Call, run: Run) -> Frame:
    """Info series are read at the times at which the first argument reads its samples."""
    base = _vector(evaluate(node.arguments[0], run))
    given: tuple[Matcher, ...] = ()
    if len(node.arguments) > 1:
        assert isinstance(node.arguments[1], Selector)
        given = node.arguments[1].matchers
    wanted = info_matchers(base, given)
    if not wanted:
        none = np.zeros((0, len(run.at_ms)))
        empty = Frame((), none, none.astype(np.bool_))
        return enriched(base, empty, none.astype(np.int64), given)
    at, offset_ms = first_look(node.arguments[0]) or (None, 0)
    selector = Selector(wanted, offset_ms, at, at is not None)
    return enriched(base, *_instant(selector, run), given)


def _vector(value: Value) -> Frame:
    assert isinstance(value, Frame)  # the parser has checked the types
    return value
