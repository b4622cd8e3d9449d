"""`query_metrics` with ``promql``: an expression's value, a summary and points for each series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.query import ANSWER_CHARS_MAX, POINTS_TYPICAL
from mcp_api.tools.selection import parse_range
from mcp_api.tools.specs import GROUPS_DEFAULT, POINTS_DEFAULT, POINTS_MAX
from mcp_api.tools.text import promql_text
from mcp_api.tools.times import choose_step_ms, duration_text, iso, parse_duration
from mcp_api.tools.values import as_of_content, json_chars, json_number, short_number
from mcp_api.tools.why_empty import unknown_metric
from projections.projector import Projector
from projections.queries import Queries
from streams.errors import InputError, QueryError
from streams.events.batch import Floats, Ints
from streams.promql.answer import Answer

NOT_BESIDE = ("metric_name", "tags", "aggregation", "group_by", "cursor")
"""What the expression says itself, or what it has no use for."""

NOTES_MAX = 5
_NOTE_CHARS_MAX = 300
_POINTS_A_SERIES_MIN = 6


@dataclass(frozen=True, slots=True)
class PromqlQuestion:
    """``expr`` at ``end_ms`` and every ``step_ms`` before it, not before ``start_ms``."""

    expr: str
    start_ms: int
    end_ms: int
    step_ms: int
    points_asked: bool
    limit: int
    chart: bool

    @property
    def first_ms(self) -> int:
        """The first step."""
        return self.end_ms - (self.end_ms - self.start_ms) // self.step_ms * self.step_ms


def parse_promql(arguments: Mapping[str, Any], now_ms: int) -> PromqlQuestion:
    """The question of arguments that have passed the input schema; `InputError` for what that
    cannot see."""
    for name in NOT_BESIDE:
        if name in arguments:
            raise InputError(
                f"{name} does not go with promql, whose expression says all; give one of both",
                field=name,
            )
    start_ms, end_ms = parse_range(arguments, now_ms)
    return PromqlQuestion(
        expr=arguments["promql"],
        start_ms=start_ms,
        end_ms=end_ms,
        step_ms=_step_ms(arguments, start_ms, end_ms),
        points_asked="step" in arguments or "max_points" in arguments,
        limit=int(arguments.get("limit", GROUPS_DEFAULT)),
        chart=arguments.get("chart", False),
    )


def query_promql(
    queries: Queries, projector: Projector, question: PromqlQuestion, now_ms: int
) -> ToolAnswer:
    """The answer; at most 8,000 tokens, cut series first. `QueryError` as the engine's."""
    # Late: a server that nobody asks in PromQL does without the engine in memory.
    from projections.promql_queries import PromqlQueries

    as_of = queries.as_of()
    try:
        found = PromqlQueries(projector).range_(
            question.expr, question.first_ms, question.end_ms, question.step_ms
        )
    except QueryError as error:
        error.field = error.field or "promql"
        raise
    shown = min(len(found.labels), question.limit)
    step_ms = question.step_ms * _every(question, shown)
    content: dict[str, Any] = {
        "metric_name": None,
        "promql": question.expr,
        "aggregation": "promql",
        "results": [_result(found, row, question, step_ms) for row in range(shown)],
        "query_time": iso(now_ms),
        "range": {
            "start": iso(question.start_ms),
            "end": iso(question.end_ms),
            "step": duration_text(step_ms),
        },
        "total": len(found.labels),
        "as_of": as_of_content(as_of),
        "truncated": False,
    }
    if notes := [*found.warnings, *found.infos]:
        content["warnings"] = [note[:_NOTE_CHARS_MAX] for note in notes[:NOTES_MAX]]
    if not found.labels:
        content["why_empty"] = _why_empty(queries, question)
    _cut(content)
    picture = _picture(found, shown, question) if question.chart and found.labels else None
    return ToolAnswer(content, promql_text(content), image_png=picture)


def _step_ms(arguments: Mapping[str, Any], start_ms: int, end_ms: int) -> int:
    if "step" not in arguments:
        points_max = int(arguments.get("max_points", POINTS_DEFAULT))
        return choose_step_ms(start_ms, end_ms, points_max)
    step_ms = parse_duration(arguments["step"], "step")
    points_max = int(arguments.get("max_points", POINTS_MAX))
    points = (end_ms - start_ms) // step_ms + 1
    if points > points_max:
        enough = duration_text(choose_step_ms(start_ms, end_ms, points_max))
        raise InputError(
            f"step {arguments['step']!r} makes {points} points of this range; at most "
            f"{points_max} are taken: use {enough} or a shorter range",
            field="step",
        )
    return step_ms


