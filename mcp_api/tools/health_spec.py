"""The spec of `health_check`."""

from __future__ import annotations

from typing import Final

from mcp_api.tools.tool_spec import (
    AS_OF,
    STRING,
    ToolSpec,
    input_type,
    object_type,
    text_type,
)

ENDPOINTS_MAX: Final = 20

_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_NUMBER = {"type": ["number", "null"]}

HEALTH_CHECK = ToolSpec(
    name="health_check",
    title="Health check",
    description="Checks this system, registered MCP servers and other targets now, or URLs at "
    "public addresses, and stores what it finds. Unknown is not unhealthy: never reached.",
    input_schema=input_type(
        {
            "target": text_type("all (default), system, or a target's name", maxLength=100),
            "endpoints": {
                "type": "array",
                "items": text_type(maxLength=2_000),
                "maxItems": ENDPOINTS_MAX,
                "description": "URLs to check, http or https",
            },
        }
    ),
    output_schema=object_type(
        {
            "target": STRING,
            "health_checks": {
                "type": "array",
                "items": object_type(
                    {
                        "name": STRING,
                        "healthy": {"type": "boolean"},
                        "endpoint": STRING,
                        "status_code": {"type": ["integer", "null"]},
                        "response_time": _MAYBE_NUMBER | {"description": "Seconds"},
                        "last_check": _MAYBE_TEXT,
                        "state": {"enum": ["unknown", "healthy", "degraded", "unhealthy"]},
                        "since": STRING,
                        "reason": STRING,
                        "suppressed_by": STRING,
                        "value": {"type": "number"},
                        "unit": STRING,
                        "threshold": {"type": "number"},
                        "mcp": {"type": "object"},
                    },
                    ("name", "healthy"),
                ),
            },
            "overall_healthy": {"type": "boolean"},
            "check_time": STRING,
            "truncated": {"type": "boolean"},
            "hint": STRING,
            "as_of": AS_OF,
        },
        ("target", "health_checks", "overall_healthy", "check_time", "truncated", "as_of"),
    ),
    example={"target": "all"},
    read_only=False,  # each check is an event, and is told to the targets
    destructive=False,
    idempotent=False,
    open_world=True,
)
