"""A `query_metrics` question, parsed: what is selected, how it is folded, which page of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, cast

from mcp_api.tools.selection import parse_selection
from mcp_api.tools.specs import GROUPS_DEFAULT, POINTS_DEFAULT, POINTS_MAX
from mcp_api.tools.times import buckets, choose_step_ms, parse_duration
from projections.answers import Function, Selection
from streams.domain.durations import duration_text
from streams.errors import InputError

OFFSET_MAX = 10_000
_CURSOR = re.compile(r"g([0-9]{1,5})\.(-?[0-9]{1,16})\.(-?[0-9]{1,16})\.([0-9a-f]{8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """``points_asked``: the caller chose the resolution (step or max_points), so it is kept.

    ``offset`` and ``limit`` are the page of groups; ``digest`` ties a cursor to its question.
    """

    selection: Selection
    metric_name: str
    aggregation: str
    function: Function
    quantile: float | None
    group_by: tuple[str, ...] | None
    step_ms: int
    points_asked: bool
    limit: int
    offset: int
    chart: bool
    digest: str

    def coarser(self, points: int) -> Question:
        """The same with at most ``points`` points a group."""
        selection = self.selection
        return replace(self, step_ms=choose_step_ms(selection.start_ms, selection.end_ms, points))

    def cursor(self, offset: int) -> str:
        """The token of the page that starts at the group ``offset``, over the same range."""
        selection = self.selection
        return f"g{offset}.{selection.start_ms}.{selection.end_ms}.{self.digest}"


def parse_question(arguments: Mapping[str, Any], now_ms: int) -> Question:
    """The question of arguments that have passed the input schema; `InputError` for what the
    schema cannot see. A cursor pins the range, so that pages of a relative range fit together."""
    metric_name = arguments.get("metric_name", "")
    if not metric_name:
        raise InputError(
            "query_metrics needs 'metric_name'; operation list_metrics lists the names",
            field="metric_name",
        )
    selection = parse_selection(arguments, now_ms)
    digest = _digest(arguments)
    offset = 0
    if "cursor" in arguments:
        offset, start_ms, end_ms = _parse_cursor(arguments["cursor"], digest)
        selection = replace(selection, start_ms=start_ms, end_ms=end_ms)
    aggregation = arguments.get("aggregation", "avg")
    function, quantile = _function(aggregation)
    group_by = tuple(dict.fromkeys(arguments.get("group_by", ())))
    if "*" in group_by and len(group_by) > 1:
        raise InputError(
            'group_by has "*" beside tag names; give ["*"] alone or only names', field="group_by"
        )
    return Question(
        selection=selection,
        metric_name=metric_name,
        aggregation=aggregation,
        function=function,
        quantile=quantile,
        group_by=group_by or None,
        step_ms=step_ms_of(arguments, selection.start_ms, selection.end_ms),
        points_asked="step" in arguments or "max_points" in arguments,
        limit=int(arguments.get("limit", GROUPS_DEFAULT)),
        offset=offset,
        chart=arguments.get("chart", False),
        digest=digest,
    )


def step_ms_of(arguments: Mapping[str, Any], start_ms: int, end_ms: int) -> int:
    """The ``step`` asked for, or the smallest round one with at most ``max_points`` (or 60) points.

    `InputError` where the step makes more than ``max_points`` (or 500) points of the range.
    """
    points_max = int(arguments.get("max_points", POINTS_DEFAULT))
    if "step" not in arguments:
        return choose_step_ms(start_ms, end_ms, points_max)
    step_ms = parse_duration(arguments["step"], "step")
    points_max = int(arguments.get("max_points", POINTS_MAX))
    points = buckets(start_ms, end_ms, step_ms)
    if points > points_max:
        enough = duration_text(choose_step_ms(start_ms, end_ms, points_max))
        raise InputError(
            f"step {arguments['step']!r} makes {points} points of this range; at most "
            f"{points_max} are taken: use {enough} or a shorter range",
            field="step",
        )
    return step_ms


def _function(aggregation: str) -> tuple[Function, float | None]:
    if aggregation.startswith("p"):
        return "quantile", float(aggregation[1:]) / 100
    return cast("Function", aggregation), None


def _digest(arguments: Mapping[str, Any]) -> str:
    """Of everything that decides which groups there are and in which order."""
    asked = [arguments.get(name) for name in ("metric_name", "tags", "group_by")]
    text = json.dumps(asked, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _parse_cursor(cursor: str, digest: str) -> tuple[int, int, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None or match[4] != digest or int(match[1]) > OFFSET_MAX:
        raise InputError(
            f"cursor is {cursor[:60]!r}, which is not of this question; send the next_cursor of "
            "its answer with the same metric_name, tags and group_by",
            field="cursor",
        )
    offset, start_ms, end_ms = int(match[1]), int(match[2]), int(match[3])
    if start_ms > end_ms:
        raise InputError(f"cursor is {cursor[:60]!r}, which is damaged", field="cursor")
    return offset, start_ms, end_ms
