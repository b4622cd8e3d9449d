"""What each tool is called, takes, answers and promises; the transports list exactly these.

Definitions are read by models at every conversation's start, so they are short: all together at
most 6,000 tokens (a test measures).
"""

from __future__ import annotations

from collections.abc import Mapping

from mcp_api.tools.alert_specs import CREATE_ALERT, MANAGE_ALERTS
from mcp_api.tools.health_spec import HEALTH_CHECK
from mcp_api.tools.overview_spec import SYSTEM_OVERVIEW
from mcp_api.tools.tool_spec import (
    AS_OF,
    COUNT,
    END,
    MIN_POSITION,
    RANGE,
    START,
    STRING,
    STRINGS,
    VALUE,
    Schema,
    ToolSpec,
    input_type,
    object_type,
    text_type,
)

EXPORT_FORMATS = ("json", "csv", "prometheus", "influx", "influxdb", "parquet")
OPERATIONS = ("query", "list_metrics", "list_tags", "describe")
FUNCTIONS = ("avg", "sum", "min", "max", "count", "last", "stddev", "rate", "increase")

POINTS_DEFAULT, POINTS_MAX = 60, 500
GROUPS_DEFAULT, LIMIT_MAX = 10, 100
NAME_CHARS_MAX = 512
TAGS_MAX = 64

_SUMMARY = ("min", "max", "avg", "first", "last", "change")
_WHY_EMPTY = object_type(
    {
        "reason": STRING,
        "nearest_names": {"type": "array", "items": STRING},
        "data_range": RANGE,
        "tag_values": {"type": "object"},
    },
    ("reason",),
)
_NAME = text_type(maxLength=NAME_CHARS_MAX)
_TAGS: Schema = {
    "type": "object",
    "description": 'Tag filters: exact value, or "!=v", "=~regex", "!~regex" (RE2, whole value); '
    '"=v" for an exact value that begins with an operator; "" is: no such tag',
    "additionalProperties": text_type(maxLength=4_096),
    "maxProperties": TAGS_MAX,
}