def _every(question: PromqlQuestion, series: int) -> int:
    """Of how many steps one is shown: each is a value at a time, so leaving some out is exact."""
    if question.points_asked:
        return 1
    steps = (question.end_ms - question.start_ms) // question.step_ms + 1
    room = max(_POINTS_A_SERIES_MIN, POINTS_TYPICAL // max(series, 1))
    return -(-steps // room)


def _columns(found: Answer, row: int) -> tuple[Ints, Floats]:
    begin, end = int(found.offsets[row]), int(found.offsets[row + 1])
    return found.at_ms[begin:end], found.value[begin:end]


def _result(found: Answer, row: int, question: PromqlQuestion, step_ms: int) -> dict[str, Any]:
    at_ms, value = _columns(found, row)
    taken = (question.end_ms - at_ms) % step_ms == 0
    with np.errstate(all="ignore"):
        summary = {
            "min": float(np.fmin.reduce(value)),
            "max": float(np.fmax.reduce(value)),
            "avg": float(value.mean()),
            "first": float(value[0]),
            "last": float(value[-1]),
            "change": float(value[-1] - value[0]),
        }
    points = zip(at_ms[taken].tolist(), value[taken].tolist(), strict=True)
    return {
        "value": json_number(float(value[-1])),
        "tags": dict(found.labels[row]),
        "timestamp": iso(int(at_ms[-1])),
        "count": len(value),
        "summary": {name: json_number(number) for name, number in summary.items()},
        "points": [[iso(at), short_number(number)] for at, number in points],
    }


def _why_empty(queries: Queries, question: PromqlQuestion) -> dict[str, Any]:
    for name in _metric_names(question.expr):
        if queries.describe(name, limit=1) is None:
            return unknown_metric(queries, name)
    span = f"{iso(question.start_ms)} to {iso(question.end_ms)}"
    return {
        "reason": f"the expression has no value from {span}: no series has these labels, samples "
        "there, or passes its comparisons"
    }


def _metric_names(expr: str) -> Iterator[str]:
    from projections.promql_queries import LIMITS
    from streams.promql.parsing import NAME, parse
    from streams.promql.syntax import Expression, Selector, children

    stack: list[Expression] = [parse(expr, LIMITS)]
    while stack:
        node = stack.pop()
        if isinstance(node, Selector):
            yield from (m.value for m in node.matchers if m.name == NAME and m.op == "=")
        stack.extend(reversed(children(node)))


def _cut(content: dict[str, Any]) -> None:
    """Drops series, then the points of the last one, until the answer fits; says how to narrow."""
    results: list[dict[str, Any]] = content["results"]
    size = json_chars(content) + 400
    while size > ANSWER_CHARS_MAX and len(results) > 1:
        size -= json_chars(results.pop()) + 1
    if size > ANSWER_CHARS_MAX and results:
        points = results[0]["points"]
        while points and size > ANSWER_CHARS_MAX:
            size -= json_chars(points.pop(0)) + 1
        content["truncated"] = True
        content["hint"] = "the oldest points are cut; ask for a larger step or fewer max_points"
    if len(results) < content["total"]:
        content["truncated"] = True
        content.setdefault(
            "hint",
            f"{len(results)} of {content['total']} series are shown; narrow by matchers, aggregate "
            "(sum by, topk) or send a larger limit or step",
        )


def _picture(found: Answer, shown: int, question: PromqlQuestion) -> bytes:
    # Pillow costs 10 MB and 50 ms to import: only who asks for a picture pays.
    from mcp_api.tools.chart import Line, draw_chart

    # A point is a moment here; the chart draws it in the middle of a step that begins at it.
    shift_ms = question.step_ms // 2
    lines = []
    for row in range(shown):
        at_ms, value = _columns(found, row)
        points = list(zip((at_ms - shift_ms).tolist(), value.tolist(), strict=True))
        lines.append(Line(_line_name(found.labels[row]), points))
    return draw_chart(
        question.expr,
        lines,
        start_ms=question.start_ms,
        end_ms=question.end_ms,
        step_ms=question.step_ms,
    )


def _line_name(labels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels) or "all"
