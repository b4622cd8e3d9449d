"""Short text of the answers about alerts, for a model that sees no structured content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_api.tools.text import finish
from mcp_api.tools.values import tags_text

_LINES_MAX = 30


def created_text(content: Mapping[str, Any]) -> str:
    """What became of the rule, its id, and what is probably wrong with it."""
    rule = content["alert"]
    if content["status"] == "dry_run":
        lines = [f"{rule['name']!r} ({rule['condition']}) was not created.", *_tried(content)]
    else:
        made = "is stored and not confirmed yet" if content["status"] == "pending" else "is created"
        lines = [
            f"Alert {rule['name']!r} {made}, id {content['alert_id']}: {rule['condition']}",
            f"Position: {content['position']}",
        ]
    lines += [f"Warning: {warning}." for warning in content["warnings"]]
    return finish(lines, content)


def managed_text(content: Mapping[str, Any]) -> str:
    """What was done to what."""
    name = content["alert"]["name"] if "alert" in content else content.get("silence_id", "")
    state = "is stored and not confirmed yet" if content["status"] == "pending" else "is done"
    lines = [f"{content['action']} of {name!r} {state}."]
    if "alert" in content:
        rule = content["alert"]
        enabled = "enabled" if rule["enabled"] else "disabled"
        lines.append(f"Version {rule['version']}, {enabled}: {rule['condition']}")
    lines += [_silence(silence) for silence in content.get("silences", ())]
    lines += _tried(content)
    lines += [f"Warning: {warning}." for warning in content.get("warnings", ())]
    if position := content.get("position"):
        lines.append(f"Position: {position}")
    return finish(lines, content)


def list_text(content: Mapping[str, Any]) -> str:
    """One line a rule, one for each of its active alerts, one a silence."""
    lines = [f"{content['total_count']} alert rules:"]
    for rule in content["alerts"][:_LINES_MAX]:
        since = f" since {rule['active_since']}" if rule["active_since"] else ""
        last = rule["last_triggered"] or "never"
        lines.append(
            f"- {rule['name']} (id {rule['id']}, {rule['severity']}): {rule['state']}{since}; "
            f"{rule['condition']}; fired {rule['trigger_count']} times, last {last}"
        )
        if problem := rule.get("problem"):
            lines.append(f"  cannot be evaluated: {problem}")
        for alert in rule.get("active", ()):
            value = f", value {alert['value']}" if "value" in alert else ""
            lines.append(f"  {tags_text(alert['labels'])}: {alert['state']}{value}")
    lines += [_silence(silence) for silence in content.get("silences", ())]
    return finish(lines, content)


def history_text(content: Mapping[str, Any]) -> str:
    """The summary, who made the rule, then one line an entry, the newest first."""
    made = content["made"]
    lines = [content["summary"]] if content["summary"] else ["It has not fired in this range."]
    lines.append(f"{made['name']!r} was made by {made['by']} at {made['time']}.")
    for entry in content["history"][:_LINES_MAX]:
        labels = f" [{tags_text(entry['labels'])}]" if entry.get("labels") else ""
        lines.append(f"- {entry['time']} {entry['event']}{labels}: {entry['what']}")
    return finish(lines, content)


def _silence(silence: Mapping[str, Any]) -> str:
    weekly = ", weekly" if "recurrence" in silence else ""
    matchers = ", ".join(silence["matchers"])
    return f"Silence {silence['id']}: {matchers}, {silence['start']} to {silence['end']}{weekly}"


def _tried(content: Mapping[str, Any]) -> list[str]:
    tried = content.get("backtest")
    return [] if tried is None else [f"Over that range: {tried['text']}."]
