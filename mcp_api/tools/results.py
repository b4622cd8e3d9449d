"""What a question by arguments and one in PromQL have in common: groups as an answer that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_api.tools.times import iso
from mcp_api.tools.values import (
    CHARS_PER_TOKEN,
    as_of_content,
    json_chars,
    json_number,
    short_number,
)
from projections.answers import AsOf, Group
from streams.domain.durations import duration_text

ANSWER_CHARS_MAX = 6_500 * CHARS_PER_TOKEN
"""Of the structured content; the text beside it is at most 4,000 characters (8,000 tokens in all,
with some room for the transport's frame)."""

_POINTS_TYPICAL = 150
_POINTS_A_GROUP_MIN = 6


def points_each(groups: int) -> int:
    """How many points a group of so many has room for, unless the caller asked for a resolution:
    150 of all groups together (about 1,100 tokens), 6 at least of each."""
    return max(_POINTS_A_GROUP_MIN, _POINTS_TYPICAL // max(groups, 1))


def answer_content(
    groups: Sequence[Group],
    *,
    metric_name: str | None,
    aggregation: str,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    now_ms: int,
    as_of: AsOf,
) -> dict[str, Any]:
    """The answer with all of the groups and of their points, cut by nothing yet."""
    return {
        "metric_name": metric_name,
        "aggregation": aggregation,
        "results": [_result(group) for group in groups],
        "query_time": iso(now_ms),
        "range": {"start": iso(start_ms), "end": iso(end_ms), "step": duration_text(step_ms)},
        "as_of": as_of_content(as_of),
        "truncated": False,
    }


def fit(content: dict[str, Any]) -> int:
    """Drops results, then the points of the last one, until the answer fits; how many stay."""
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
    return len(results)


def picture(
    title: str, groups: Sequence[Group], *, start_ms: int, end_ms: int, step_ms: int
) -> bytes:
    """A PNG with a line a group; each point is drawn in the middle of the step that it begins."""
    # Pillow costs 10 MB and 50 ms to import: only who asks for a picture pays.
    from mcp_api.tools.chart import Line, draw_chart

    lines = [Line(_line_name(group), group.points) for group in groups]
    return draw_chart(title, lines, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms)


def _result(group: Group) -> dict[str, Any]:
    summary = {
        name: json_number(getattr(group, name)) for name in ("min", "max", "avg", "first", "last")
    }
    return {
        "value": json_number(group.value),
        "tags": dict(group.labels),
        "timestamp": iso(group.last_ms),
        "count": group.count,
        **({} if group.series is None else {"series": group.series}),
        "summary": {**summary, "change": json_number(group.last - group.first)},
        "points": [[iso(at_ms), short_number(value)] for at_ms, value in group.points],
    }


def _line_name(group: Group) -> str:
    return ", ".join(f"{k}={v}" for k, v in group.labels.items() if v) or "all"
