"""The specs of the tools that make and manage alerts; `specs` lists them with the others."""

from __future__ import annotations

from mcp_api.tools.tool_spec import (
    AS_OF,
    COUNT,
    END,
    MIN_POSITION,
    RANGE,
    START,
    STRING,
    STRINGS,
    Schema,
    ToolSpec,
    input_type,
    object_type,
    text_type,
)

SEVERITIES = ("critical", "high", "medium", "low", "info")
NO_DATA = ("keep", "ok", "alert")
ACTIONS = (
    *("list", "history", "enable", "disable", "delete", "update", "acknowledge"),
    *("silence", "unsilence", "test", "backtest"),
)
STATES = ("inactive", "pending", "firing", "recovering", "no_data", "unknown")
LIST_DEFAULT, LIST_MAX = 20, 100

_DURATION = {"maxLength": 32}
_LABELS: Schema = {"type": "object", "additionalProperties": STRING, "maxProperties": 64}
_STRING_LIST: Schema = {"type": "array", "items": STRING}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
_REQUEST_ID = text_type("A retry with the same id counts once", maxLength=256)
_ALERT_ID = text_type("Id or name of the rule", maxLength=256)

RULE_FIELDS: Schema = {
    "name": text_type(maxLength=256),
    "condition": text_type(
        "PromQL; alerts for each series that it returns, e.g. cpu_usage > 80", maxLength=4_096
    ),
    "severity": {"type": "string", "enum": list(SEVERITIES), "default": "medium"},
    "description": text_type(maxLength=4_096),
    "enabled": {"type": "boolean", "default": True},
    "for": text_type("It holds for so long before it fires, such as 5m; default 0s", **_DURATION),
    "keep_firing_for": text_type("It fires on for so long after it held last", **_DURATION),
    "cooldown": text_type("Between notifications of an alert that fires anew; 5m", **_DURATION),
    "no_data": {
        "type": "string",
        "enum": list(NO_DATA),
        "default": "keep",
        "description": "When the series has no data: keep the state, resolve (ok), or alert",
    },
    "clear_condition": text_type(
        "PromQL that must hold to resolve (hysteresis), e.g. cpu_usage < 70", maxLength=4_096
    ),
    "labels": _LABELS,
    "annotations": _LABELS
    | {"description": "Texts; {{ $labels.host }} and {{ $value }} are expanded"},
    "notify": {
        "type": "array",
        "items": text_type(maxLength=256),
        "maxItems": 32,
        "description": "Receivers, beside those that the routes choose",
    },
    "series_max": {"type": "integer", "minimum": 1, "maximum": 100_000},
    "interval": text_type("Between evaluations", **_DURATION),
    "record": text_type("Makes it a recording rule: the name of its series", maxLength=256),
}
"""What a rule is made of, as callers write it."""

_BACKTEST = {"type": "object", "description": "What would have happened over the range"}

CREATE_ALERT = ToolSpec(
    name="create_alert",
    title="Create an alert rule",
    description="Creates a rule that is evaluated from the next tick on. With dry_run it is not "
    "created: the answer tells how often it would have fired from start_time to end_time.",
    input_schema=input_type(
        {
            **RULE_FIELDS,
            "dry_run": {"type": "boolean", "default": False},
            "start_time": START | {"description": "Of the dry run; default -24h"},
            "end_time": END,
            "request_id": _REQUEST_ID,
        },
        ("name", "condition"),
    ),
    output_schema=object_type(
        {
            "status": {"enum": ["success", "pending", "dry_run"]},
            "alert_id": STRING,
            "alert": {"type": "object"},
            "created_at": STRING,
            "position": STRING,
            "warnings": _STRING_LIST,
            "backtest": _BACKTEST,
            "range": RANGE,
            "hint": STRING,
            "as_of": AS_OF,
        },
        ("status", "alert_id", "alert", "created_at", "position", "warnings", "as_of"),
    ),
    example={
        "name": "High CPU",
        "condition": "avg by (host) (cpu_usage) > 80",
        "severity": "high",
        "for": "5m",
        "annotations": {"summary": "{{ $labels.host }} is at {{ $value | humanize }} %"},
    },
    read_only=False,
    destructive=False,
    idempotent=False,
)

