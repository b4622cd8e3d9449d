"""`manage_alerts`: rules listed, explained, changed, silenced, tried out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.alert_specs import LIST_DEFAULT
from mcp_api.tools.alert_text import history_text, list_text, managed_text
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import nearest
from mcp_api.tools.commanded import Asked
from mcp_api.tools.create_alert import warnings_of
from mcp_api.tools.dry_run import tried_out
from mcp_api.tools.ledger import ledger_content, summary
from mcp_api.tools.rule_arguments import changed_rule, rule_content
from mcp_api.tools.times import iso, parse_duration, parse_time
from mcp_api.tools.values import as_of_content, json_chars, short_number
from projections.alert_answers import AlertNow, RuleStatus, SilenceTold
from projections.alert_queries import RULES_MAX
from streams.errors import InputError
from streams.events.rules import (
    AcknowledgeAlert,
    Command,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Recurrence,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    TestAlert,
    TestRequested,
    UpdateAlert,
)

HISTORY_DEFAULT, HISTORY_START = 40, "-7d"
RECURRING_MS = 365 * 86_400_000
"""How long a recurring silence is in force that says nothing else."""
CHARS_MAX = 7_000
_ACTIVE_SHOWN, _ACTIVE_SHOWN_OF_ONE = 2, 20
_SILENCES_SHOWN = 10
_CURSOR = re.compile(r"r([0-9]{1,5})", re.ASCII)


async def manage_alerts(parts: AlertParts, asked: Asked) -> ToolAnswer:
    """The answer of one action; `InputError` for what it lacks, and with the reason of a refusal.

    The arguments have passed the input schema.
    """
    match asked.arguments["action"]:
        case "list":
            return await parts.in_thread(partial(_list, parts, asked))
        case "history":
            return await parts.in_thread(partial(_history, parts, asked))
        case "backtest":
            return await _backtest(parts, asked)
        case "silence":
            return await _silence(parts, asked)
        case "unsilence":
            silence_id = _needed(asked, "silence_id", "list shows those in force")
            return await _done(parts, asked, ExpireSilence(silence_id), silence_id=silence_id)
        case "update":
            return await _update(parts, asked)
        case action:
            status = await parts.in_thread(partial(_rule, parts, asked))
            return await _done(parts, asked, _command(action, status.rule.id, asked), status.rule)


def _command(action: str, alert_id: str, asked: Asked) -> Command:
    match action:
        case "enable":
            return EnableAlert(alert_id)
        case "disable":
            return DisableAlert(alert_id)
        case "delete":
            return DeleteAlert(alert_id)
        case "test":
            return TestAlert(alert_id)
        case _:
            assert action == "acknowledge", action
            arguments = asked.arguments
            fingerprint, comment = arguments.get("fingerprint", ""), arguments.get("comment", "")
            return AcknowledgeAlert(alert_id, fingerprint, comment)


async def _update(parts: AlertParts, asked: Asked) -> ToolAnswer:
    changes = asked.arguments.get("changes")
    if not changes:
        raise InputError(
            "update needs 'changes': the arguments of create_alert that are to be replaced",
            field="changes",
        )
    status = await parts.in_thread(partial(_rule, parts, asked))
    rule = changed_rule(status.rule, changes)
    warnings = await warnings_of(parts, rule, asked.now_ms)
    return await _done(parts, asked, UpdateAlert(rule), rule, warnings=warnings)


async def _silence(parts: AlertParts, asked: Asked) -> ToolAnswer:
    arguments = asked.arguments
    matchers = tuple(arguments.get("matchers", ()))
    rule = None
    if "alert_id" in arguments:
        rule = (await parts.in_thread(partial(_rule, parts, asked))).rule
        matchers = (f"alertname={json.dumps(rule.name, ensure_ascii=False)}", *matchers)
    if not matchers:
        raise InputError(
            "silence needs 'alert_id' or 'matchers', such as service=~\"api-.*\"", field="matchers"
        )
    recurrence = arguments.get("recurrence")
    starts_ms = parse_time(arguments.get("start_time", "now"), asked.now_ms, "start_time")
    silence = Silence(
        id=asked.made_id,
        matchers=matchers,
        starts_ms=starts_ms,
        ends_ms=_ends_ms(asked, starts_ms),
        comment=arguments.get("comment", ""),
        recurrence=None
        if recurrence is None
        else Recurrence(**{**recurrence, "weekdays": tuple(map(int, recurrence["weekdays"]))}),
    )
    return await _done(
        parts,
        asked,
        CreateSilence(silence),
        rule,
        silence_id=silence.id,
        silences=[_silence_content(silence)],
    )


def _ends_ms(asked: Asked, starts_ms: int) -> int:
    arguments = asked.arguments
    if "duration" in arguments and "end_time" in arguments:
        raise InputError("give 'duration' or 'end_time', not both", field="duration")
    if "duration" in arguments:
        return starts_ms + parse_duration(arguments["duration"], "duration")
    if "end_time" in arguments:
        return parse_time(arguments["end_time"], asked.now_ms, "end_time")
    if "recurrence" in arguments:
        return starts_ms + RECURRING_MS
    raise InputError("silence needs 'duration', such as 2h, or 'end_time'", field="duration")


async def _done(
    parts: AlertParts, asked: Asked, command: Command, rule: Rule | None = None, **more: Any
) -> ToolAnswer:
    """Hands the command in; the answer has the rule as it stands then."""
    answered = await parts.desk.hand_in(asked, command)
    match answered.fact:
        case RuleCreated(told) | RuleUpdated(told) | RuleDeleted(told) | TestRequested(told):
            rule = told
        case _:
            pass
    content = answered.content() | {"action": asked.arguments["action"], **more}
    if rule is not None:
        content |= {"alert_id": rule.id, "alert": rule_content(rule)}
    return ToolAnswer(content, managed_text(content))


async def _backtest(parts: AlertParts, asked: Asked) -> ToolAnswer:
    status = await parts.in_thread(partial(_rule, parts, asked))
    rule = changed_rule(status.rule, asked.arguments.get("changes", {}))
    content = await tried_out(parts, asked, rule)
    content |= {"status": "success", "action": "backtest"}
    content |= {"alert_id": rule.id, "alert": rule_content(rule)}
    return ToolAnswer(content, managed_text(content))


def _history(parts: AlertParts, asked: Asked) -> ToolAnswer:
    arguments, now_ms = asked.arguments, asked.now_ms
    name = _needed(asked, "alert_id", "list shows the rules")
    start_ms = parse_time(arguments.get("start_time", HISTORY_START), now_ms, "start_time")
    end_ms = parse_time(arguments.get("end_time", "now"), now_ms, "end_time")
    as_of = as_of_content(parts.queries.as_of())
    history = parts.alerts.history(
        name,
        start_ms=start_ms,
        end_ms=end_ms,
        fingerprint=arguments.get("fingerprint"),
        limit=int(arguments.get("limit", HISTORY_DEFAULT)),
    )
    if history is None:
        raise _unknown(parts, name)
    _require_one(parts, name, history.alert_id)
    content = ledger_content(history)
    content |= {
        "status": "success",
        "action": "history",
        "summary": summary(history),
        "range": {"start": iso(start_ms), "end": iso(end_ms)},
        "as_of": as_of,
    }
    return ToolAnswer(content, history_text(content))


def _list(parts: AlertParts, asked: Asked) -> ToolAnswer:
    arguments = asked.arguments
    as_of = as_of_content(parts.queries.as_of())
    skip, limit = _skip(arguments), int(arguments.get("limit", LIST_DEFAULT))
    one = "alert_id" in arguments
    if one:
        rules: Sequence[RuleStatus] = [_rule(parts, asked)]
        total = 1
    elif "state" in arguments:
        state = arguments["state"]
        found = [r for r in parts.alerts.rules(limit=RULES_MAX).rules if r.state == state]
        rules, total = found[skip : skip + limit], len(found)
    else:
        page = parts.alerts.rules(limit=limit, skip=skip)
        rules, total = page.rules, page.total
    shown = [_status_content(parts, rule, one=one) for rule in rules]
    content: dict[str, Any] = {
        "status": "success",
        "action": "list",
        "alerts": shown,
        "total_count": total,
        "as_of": as_of,
        "truncated": False,
    }
    silences = parts.alerts.silences(active_at_ms=asked.now_ms, limit=_SILENCES_SHOWN)
    if silences.total:
        content["silences"] = [_silence_told(told) for told in silences.silences]
    while json_chars(content) > CHARS_MAX and len(shown) > 1:
        shown.pop()
    if skip + len(shown) < total:
        content |= {"truncated": True, "next_cursor": f"r{skip + len(shown)}"}
    if not total:
        content["hint"] = "there are no such rules; create_alert makes one"
    return ToolAnswer(content, list_text(content))


def _status_content(parts: AlertParts, status: RuleStatus, *, one: bool) -> dict[str, Any]:
    rule = status.rule
    content: dict[str, Any] = {
        **(rule_content(rule) if one else {"id": rule.id, "name": rule.name}),
        "severity": rule.severity,
        "enabled": rule.enabled,
        "last_triggered": None if status.triggered_ms is None else iso(status.triggered_ms),
        "state": status.state,
        "active_since": None if status.active_ms is None else iso(status.active_ms),
        "trigger_count": status.trigger_count,
        "condition": rule.condition if one else rule.condition[:300],
        "version": rule.version,
    }
    if one:
        content |= {"created_at": iso(status.created_ms), "created_by": status.created_by}
    if status.problem:
        content["problem"] = status.problem[:300]
    if status.alerts:
        limit = _ACTIVE_SHOWN_OF_ONE if one else _ACTIVE_SHOWN
        found = parts.alerts.alerts(alert_id=rule.id, limit=limit)
        content["active"] = [_active(alert) for alert in found.alerts]
        if found.total > len(found.alerts):
            content["active_count"] = found.total
    return content


def _active(alert: AlertNow) -> dict[str, Any]:
    content: dict[str, Any] = {
        "labels": {k: v for k, v in alert.labels.items() if k not in {"alertname", "severity"}},
        "state": alert.state,
        "since": iso(alert.since_ms),
        "fingerprint": alert.fingerprint,
    }
    if alert.value is not None:
        content["value"] = short_number(alert.value)
    if alert.acknowledged_by is not None:
        content["acknowledged_by"] = alert.acknowledged_by
    return content


def _silence_told(told: SilenceTold) -> dict[str, Any]:
    return {**_silence_content(told.silence), "by": told.actor}


def _silence_content(silence: Silence) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": silence.id,
        "matchers": list(silence.matchers)[:8],
        "start": iso(silence.starts_ms),
        "end": iso(silence.ends_ms),
    }
    if silence.comment:
        content["comment"] = silence.comment[:200]
    if (weekly := silence.recurrence) is not None:
        content["recurrence"] = {
            "weekdays": list(weekly.weekdays),
            "at": weekly.at,
            "minutes": weekly.minutes,
            "timezone": weekly.timezone,
        }
    return content


def _rule(parts: AlertParts, asked: Asked) -> RuleStatus:
    name = _needed(asked, "alert_id", "list shows the rules")
    status = parts.alerts.rule(name)
    if status is None:
        raise _unknown(parts, name)
    _require_one(parts, name, status.rule.id)
    return status


def _require_one(parts: AlertParts, name: str, rule_id: str) -> None:
    """Where it was found by its name: rules may differ by severity and labels alone."""
    if name == rule_id:
        return
    found = parts.alerts.rules(limit=RULES_MAX).rules
    same = [status.rule.id for status in found if status.rule.name == name]
    if len(same) > 1:
        listed = ", ".join(same[:10])
        raise InputError(
            f"{len(same)} rules are named {name[:80]!r}; give the id of one: {listed}",
            field="alert_id",
        )


def _unknown(parts: AlertParts, name: str) -> InputError:
    names = [status.rule.name for status in parts.alerts.rules(limit=RULES_MAX).rules]
    return InputError(
        f"there is no alert rule {name[:80]!r}; {nearest(name, names)}", field="alert_id"
    )


def _needed(asked: Asked, field: str, hint: str) -> str:
    value = asked.arguments.get(field, "")
    if not value:
        raise InputError(f"{asked.arguments['action']} needs {field!r}; {hint}", field=field)
    assert isinstance(value, str)
    return value


def _skip(arguments: Mapping[str, Any]) -> int:
    text = arguments.get("cursor", "r0")
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InputError(
            f"cursor is {text[:40]!r}; expected the next_cursor of a list", field="cursor"
        )
    return int(match[1])
