"""The spec of `system_overview`."""

from __future__ import annotations

from typing import Final

from mcp_api.tools.alert_specs import SEVERITIES
from mcp_api.tools.tool_spec import (
    AS_OF,
    COUNT,
    MIN_POSITION,
    STRING,
    ToolSpec,
    input_type,
    object_type,
    text_type,
)

RANGES_MS: Final = {"1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000, "30d": 2_592_000_000}
RANGE_DEFAULT: Final = "24h"

_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_MAYBE_COUNT = {"type": ["integer", "null"]}

SYSTEM_OVERVIEW = ToolSpec(
    name="system_overview",
    title="System overview",
    description="Everything at a glance: registered servers with their health, alerts that fire, "
    "CPU, memory and disk. With at, as it was at a past time.",
    input_schema=input_type(
        {
            "include_details": {
                "type": "boolean",
                "default": False,
                "description": "Also uptimes, what fires, the busiest metrics, lag",
            },
            "time_range": {
                "type": "string",
                "enum": list(RANGES_MS),
                "default": RANGE_DEFAULT,
                "description": "Before the overview's time: for counts and uptimes",
            },
            "at": text_type("A past time, ISO 8601 or relative such as -6h", maxLength=64),
            "min_position": MIN_POSITION,
        }
    ),
    output_schema=object_type(
        {
            "timestamp": STRING,
            "time_range": {"enum": list(RANGES_MS)},
            "summary": object_type(
                {
                    "total_mcp_servers": _MAYBE_COUNT,
                    "healthy_servers": _MAYBE_COUNT,
                    "active_alerts": _MAYBE_COUNT | {"description": "Alerts that fire"},
                    "total_metrics": COUNT | {"description": "Samples stored"},
                    "alerts_fired": _MAYBE_COUNT | {"description": "In the range"},
                },
                ("total_mcp_servers", "healthy_servers", "active_alerts", "total_metrics"),
            ),
            "system_metrics": {
                "type": "array",
                "items": object_type(
                    {
                        "name": STRING,
                        "healthy": {"type": ["boolean", "null"]},
                        "value": _MAYBE_NUMBER,
                        "unit": STRING,
                        "threshold": {"type": "number"},
                        "host": text_type("Of the highest value"),
                    },
                    ("name", "healthy", "value", "unit", "threshold"),
                ),
            },
            "mcp_servers": {
                "type": "object",
                "additionalProperties": object_type(
                    {
                        "healthy": {"type": "boolean"},
                        "response_time": _MAYBE_NUMBER | {"description": "Seconds"},
                        "last_check": _MAYBE_TEXT,
                        "state": STRING,
                        "uptime": _MAYBE_NUMBER | {"description": "0 to 1, over the range"},
                    },
                    ("healthy", "response_time", "last_check"),
                ),
            },
            "alerts": {
                "type": "array",
                "items": object_type(
                    {
                        "id": STRING,
                        "name": STRING,
                        "severity": {"enum": list(SEVERITIES)},
                        "enabled": {"type": "boolean"},
                        "last_triggered": _MAYBE_TEXT,
                        "firing": COUNT,
                    },
                    ("id", "name", "severity", "enabled", "last_triggered"),
                ),
                "description": "Rules, firing ones first",
            },
            "details": {"type": "object"},
            "as_of": AS_OF,
            "truncated": {"type": "boolean"},
            "hint": STRING,
            "why_empty": object_type({"reason": STRING}),
        },
        (
            *("timestamp", "time_range", "summary", "system_metrics", "mcp_servers", "alerts"),
            *("as_of", "truncated"),
        ),
    ),
    example={"include_details": True, "time_range": "24h"},
    read_only=True,
    destructive=False,
    idempotent=True,
)