COLLECT = ToolSpec(
    name="collect_metrics",
    title="Collect metrics",
    description="Stores measurements durably. Bad points are refused one by one with a reason; "
    "the good ones are kept. Returns a position for min_position of reads.",
    input_schema=input_type(
        {
            "source": text_type("Who measured; becomes the tag source"),
            "metrics": {
                "type": "array",
                "items": object_type(
                    {
                        "name": STRING,
                        "value": VALUE | {"description": 'Number, "NaN", "+Inf" or "-Inf"'},
                        "metric_type": {
                            "enum": ["counter", "gauge", "histogram", "summary"],
                            "description": "histogram, summary: value is one observation",
                        },
                        "tags": STRINGS,
                        "timestamp": {
                            "type": ["string", "number"],
                            "description": "ISO 8601 with offset, or Unix s; default now",
                        },
                        "unit": STRING,
                    },
                    ("name", "value", "metric_type"),
                ),
            },
            "request_id": text_type("A retry with the same id counts once", maxLength=256),
        },
        ("source", "metrics"),
    ),
    output_schema=object_type(
        {
            "status": {"enum": ["success", "error"]},
            "collected_count": COUNT,
            "source": STRING,
            "timestamp": STRING,
            "position": STRING,
            "rejected": {
                "type": "array",
                "items": object_type({"index": COUNT, "reason": STRING}, ("index", "reason")),
            },
            "rejected_count": COUNT,
            "duplicate": {"type": "boolean"},
            "truncated": {"type": "boolean"},
            "error": {"type": "object"},
            "as_of": AS_OF,
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
    input_schema=input_type(
        {
            "operation": {"type": "string", "enum": list(OPERATIONS), "default": "query"},
            "metric_name": text_type("For list_metrics: a part of it", maxLength=NAME_CHARS_MAX),
            "promql": text_type(
                "A PromQL expression instead of metric_name, tags, aggregation and group_by",
                maxLength=4_096,
            ),
            "start_time": START,
            "end_time": END,
            "tags": _TAGS,
            "aggregation": text_type(
                f"{', '.join(FUNCTIONS)}, or a percentile such as p95 or p99.9; default avg",
                pattern=f"^({'|'.join(FUNCTIONS)}|p(100|[0-9]{{1,2}}([.][0-9]{{1,3}})?))$",
            ),
            "group_by": {
                "type": "array",
                "items": _NAME,
                "maxItems": 16,
                "description": 'Tag names; ["*"]: each series apart; omitted: all in one',
            },
            "step": text_type("Width of a point, such as 5m; else chosen", maxLength=32),
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
            "cursor": text_type("next_cursor of an answer: the next groups", maxLength=200),
            "min_position": MIN_POSITION,
            "chart": {"type": "boolean", "description": "Also a picture (PNG)"},
        }
    ),
    output_schema=object_type(
        {
            "metric_name": {"type": ["string", "null"]},
            "promql": STRING,
            "aggregation": STRING,
            "results": {
                "type": "array",
                "items": object_type(
                    {
                        "value": VALUE,
                        "tags": STRINGS,
                        "timestamp": text_type("Of the last sample"),
                        "count": COUNT | {"description": "Samples"},
                        "series": COUNT,
                        "summary": object_type(dict.fromkeys(_SUMMARY, VALUE)),
                        "points": {
                            "type": "array",
                            "items": {"type": "array", "prefixItems": [STRING, VALUE]},
                            "description": "[start of step, value]; 6 significant digits",
                        },
                    },
                    ("value", "tags", "timestamp"),
                ),
            },
            "query_time": STRING,
            "range": object_type({"start": STRING, "end": STRING, "step": STRING}),
            "unit": STRING,
            "as_of": AS_OF,
            "truncated": {"type": "boolean"},
            "next_cursor": STRING,
            "hint": STRING,
            "warnings": {"type": "array", "items": STRING},
            "why_empty": _WHY_EMPTY,
            "metrics": {"type": "array", "items": {"type": "object"}},
            "tags": {"type": "object"},
            "total": COUNT,
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
    input_schema=input_type(
        {
            "format": {"type": "string", "enum": list(EXPORT_FORMATS), "default": "json"},
            "metric_names": {
                "type": "array",
                "items": _NAME,
                "maxItems": 100,
                "description": "Default all",
            },
            "start_time": START,
            "end_time": END,
            "tags": _TAGS,
            "min_position": MIN_POSITION,
        }
    ),
    output_schema=object_type(
        {
            "format": {"enum": ["json", "csv", "prometheus", "influx", "parquet"]},
            "metric_names": {"type": "array", "items": STRING},
            "row_count": COUNT | {"description": "Rows in content, else samples selected"},
            "skipped_count": COUNT | {"description": "Samples that the format cannot write"},
            "content": STRING,
            "url": STRING,
            "size_bytes": COUNT,
            "mime_type": STRING,
            "range": RANGE,
            "as_of": AS_OF,
            "truncated": {"type": "boolean"},
            "hint": STRING,
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
    input_schema=input_type({}),
    output_schema=object_type(
        {
            "server_name": STRING,
            "version": STRING,
            "status": {"enum": ["healthy", "degraded"]},
            "problems": {"type": "array", "items": STRING},
            "uptime": {"type": "number", "description": "Seconds"},
            "components": STRINGS,
            "metrics": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
            "system_info": {"type": "object"},
            "timestamp": STRING,
            "lag": {
                "type": "object",
                "additionalProperties": object_type(
                    {"records": COUNT, "seconds": {"type": "number"}}
                ),
            },
            "as_of": AS_OF,
            "log": object_type(
                {
                    "kind": {"enum": ["sqlite", "kafka"]},
                    "durable": {"type": "boolean"},
                    "brokers": {"type": "array", "items": STRING},
                    "node": STRING,
                    "dropped": COUNT,
                    "lag": {
                        "type": "array",
                        "items": object_type(
                            {"topic": STRING, "partition": COUNT, "records": COUNT}
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

SPECS: tuple[ToolSpec, ...] = (
    COLLECT,
    QUERY,
    HEALTH_CHECK,
    CREATE_ALERT,
    MANAGE_ALERTS,
    SYSTEM_OVERVIEW,
    EXPORT,
    STATUS,
)
SPECS_BY_NAME: Mapping[str, ToolSpec] = {spec.name: spec for spec in SPECS}
