"""From a caller's metric, tags and times to a `Selection` of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_api.tools.times import iso, parse_time
from projections.answers import Matcher, MatchOp, Selection
from streams.errors import InputError

RANGE_MS_DEFAULT = 3_600_000

_OPERATORS: tuple[MatchOp, ...] = ("!=", "=~", "!~")


def parse_tags(tags: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Matchers of tag filters. A value is exact, unless it begins with ``!=``, ``=~`` or ``!~``;
    after a leading ``=`` everything is exact.

    >>> parse_tags({"host": "a", "zone": "!=b"})[1]
    Matcher(label='zone', op='!=', value='b')
    >>> parse_tags({"sign": "=!=x"})
    (Matcher(label='sign', op='=', value='!=x'),)
    """
    return tuple(_matcher(label, value) for label, value in tags.items())


def parse_range(arguments: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
    """``start_time`` and ``end_time`` in Unix ms; by default the hour before the end, and now.

    Raises `InputError` where the start is after the end.
    """
    end_ms = now_ms
    if "end_time" in arguments:
        end_ms = parse_time(arguments["end_time"], now_ms, "end_time")
    start_ms = end_ms - RANGE_MS_DEFAULT
    if "start_time" in arguments:
        start_ms = parse_time(arguments["start_time"], now_ms, "start_time")
    if start_ms > end_ms:
        raise InputError(
            f"start_time {iso(start_ms)} is after end_time {iso(end_ms)}; give an earlier start",
            field="start_time",
        )
    return start_ms, end_ms


def parse_selection(arguments: Mapping[str, Any], now_ms: int) -> Selection:
    """The samples that ``metric_name``, ``tags``, ``start_time`` and ``end_time`` select."""
    start_ms, end_ms = parse_range(arguments, now_ms)
    matchers = parse_tags(arguments.get("tags", {}))
    return Selection(arguments.get("metric_name"), matchers, start_ms, end_ms)


def _matcher(label: str, value: str) -> Matcher:
    for op in _OPERATORS:
        if value.startswith(op):
            return Matcher(label, op, value[len(op) :])
    return Matcher(label, "=", value.removeprefix("="))
