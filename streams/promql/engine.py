"""The public surface of the engine: an instant query and a range query over a `SeriesSource`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams.errors import QuerySyntaxError, QueryTooLarge
from streams.events.batch import AT_MS_MAX, AT_MS_MIN
from streams.promql.answer import Answer
from streams.promql.evaluation import Run, Value, evaluate
from streams.promql.frames import Annotations, Context, Frame, Ints, ScalarSteps, Steps, Windows
from streams.promql.labelsets import occupied
from streams.promql.limits import Budget, Limits
from streams.promql.parsing import parse
from streams.promql.source import SeriesSource
from streams.promql.step_parts import evaluate_in_parts

DEFAULT_LIMITS = Limits()


def never() -> bool:
    """A query that nobody cancels."""
    return False


def instant_query(
    expr: str,
    source: SeriesSource,
    at_ms: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    cancelled: Callable[[], bool] = never,
) -> Answer:
    """The value of an expression at one time, of any type.

    `QueryError` (see its subclasses) for what cannot be parsed, evaluated or afforded.
    """
    _check_times(at_ms, at_ms)
    node = parse(expr, limits)
    run = _run(source, np.array([at_ms], dtype=np.int64), (at_ms, at_ms, 0), limits, cancelled)
    value = evaluate(node, run)
    return _instant_answer(value, run)


def range_query(
    expr: str,
    source: SeriesSource,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    cancelled: Callable[[], bool] = never,
) -> Answer:
    """The value of a scalar or instant vector at ``start_ms``, each step after, to ``end_ms``.

    `QueryError` as `instant_query`, and for another type, a step that is not positive, an end
    before the start, or too many steps.
    """
    if step_ms <= 0:
        raise QuerySyntaxError(f"step is {step_ms} ms: zero or negative steps are not accepted")
    if end_ms < start_ms:
        raise QuerySyntaxError("end timestamp must not be before start time")
    _check_times(start_ms, end_ms)
    steps = (end_ms - start_ms) // step_ms + 1
    if steps > limits.steps_max:
        raise QueryTooLarge(
            f"the range has {steps} steps, at most {limits.steps_max} are taken: "
            "take a larger step or a shorter range"
        )
    node = parse(expr, limits)
    at_ms = start_ms + step_ms * np.arange(steps, dtype=np.int64)
    run = _run(source, at_ms, (start_ms, end_ms, step_ms), limits, cancelled)
    value = evaluate_in_parts(node, run)
    if isinstance(value, str | Windows):
        kind = "string" if isinstance(value, str) else "range vector"
        raise QuerySyntaxError(
            f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
        )
    return _range_answer(value, run)


def _check_times(start_ms: int, end_ms: int) -> None:
    if start_ms < AT_MS_MIN or end_ms > AT_MS_MAX:
        raise QuerySyntaxError("the query's time is outside of the years 1 to 9999")


def _run(
    source: SeriesSource,
    at_ms: Ints,
    query_ms: tuple[int, int, int],
    limits: Limits,
    cancelled: Callable[[], bool],
) -> Run:
    steps = Steps(at_ms, limits.lookback_ms)
    context = Context(steps, Annotations(), Budget(limits, cancelled))
    return Run(source, *query_ms, context)


def _instant_answer(value: Value, run: Run) -> Answer:
    at_ms, notes = run.at_ms, _notes(run)
    match value:
        case str():
            none = np.zeros(0, np.int64)
            return Answer("string", (), np.zeros(1, np.int64), none, np.zeros(0), value, *notes)
        case ScalarSteps():
            return Answer("scalar", ((),), np.arange(2), at_ms, value.value, "", *notes)
        case Frame():
            frame = occupied(value)
            count = len(frame.labels)
            times = np.repeat(at_ms, count)
            values = frame.value[:, 0]
            return Answer("vector", frame.labels, np.arange(count + 1), times, values, "", *notes)
        case Windows():
            begin, end = value.begin[:, 0], value.end[:, 0]
            rows = sorted(np.flatnonzero(end > begin), key=lambda row: value.labels[row])
            parts = [np.arange(begin[row], end[row]) for row in rows]
            index = np.concatenate([np.zeros(0, np.int64), *parts])
            offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            labels = tuple(value.labels[row] for row in rows)
            columns = (value.at_ms[index], value.value[index])
            return Answer("matrix", labels, offsets, *columns, "", *notes)


def _range_answer(value: Frame | ScalarSteps, run: Run) -> Answer:
    if isinstance(value, ScalarSteps):
        row = value.value[None]
        value = Frame(((),), row, np.ones(row.shape, np.bool_))
    frame = occupied(value)
    order = sorted(range(len(frame.labels)), key=lambda row: frame.labels[row])
    present = frame.present[order]
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(present.sum(axis=1))))
    at_ms = np.broadcast_to(run.at_ms, present.shape)[present]
    labels = tuple(frame.labels[row] for row in order)
    return Answer("matrix", labels, offsets, at_ms, frame.value[order][present], "", *_notes(run))


def _notes(run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    notes = run.context.annotations
    return tuple(notes.warnings), tuple(notes.infos)
