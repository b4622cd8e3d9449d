"""`query_metrics`, operation ``query``: a value, a summary and points for each group."""

from __future__ import annotations

import math
from typing import Any

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import nearest
from mcp_api.tools.question import OFFSET_MAX, Question
from mcp_api.tools.specs import POINTS_DEFAULT
from mcp_api.tools.text import query_text
from mcp_api.tools.times import duration_text, iso
from mcp_api.tools.values import (
    CHARS_PER_TOKEN,
    as_of_content,
    json_chars,
    json_number,
    short_number,
)
from mcp_api.tools.why_empty import why_empty
from projections.answers import EACH_SERIES, Aggregated, Group, MetricInfo
from projections.queries import Queries

ANSWER_CHARS_MAX = 6_500 * CHARS_PER_TOKEN
"""Of the structured content; the text beside it is at most 4,000 characters (8,000 tokens in all,
with some room for the transport's frame)."""

POINTS_TYPICAL = 150
"""Points of all groups together, unless the caller asked for a resolution: about 1,100 tokens."""

_POINTS_A_GROUP_MIN = 6


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
    content: dict[str, Any] = {
        "metric_name": question.metric_name,
        "aggregation": question.aggregation,
        "results": [_result(group) for group in page],
        "query_time": iso(now_ms),
        "range": {
            "start": iso(question.selection.start_ms),
            "end": iso(question.selection.end_ms),
            "step": duration_text(shown.step_ms),
        },
        "as_of": as_of_content(as_of),
        "truncated": False,
    }
    if unit := _unit(question, info):
        content["unit"] = unit
    if not page:
        content["why_empty"] = _why_empty(queries, question, found)
    elif info is not None and (hint := _group_hint(question, info)):
        content["hint"] = hint
    _cut(content, question, found)
    picture = None
    if question.chart and page:
        fine = found if question.step_ms == shown.step_ms else _aggregate(queries, question)
        picture = _picture(question, fine.groups[question.offset :], info)
    return ToolAnswer(content, query_text(content), image_png=picture)


def _at_resolution(question: Question, groups: int) -> Question:
    """The question with as many points a group as an answer of so many groups has room for."""
    points = POINTS_TYPICAL // max(groups, 1)
    if question.points_asked or points >= POINTS_DEFAULT:
        return question
    return question.coarser(max(_POINTS_A_GROUP_MIN, points))


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


def _result(group: Group) -> dict[str, Any]:
    summary = {
        name: json_number(getattr(group, name)) for name in ("min", "max", "avg", "first", "last")
    }
    return {
        "value": json_number(group.value),
        "tags": dict(group.labels),
        "timestamp": iso(group.last_ms),
        "count": group.count,
        "series": group.series,
        "summary": {**summary, "change": json_number(group.last - group.first)},
        "points": [[iso(at_ms), short_number(value)] for at_ms, value in group.points],
    }


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
    """Drops results, then points, until the answer fits, and says how to go on."""
    results = content["results"]
    whole = len(results)
    sizes = [json_chars(result) + 1 for result in results]
    size = json_chars({**content, "results": []}) + sum(sizes) + 400
    while size > ANSWER_CHARS_MAX and len(results) > 1:
        results.pop()
        size -= sizes.pop()
    if size > ANSWER_CHARS_MAX and results:
        points = results[0]["points"]
        while points and size > ANSWER_CHARS_MAX:
            size -= json_chars(points.pop(0)) + 1
        content["truncated"] = True
        content["hint"] = "the oldest points are cut; ask for a larger step or fewer max_points"
    shown = question.offset + len(results)
    if shown < found.groups_total and results:
        content["truncated"] = True
        more = f"{len(results)} of {found.groups_total} groups are shown; "
        if shown <= OFFSET_MAX:
            content["next_cursor"] = question.cursor(shown)
            more += "send next_cursor as cursor for the next, or narrow by tags or group_by"
        else:
            more += "narrow by tags or group_by"
        if len(results) < whole:
            more += "; a larger step shows more at once"
        content.setdefault("hint", more)


def _picture(question: Question, groups: tuple[Group, ...], info: MetricInfo | None) -> bytes:
    # Pillow costs 10 MB and 50 ms to import: only who asks for a picture pays.
    from mcp_api.tools.chart import Line, draw_chart

    unit = _unit(question, info)
    lines = [Line(_line_name(group), group.points) for group in groups]
    title = f"{question.aggregation} of {question.metric_name}" + (f" ({unit})" if unit else "")
    return draw_chart(
        title,
        lines,
        start_ms=question.selection.start_ms,
        end_ms=question.selection.end_ms,
        step_ms=question.step_ms,
    )


def _line_name(group: Group) -> str:
    return ", ".join(f"{k}={v}" for k, v in group.labels.items() if v) or "all"
