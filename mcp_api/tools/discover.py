"""`query_metrics`' other operations: which metrics there are, which tags they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.results import ANSWER_CHARS_MAX
from mcp_api.tools.text import metrics_text, tags_answer_text
from mcp_api.tools.times import iso
from mcp_api.tools.values import as_of_content, json_chars
from mcp_api.tools.why_empty import unknown_metric
from projections.answers import LabelValues, MetricInfo
from projections.queries import Queries
from streams.errors import InputError

NAMES_DEFAULT = 50
VALUES_DEFAULT = 20


def discover(
    queries: Queries, operation: str, arguments: Mapping[str, Any], now_ms: int
) -> ToolAnswer:
    """The answer of ``list_metrics``, ``list_tags`` or ``describe``; at most 8,000 tokens."""
    content: dict[str, Any] = {
        "query_time": iso(now_ms),
        "as_of": as_of_content(queries.as_of()),
        "truncated": False,
    }
    match operation:
        case "list_metrics":
            return _list_metrics(queries, content, arguments)
        case "list_tags":
            return _list_tags(queries, content, arguments)
        case _:
            return _describe(queries, content, arguments)


def _list_metrics(
    queries: Queries, content: dict[str, Any], arguments: Mapping[str, Any]
) -> ToolAnswer:
    part = arguments.get("metric_name") or None
    limit = int(arguments.get("limit", NAMES_DEFAULT))
    found = queries.metrics(contains=part, limit=limit)
    content |= {"metrics": [_metric(info) for info in found.metrics], "total": found.total}
    if not found.metrics:
        content["why_empty"] = unknown_metric(queries, part or "")
    _cut(content, content["metrics"])
    if len(content["metrics"]) < found.total:
        content["truncated"] = True
        content["hint"] = "give a part of the name as metric_name, or a higher limit"
    return ToolAnswer(content, metrics_text(content))


def _list_tags(
    queries: Queries, content: dict[str, Any], arguments: Mapping[str, Any]
) -> ToolAnswer:
    metric = arguments.get("metric_name") or None
    limit = int(arguments.get("limit", VALUES_DEFAULT))
    found = queries.tag_values(metric, limit=limit)
    content |= {"metric_name": metric, "total": len(found)}
    if not found and (metric is None or queries.describe(metric, limit=1) is None):
        content["why_empty"] = unknown_metric(queries, metric or "")
    _put_tags(content, found)
    return ToolAnswer(content, tags_answer_text(content))


def _describe(
    queries: Queries, content: dict[str, Any], arguments: Mapping[str, Any]
) -> ToolAnswer:
    metric = arguments.get("metric_name", "")
    if not metric:
        raise InputError(
            "describe needs 'metric_name'; operation list_metrics lists the names",
            field="metric_name",
        )
    content["metric_name"] = metric
    found = queries.describe(metric, limit=int(arguments.get("limit", VALUES_DEFAULT)))
    if found is None:
        content |= {"metrics": [], "why_empty": unknown_metric(queries, metric)}
        return ToolAnswer(content, metrics_text(content))
    details = _metric(found.info) | {"samples": found.points}
    if found.first_ms is not None:
        details["first_time"] = iso(found.first_ms)
    content |= {"metrics": [details], "total": 1}
    _put_tags(content, found.labels)
    return ToolAnswer(content, tags_answer_text(content))


def _metric(info: MetricInfo) -> dict[str, Any]:
    metric: dict[str, Any] = {"name": info.name, "type": info.type, "series": info.series}
    if info.unit:
        metric["unit"] = info.unit
    if info.last_ms is not None:
        metric["last_time"] = iso(info.last_ms)
    return {**metric, "tags": list(info.labels)}


def _put_tags(content: dict[str, Any], labels: Mapping[str, LabelValues]) -> None:
    """``tags``: {name: {"values": {value: series}, "total"}}, cut to what an answer can hold."""
    tags: dict[str, Any] = {}
    content["tags"] = tags
    left = ANSWER_CHARS_MAX - json_chars(content) - 400
    for label, found in labels.items():
        left -= json_chars(label) + 30
        values: dict[str, int] = {}
        for value, series in zip(found.values, found.series, strict=True):
            left -= json_chars(value) + 8
            if left < 0:
                break
            values[value] = series
        if left < 0 and not values:
            break
        tags[label] = {"values": values, "total": found.total}
    cut = any(len(tag["values"]) < tag["total"] for tag in tags.values())
    if cut or len(tags) < len(labels):
        content["truncated"] = True
        content["hint"] = "not all tags or values are shown; ask of one metric, or a higher limit"


def _cut(content: dict[str, Any], items: list[Any]) -> None:
    sizes = [json_chars(item) + 1 for item in items]
    size = json_chars(content) + 400
    while size > ANSWER_CHARS_MAX and items:
        items.pop()
        size -= sizes.pop()