MANAGE_ALERTS = ToolSpec(
    name="manage_alerts",
    title="Manage alerts",
    description="list: rules with their states. history: who made or changed the rule, why it "
    "fired, who was told. enable, disable, delete, update (changes), test (notifies the receivers, "
    "marked as a test), backtest (what the rule, with changes, would have done in the past). "
    "acknowledge: no more reminders of what fires now. silence (alert_id or matchers, duration), "
    "unsilence (silence_id).",
    input_schema=input_type(
        {
            "action": {"type": "string", "enum": list(ACTIONS)},
            "alert_id": _ALERT_ID,
            "changes": {
                "type": "object",
                "description": "update, backtest: arguments of create_alert",
                "maxProperties": len(RULE_FIELDS),
            },
            "state": {"type": "string", "enum": list(STATES), "description": "list: only these"},
            "start_time": START
            | {"description": "history (default -7d), backtest (-24h), silence (now)"},
            "end_time": END,
            "limit": {"type": "integer", "minimum": 1, "maximum": LIST_MAX},
            "cursor": text_type("next_cursor of an answer", maxLength=200),
            "fingerprint": text_type("acknowledge: one alert; default all", maxLength=64),
            "comment": text_type(maxLength=1_024),
            "matchers": {
                "type": "array",
                "items": text_type(maxLength=1_024),
                "maxItems": 32,
                "description": 'silence: such as service=~"api-.*"',
            },
            "duration": text_type("silence: such as 2h", **_DURATION),
            "recurrence": object_type(
                {
                    "weekdays": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 1, "maximum": 7},
                        "maxItems": 7,
                    },
                    "at": text_type("22:00", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
                    "minutes": {"type": "integer", "minimum": 1, "maximum": 10_080},
                    "timezone": text_type("Such as Europe/Berlin; default UTC", maxLength=64),
                },
                ("weekdays", "at", "minutes"),
                additionalProperties=False,
                description="silence: only in this weekly window (1 is Monday)",
            ),
            "silence_id": text_type(maxLength=256),
            "min_position": MIN_POSITION,
            "request_id": _REQUEST_ID,
        },
        ("action",),
    ),
    output_schema=object_type(
        {
            "status": {"enum": ["success", "pending"]},
            "action": {"enum": list(ACTIONS)},
            "alert_id": STRING,
            "alert": {"type": "object"},
            "alerts": {
                "type": "array",
                "items": object_type(
                    {
                        "id": STRING,
                        "name": STRING,
                        "severity": {"enum": list(SEVERITIES)},
                        "enabled": {"type": "boolean"},
                        "last_triggered": {"type": ["string", "null"]},
                        "state": STRING,
                        "active_since": {"type": ["string", "null"]},
                        "trigger_count": COUNT,
                        "condition": STRING,
                        "version": COUNT,
                        "active": _OBJECTS,
                    },
                    ("id", "name", "severity", "enabled", "last_triggered"),
                ),
            },
            "total_count": COUNT,
            "history": {
                "type": "array",
                "items": object_type(
                    {"time": STRING, "event": STRING, "what": STRING, "labels": STRINGS},
                    ("time", "event", "what"),
                ),
                "description": "Newest first",
            },
            "summary": STRING,
            "made": {"type": "object"},
            "in_force": {"type": "object"},
            "silence_id": STRING,
            "backtest": _BACKTEST,
            "silences": _OBJECTS,
            "warnings": _STRING_LIST,
            "range": RANGE,
            "position": STRING,
            "as_of": AS_OF,
            "truncated": {"type": "boolean"},
            "next_cursor": STRING,
            "hint": STRING,
        },
        ("status", "action", "as_of"),
    ),
    example={"action": "history", "alert_id": "High CPU", "start_time": "-24h"},
    read_only=False,
    destructive=True,
    idempotent=False,
)
