"""`query_metrics` with ``promql``: an expression's value, a summary and points for each series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.question import step_ms_of
from mcp_api.tools.results import answer_content, fit, picture, points_each
from mcp_api.tools.selection import parse_range
from mcp_api.tools.specs import GROUPS_DEFAULT
from mcp_api.tools.text import query_text
from mcp_api.tools.times import iso
from mcp_api.tools.why_empty import unknown_metric
from projections.answers import Group
from projections.projector import Projector
from projections.queries import Queries
from streams.errors import InputError, QueryError
from streams.promql.answer import Answer

NOT_BESIDE = ("metric_name", "tags", "aggregation", "group_by", "cursor")
"""What the expression says itself, or what it has no use for."""

NOTES_MAX = 5
_NOTE_CHARS_MAX = 300


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
        step_ms=step_ms_of(arguments, start_ms, end_ms),
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
    groups = [_group(found, row) for row in range(min(len(found.labels), question.limit))]
    step_ms = question.step_ms * _every(question, len(groups))
    content = answer_content(
        [_thinned(group, question.end_ms, step_ms) for group in groups],
        metric_name=None,
        aggregation="promql",
        start_ms=question.start_ms,
        end_ms=question.end_ms,
        step_ms=step_ms,
        now_ms=now_ms,
        as_of=as_of,
    )
    content |= {"promql": question.expr, "total": len(found.labels)}
    if notes := [*found.warnings, *found.infos]:
        content["warnings"] = [note[:_NOTE_CHARS_MAX] for note in notes[:NOTES_MAX]]
    if not found.labels:
        content["why_empty"] = _why_empty(queries, question)
    _cut(content)
    image = _picture(question, groups) if question.chart and groups else None
    return ToolAnswer(content, query_text(content), image_png=image)


def _every(question: PromqlQuestion, series: int) -> int:
    """Of how many steps one is shown: each is a value at a time, so leaving some out is exact."""
    if question.points_asked:
        return 1
    steps = (question.end_ms - question.start_ms) // question.step_ms + 1
    return -(-steps // points_each(series))


def _group(found: Answer, row: int) -> Group:
    begin, end = int(found.offsets[row]), int(found.offsets[row + 1])
    at_ms, value = found.at_ms[begin:end].tolist(), found.value[begin:end]
    with np.errstate(all="ignore"):
        low, high, mean = np.fmin.reduce(value), np.fmax.reduce(value), value.mean()
    return Group(
        labels=dict(found.labels[row]),
        value=float(value[-1]),
        count=len(value),
        series=None,
        min=float(low),
        max=float(high),
        avg=float(mean),
        first=float(value[0]),
        last=float(value[-1]),
        first_ms=at_ms[0],
        last_ms=at_ms[-1],
        points=tuple(zip(at_ms, value.tolist(), strict=True)),
    )


def _thinned(group: Group, end_ms: int, step_ms: int) -> Group:
    kept = (point for point in group.points if (end_ms - point[0]) % step_ms == 0)
    return replace(group, points=tuple(kept))


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
    """Until the answer fits; says how to narrow."""
    results = fit(content)
    if results < content["total"]:
        content["truncated"] = True
        content.setdefault(
            "hint",
            f"{results} of {content['total']} series are shown; narrow by matchers, aggregate "
            "(sum by, topk) or send a larger limit or step",
        )


def _picture(question: PromqlQuestion, groups: Sequence[Group]) -> bytes:
    # A point is a moment here: the middle of a step that begins half a step before.
    half_ms = question.step_ms // 2
    moved = [
        replace(group, points=tuple((at_ms - half_ms, value) for at_ms, value in group.points))
        for group in groups
    ]
    return picture(
        question.expr,
        moved,
        start_ms=question.start_ms,
        end_ms=question.end_ms,
        step_ms=question.step_ms,
    )
