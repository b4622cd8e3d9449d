"""`query_metrics`, operation ``query``: a value, a summary and points for each group.

The answer names the PromQL expression that has the same values, where there is one. SQL computes
them all the same, since it must for half of the aggregations: PromQL has no growth without
estimates, and no newest sample, deviation or percentile over the samples of several series. For the
others the engine took half as long again (1,000 series over a day, every 10 s).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import nearest
from mcp_api.tools.expression import points_expression
from mcp_api.tools.question import OFFSET_MAX, Question
from mcp_api.tools.results import answer_content, fit, picture, points_each
from mcp_api.tools.specs import POINTS_DEFAULT
from mcp_api.tools.text import query_text
from mcp_api.tools.why_empty import why_empty
from projections.answers import EACH_SERIES, Aggregated, Group, MetricInfo
from projections.queries import Queries


def query(queries: Queries, question: Question, now_ms: int) -> ToolAnswer:
    """The answer to one page of groups; at most 8,000 tokens, cut groups first.

    Reads in bounded time (`QueryTooExpensive`). An empty answer says why.
    """
    as_of = queries.as_of()
    info = _metric_info(queries, question.metric_name)
    shown = _at_resolution(question, _groups_expected(queries, question, info))
    found = _aggregate(queries, shown)
    right = _at_resolution(question, len(found.groups) - question.offset)
    if right.step_ms != shown.step_ms and len(found.groups) > question.offset:
        shown, found = right, _aggregate(queries, right)
    page = found.groups[question.offset :]
    content = answer_content(
        page,
        metric_name=question.metric_name,
        aggregation=question.aggregation,
        start_ms=question.selection.start_ms,
        end_ms=question.selection.end_ms,
        step_ms=shown.step_ms,
        now_ms=now_ms,
        as_of=as_of,
    )
    if expression := _expression(shown, found):
        content["promql"] = expression
    if unit := _unit(question, info):
        content["unit"] = unit
    if not page:
        content["why_empty"] = _why_empty(queries, question, found)
    elif info is not None and (hint := _group_hint(question, info)):
        content["hint"] = hint
    _cut(content, question, found)
    image = None
    if question.chart and page:
        fine = found if question.step_ms == shown.step_ms else _aggregate(queries, question)
        image = _picture(question, fine.groups[question.offset :], info)
    return ToolAnswer(content, query_text(content), image_png=image)


def _at_resolution(question: Question, groups: int) -> Question:
    """The question with as many points a group as an answer of so many groups has room for."""
    points = points_each(groups)
    if question.points_asked or points >= POINTS_DEFAULT:
        return question
    return question.coarser(points)


def _groups_expected(queries: Queries, question: Question, info: MetricInfo | None) -> int:
    """A guess, so that samples are mostly read once: a wrong one costs a second reading."""
    if question.group_by is None or info is None:
        return 1
    groups = info.series
    if question.group_by != EACH_SERIES:
        values = queries.tag_values(info.name, limit=1_000)
        totals = [values[label].total for label in question.group_by if label in values]
        groups = min(groups, math.prod(totals))
    return min(max(groups - question.offset, 1), question.limit)


def _aggregate(queries: Queries, question: Question) -> Aggregated:
    selection = question.selection
    return queries.aggregate(
        selection,
        function=question.function,
        quantile=question.quantile,
        group_by=question.group_by,
        step_ms=question.step_ms,
        groups_max=question.offset + question.limit,
        points_max=selection.end_ms // question.step_ms
        - selection.start_ms // question.step_ms
        + 1,
    )


def _expression(question: Question, found: Aggregated) -> str | None:
    """What gives the points in PromQL, where there are some."""
    if not found.groups:
        return None
    return points_expression(
        question.selection,
        question.function,
        question.quantile,
        group_by=question.group_by,
        step_ms=question.step_ms,
        alone=all(group.series == 1 for group in found.groups),
    )


def _metric_info(queries: Queries, name: str) -> MetricInfo | None:
    for info in queries.metrics(prefix=name, limit=1).metrics:
        if info.name == name:
            return info
    return None


def _unit(question: Question, info: MetricInfo | None) -> str:
    """Of the value, which for some functions is not the metric's."""
    if info is None or question.function == "count":
        return ""
    return f"{info.unit}/s" if info.unit and question.function == "rate" else info.unit


def _why_empty(queries: Queries, question: Question, found: Aggregated) -> dict[str, Any]:
    if found.groups_total:
        return {"reason": f"there are {found.groups_total} groups; the cursor is after the last"}
    return why_empty(queries, question.selection)


def _group_hint(question: Question, info: MetricInfo) -> str | None:
    for label in question.group_by or ():
        if label != "*" and label not in info.labels:
            return f"{info.name!r} has no tag {label!r}; {nearest(label, info.labels)}"
    return None


def _cut(content: dict[str, Any], question: Question, found: Aggregated) -> None:
    """Until the answer fits; says how to go on."""
    whole = len(content["results"])
    results = fit(content)
    shown = question.offset + results
    if shown < found.groups_total and results:
        content["truncated"] = True
        more = f"{results} of {found.groups_total} groups are shown; "
        if shown <= OFFSET_MAX:
            content["next_cursor"] = question.cursor(shown)
            more += "send next_cursor as cursor for the next, or narrow by tags or group_by"
        else:
            more += "narrow by tags or group_by"
        if results < whole:
            more += "; a larger step shows more at once"
        content.setdefault("hint", more)


def _picture(question: Question, groups: Sequence[Group], info: MetricInfo | None) -> bytes:
    unit = _unit(question, info)
    return picture(
        f"{question.aggregation} of {question.metric_name}" + (f" ({unit})" if unit else ""),
        groups,
        start_ms=question.selection.start_ms,
        end_ms=question.selection.end_ms,
        step_ms=question.step_ms,
    )
