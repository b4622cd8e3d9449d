"""A range's steps in parts, so that a query holds few samples at once and stays in the caches.

The value of an expression at one step does not depend on the other steps, so any part of them can
be evaluated alone. What is paid for it is that neighbouring parts read the samples of a look-back
twice.
"""

from __future__ import annotations

import numpy as np

from streams.errors import QueryTooLarge, TooLargeAtOnce
from streams.promql.evaluation import Run, Value, evaluate
from streams.promql.frames import Frame, Labels, ScalarSteps
from streams.promql.syntax import Expression, RangeSelector, Selector, Subquery, children

GROWTH_MAX = 8.0


def evaluate_in_parts(node: Expression, run: Run) -> Value:
    """The same as `evaluate`, with at most ``part_max`` samples and values at once where the steps
    allow it.

    A part's steps span twice the expression's look-back at least, so that no more than half is read
    twice. How many are taken follows from what the part before held. `QueryTooLarge` as `evaluate`,
    and for too large an answer.
    """
    budget = run.context.budget
    steps = size = len(run.at_ms)
    reach_ms = reach(node, run.context.steps.lookback_ms)
    least = max(2 * reach_ms // run.step_ms, 2)
    parts: list[Value] = []
    labels: dict[Labels, int] = {}
    done = 0
    while done < steps:
        if steps - done - size == 1:
            size += 1  # alone, a step would be as good as an instant query
        at_ms = run.at_ms[done : done + size]
        small = len(at_ms) > least + 1
        budget.begin(small=small)
        try:
            part = evaluate(node, run.over(at_ms))
        except TooLargeAtOnce:
            if not small:
                raise
            size = max(len(at_ms) // 4, least)
            continue
        done += len(at_ms)
        growth = min(0.9 / max(budget.fullness, 0.01), GROWTH_MAX)
        size = max(int(len(at_ms) * growth), least)
        parts.append(part)
        if isinstance(part, Frame):
            for series in part.labels:
                labels.setdefault(series, len(labels))
        if len(labels) * steps > budget.limits.cells_max:
            raise QueryTooLarge(
                f"the answer has {len(labels)} series at {steps} steps, at most "
                f"{budget.limits.cells_max} values are taken: ask for fewer series or a larger step"
            )
    return parts[0] if len(parts) == 1 else _joined(parts, labels, run)


def reach(node: Expression, lookback_ms: int) -> int:
    """How far before a step the samples may lie that it asks for, offsets aside; 0 where it asks
    for the same ones as the other steps."""
    if node.steady:
        return 0
    match node:
        case Selector():
            return lookback_ms
        case RangeSelector(range_ms=range_ms):
            return range_ms
        case Subquery(body=body, range_ms=range_ms):
            return range_ms + reach(body, lookback_ms)
        case _:
            return max((reach(child, lookback_ms) for child in children(node)), default=0)


def _joined(parts: list[Value], labels: dict[Labels, int], run: Run) -> Value:
    scalars = [part.value for part in parts if isinstance(part, ScalarSteps)]
    if scalars:
        return ScalarSteps(np.concatenate(scalars))
    frames = [part for part in parts if isinstance(part, Frame)]
    if not frames:
        return parts[0]  # of a type that no range query answers
    shape = (len(labels), len(run.at_ms))
    value, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    done = 0
    for frame in frames:
        steps = slice(done, done + frame.value.shape[1])
        done += frame.value.shape[1]
        rows = [labels[series] for series in frame.labels]
        value[rows, steps] = frame.value
        present[rows, steps] = frame.present
    return Frame(tuple(labels), value, present)
