"""What each tool is called, takes, answers and promises; the transports list exactly these.

Definitions are read by models at every conversation's start, so they are short: all together at
most 3,000 tokens (a test measures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_api.tools.times import TIME_FORMS

Schema = dict[str, Any]

EXPORT_FORMATS = ("json", "csv", "prometheus", "influx", "influxdb", "parquet")
OPERATIONS = ("query", "list_metrics", "list_tags", "describe")
FUNCTIONS = ("avg", "sum", "min", "max", "count", "last", "stddev", "rate", "increase")

POINTS_DEFAULT, POINTS_MAX = 60, 500
GROUPS_DEFAULT, LIMIT_MAX = 10, 100
NAME_CHARS_MAX = 512
TAGS_MAX = 64


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool. Schemas are JSON Schema (2020-12); ``example`` is one valid set of arguments.

    ``read_only`` … ``open_world``: MCP's tool annotations, which hosts show and act upon.
    """

    name: str
    title: str
    description: str
    input_schema: Schema
    output_schema: Schema
    example: Mapping[str, Any]
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool = False

    def definition(self) -> dict[str, Any]:
        """As MCP's ``tools/list`` shows it, with the example among the input schema's."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": {**self.input_schema, "examples": [dict(self.example)]},
            "outputSchema": self.output_schema,
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.read_only,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent,
                "openWorldHint": self.open_world,
            },
        }


def _text(description: str = "", **more: object) -> Schema:
    schema: Schema = {"type": "string", **more}
    return {**schema, "description": description} if description else schema


def _object(properties: Schema, required: tuple[str, ...] = (), **more: object) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, **more}
    return {**schema, "required": list(required)} if required else schema


def _input(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    return _object(properties, required, additionalProperties=False)


_STRING: Schema = {"type": "string"}
_SUMMARY = ("min", "max", "avg", "first", "last", "change")
_COUNT: Schema = {"type": "integer", "minimum": 0}
_VALUE: Schema = {"type": ["number", "string"]}
_STRINGS: Schema = {"type": "object", "additionalProperties": _STRING}
_AS_OF = _object({"time": {"type": ["string", "null"]}, "position": _STRING}, ("position",))
_RANGE = _object({"start": _STRING, "end": _STRING})
_WHY_EMPTY = _object(
    {
        "reason": _STRING,
        "nearest_names": {"type": "array", "items": _STRING},
        "data_range": _RANGE,
        "tag_values": {"type": "object"},
    },
    ("reason",),
)
_NAME = _text(maxLength=NAME_CHARS_MAX)
_TAGS: Schema = {
    "type": "object",
    "description": 'Tag filters: exact value, or "!=v", "=~regex", "!~regex" (RE2, whole value); '
    '"=v" for an exact value that begins with an operator; "" is: no such tag',
    "additionalProperties": _text(maxLength=4_096),
    "maxProperties": TAGS_MAX,
}
_START = _text(f"{TIME_FORMS}; default -1h", maxLength=64)
_END = _text("Default now", maxLength=64)
_MIN_POSITION = _text("position of a write that the answer must include", maxLength=65_536)

COLLECT = ToolSpec(
    name="collect_metrics",
    title="Collect metrics",
    description="Stores measurements durably. Bad points are refused one by one with a reason; "
    "the good ones are kept. Returns a position for min_position of reads.",
    input_schema=_input(
        {
            "source": _text("Who measured; becomes the tag source"),
            "metrics": {
                "type": "array",
                "items": _object(
                    {
                        "name": _STRING,
                        "value": _VALUE | {"description": 'Number, "NaN", "+Inf" or "-Inf"'},
                        "metric_type": {
                            "enum": ["counter", "gauge", "histogram", "summary"],
                            "description": "histogram, summary: value is one observation",
                        },
                        "tags": _STRINGS,
                        "timestamp": {
                            "type": ["string", "number"],
                            "description": "ISO 8601 with offset, or Unix s; default now",
                        },
                        "unit": _STRING,
                    },
                    ("name", "value", "metric_type"),
                ),
            },
            "request_id": _text("A retry with the same id counts once", maxLength=256),
        },
        ("source", "metrics"),
    ),
    output_schema=_object(
        {
            "status": {"enum": ["success", "error"]},
            "collected_count": _COUNT,
            "source": _STRING,
            "timestamp": _STRING,
            "position": _STRING,
            "rejected": {
                "type": "array",
                "items": _object({"index": _COUNT, "reason": _STRING}, ("index", "reason")),
            },
            "rejected_count": _COUNT,
            "duplicate": {"type": "boolean"},
            "truncated": {"type": "boolean"},
            "error": {"type": "object"},
            "as_of": _AS_OF,
        },
        ("status", "collected_count", "source", "timestamp", "position", "rejected", "as_of"),
    ),
    example={
        "source": "my_application",
        "metrics": [{"name": "cpu", "value": 75.5, "metric_type": "gauge", "tags": {"host": "a"}}],
    },
    read_only=False,
    destructive=False,
    idempotent=False,
)

QUERY = ToolSpec(
    name="query_metrics",
    title="Query metrics",
    description="Aggregates a metric over a time range: a value, a summary and resampled points "
    "for each group of series. Discover with operation list_metrics, list_tags, describe.",
    input_schema=_input(
        {
            "operation": {"type": "string", "enum": list(OPERATIONS), "default": "query"},
            "metric_name": _text("For list_metrics: a part of it", maxLength=NAME_CHARS_MAX),
            "promql": _text(
                "A PromQL expression instead of metric_name, tags, aggregation and group_by",
                maxLength=4_096,
            ),
            "start_time": _START,
            "end_time": _END,
            "tags": _TAGS,
            "aggregation": _text(
                f"{', '.join(FUNCTIONS)}, or a percentile such as p95 or p99.9; default avg",
                pattern=f"^({'|'.join(FUNCTIONS)}|p(100|[0-9]{{1,2}}([.][0-9]{{1,3}})?))$",
            ),
            "group_by": {
                "type": "array",
                "items": _NAME,
                "maxItems": 16,
                "description": 'Tag names; ["*"]: each series apart; omitted: all in one',
            },
            "step": _text("Width of a point, such as 5m; else chosen", maxLength=32),
            "max_points": {
                "type": "integer",
                "minimum": 1,
                "maximum": POINTS_MAX,
                "description": "Points a group; default up to 60",
            },
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": LIMIT_MAX,
                "description": "Groups or names; default 10, or 50 names",
            },
            "cursor": _text("next_cursor of an answer: the next groups", maxLength=200),
            "min_position": _MIN_POSITION,
            "chart": {"type": "boolean", "description": "Also a picture (PNG)"},
        }
    ),
    output_schema=_object(
        {
            "metric_name": {"type": ["string", "null"]},
            "promql": _STRING,
            "aggregation": _STRING,
            "results": {
                "type": "array",
                "items": _object(
                    {
                        "value": _VALUE,
                        "tags": _STRINGS,
                        "timestamp": _text("Of the last sample"),
                        "count": _COUNT | {"description": "Samples"},
                        "series": _COUNT,
                        "summary": _object(dict.fromkeys(_SUMMARY, _VALUE)),
                        "points": {
                            "type": "array",
                            "items": {"type": "array", "prefixItems": [_STRING, _VALUE]},
                            "description": "[start of step, value]; 6 significant digits",
                        },
                    },
                    ("value", "tags", "timestamp"),
                ),
            },
            "query_time": _STRING,
            "range": _object({"start": _STRING, "end": _STRING, "step": _STRING}),
            "unit": _STRING,
            "as_of": _AS_OF,
            "truncated": {"type": "boolean"},
            "next_cursor": _STRING,
            "hint": _STRING,
            "warnings": {"type": "array", "items": _STRING},
            "why_empty": _WHY_EMPTY,
            "metrics": {"type": "array", "items": {"type": "object"}},
            "tags": {"type": "object"},
            "total": _COUNT,
        },
        ("query_time", "as_of", "truncated"),
    ),
    example={"metric_name": "cpu_usage", "start_time": "-24h", "group_by": ["host"]},
    read_only=True,
    destructive=False,
    idempotent=True,
)

EXPORT = ToolSpec(
    name="export_metrics",
    title="Export metrics",
    description="Raw samples as a file: inline if small, else a url to stream over HTTP. "
    "prometheus has the latest sample of each series (histogram, summary: quantiles over the "
    "range); influx is line protocol.",
    input_schema=_input(
        {
            "format": {"type": "string", "enum": list(EXPORT_FORMATS), "default": "json"},
            "metric_names": {
                "type": "array",
                "items": _NAME,
                "maxItems": 100,
                "description": "Default all",
            },
            "start_time": _START,
            "end_time": _END,
            "tags": _TAGS,
            "min_position": _MIN_POSITION,
        }
    ),
    output_schema=_object(
        {
            "format": {"enum": ["json", "csv", "prometheus", "influx", "parquet"]},
            "metric_names": {"type": "array", "items": _STRING},
            "row_count": _COUNT | {"description": "Rows in content, else samples selected"},
            "skipped_count": _COUNT | {"description": "Samples that the format cannot write"},
            "content": _STRING,
            "url": _STRING,
            "size_bytes": _COUNT,
            "mime_type": _STRING,
            "range": _RANGE,
            "as_of": _AS_OF,
            "truncated": {"type": "boolean"},
            "hint": _STRING,
            "why_empty": {"type": "object"},
        },
        ("format", "metric_names", "range", "as_of", "truncated"),
    ),
    example={"format": "csv", "metric_names": ["cpu_usage"], "start_time": "-15m"},
    read_only=True,
    destructive=False,
    idempotent=True,
)

STATUS = ToolSpec(
    name="get_server_status",
    title="Server status",
    description="Health, version, storage and lag of this server.",
    input_schema=_input({}),
    output_schema=_object(
        {
            "server_name": _STRING,
            "version": _STRING,
            "status": {"enum": ["healthy", "degraded"]},
            "problems": {"type": "array", "items": _STRING},
            "uptime": {"type": "number", "description": "Seconds"},
            "components": _STRINGS,
            "metrics": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
            "system_info": {"type": "object"},
            "timestamp": _STRING,
            "lag": {
                "type": "object",
                "additionalProperties": _object({"records": _COUNT, "seconds": {"type": "number"}}),
            },
            "as_of": _AS_OF,
            "log": _object(
                {
                    "kind": {"enum": ["sqlite", "kafka"]},
                    "durable": {"type": "boolean"},
                    "brokers": {"type": "array", "items": _STRING},
                    "node": _STRING,
                    "dropped": _COUNT,
                    "lag": {
                        "type": "array",
                        "items": _object(
                            {"topic": _STRING, "partition": _COUNT, "records": _COUNT}
                        ),
                    },
                },
                ("kind", "durable", "lag"),
            ),
        },
        (
            *("server_name", "version", "status", "uptime", "components", "metrics"),
            *("system_info", "timestamp", "lag", "as_of", "log"),
        ),
    ),
    example={},
    read_only=True,
    destructive=False,
    idempotent=True,
)

SPECS: tuple[ToolSpec, ...] = (COLLECT, QUERY, EXPORT, STATUS)
SPECS_BY_NAME: Mapping[str, ToolSpec] = {spec.name: spec for spec in SPECS}
