"""Rules as callers write and read them: arguments to a `Rule`, and back to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mcp_api.tools.alert_specs import RULE_FIELDS
from mcp_api.tools.arguments import check_arguments
from mcp_api.tools.times import parse_duration
from mcp_api.tools.tool_spec import input_type
from streams.domain.durations import duration_text
from streams.domain.rules import Problem, problems, sentence
from streams.errors import InputError
from streams.events.rules import Rule

_SPANS = {
    "for": "for_ms",
    "keep_firing_for": "keep_firing_for_ms",
    "cooldown": "cooldown_ms",
    "interval": "interval_ms",
}
_CHANGES = input_type(RULE_FIELDS)


def new_rule(arguments: Mapping[str, Any], rule_id: str) -> Rule:
    """The rule that arguments of ``create_alert`` ask for, version 1.

    They have passed the input schema. `InputError` for what `streams.domain.rules` refuses.
    """
    return _checked(Rule(id=rule_id, version=1, **_fields(arguments)))


def changed_rule(rule: Rule, changes: Mapping[str, Any]) -> Rule:
    """The rule with some of its fields replaced, its version as it was read.

    `InputError` as of `new_rule`, and for an argument that ``create_alert`` does not take.
    """
    check_arguments("changes", _CHANGES, changes)
    return _checked(msgspec.structs.replace(rule, **_fields(changes)))


def rule_content(rule: Rule) -> dict[str, Any]:
    """The rule as JSON, in the words of ``create_alert``; what is not set is left out."""
    content: dict[str, Any] = {
        "id": rule.id,
        "name": rule.name,
        "condition": rule.condition,
        "severity": rule.severity,
        "description": rule.description,
        "enabled": rule.enabled,
        "version": rule.version,
    }
    for name, field in _SPANS.items():
        if span_ms := getattr(rule, field):
            content[name] = duration_text(span_ms)
    content["no_data"] = rule.no_data
    for name in ("clear_condition", "labels", "annotations", "notify", "record"):
        if value := getattr(rule, name):
            content[name] = list(value) if isinstance(value, tuple) else value
    content["series_max"] = rule.series_max
    return content


def _checked(rule: Rule) -> Rule:
    found = problems(rule)
    if not found:
        return rule
    called = {field: name for name, field in _SPANS.items()}
    told = tuple(Problem(called.get(one.field, one.field), one.reason) for one in found)
    raise InputError(sentence(told), field=told[0].field)


def _fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _SPANS:
            fields[_SPANS[name]] = _span_ms(value, name)
        elif name == "notify":
            fields[name] = tuple(value)
        elif name == "series_max":
            fields[name] = int(value)
        elif name in RULE_FIELDS:
            fields[name] = value
    return fields


def _span_ms(text: str, name: str) -> int:
    """Zero, too, which `parse_duration` refuses."""
    return 0 if text.strip("0") in {"", "s", "m", "h"} else parse_duration(text, name)
