"""`system_overview`: servers, alerts and this system at a glance, now or at a past time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.health_check import SYSTEM_THRESHOLDS, Check, system_checks
from mcp_api.tools.overview_spec import RANGE_DEFAULT, RANGES_MS
from mcp_api.tools.text import finish
from mcp_api.tools.times import iso, parse_time
from mcp_api.tools.values import (
    CHARS_PER_TOKEN,
    as_of_content,
    json_chars,
    json_number,
    short_number,
    tags_text,
)
from projections.answers import AsOf
from projections.overview_shapes import FiringThen, Moment, Newest, Overview, RuleThen, TargetThen
from projections.projector import Projector
from projections.query_overview import LOOKBACK_MS, OverviewQueries
from streams.errors import InputError
from streams.events.batch import AT_MS_MAX

CHARS_MAX: Final = 6_500 * CHARS_PER_TOKEN
"""Of the structured content; the text beside it has at most 1,000 tokens."""
SERVERS_SHOWN, RULES_SHOWN = 30, 15
SERVERS_SHOWN_MAX, RULES_SHOWN_MAX = 150, 50
"""With details."""
FIRING_SHOWN: Final = 10
FIRED_SHOWN: Final = 5
_REASON_CHARS_MAX = 200
_LINES_MAX = 15
_OF_EVENTS = ("total_mcp_servers", "healthy_servers", "active_alerts", "alerts_fired")
_METRICS: Final = {
    "System CPU": "system_cpu_usage",
    "System Memory": "system_memory_usage",
    "System Disk": "system_disk_usage",
}


@dataclass(frozen=True, slots=True)
class OverviewRequest:
    """``at_ms`` None: now."""

    time_range: str
    at_ms: int | None
    details: bool


def parse_overview(arguments: Mapping[str, Any], now_ms: int) -> OverviewRequest:
    """The request of arguments that fit the schema; `InputError` for a time that is none, or that
    is still to come."""
    at_ms = None
    if "at" in arguments:
        at_ms = parse_time(arguments["at"], now_ms, "at")
        if at_ms > now_ms:
            raise InputError(
                f"at is {iso(at_ms)}, which is to come: it is {iso(now_ms)} now", field="at"
            )
    return OverviewRequest(
        time_range=arguments.get("time_range", RANGE_DEFAULT),
        at_ms=at_ms,
        details=arguments.get("include_details", False),
    )


def system_overview(projector: Projector, request: OverviewRequest, now_ms: int) -> ToolAnswer:
    """The answer, all out of one snapshot. What is stored of a time cannot say is null, and says
    why."""
    at_ms = now_ms if request.at_ms is None else request.at_ms
    moment = Moment(
        at_ms=at_ms,
        start_ms=at_ms - RANGES_MS[request.time_range],
        until_ms=AT_MS_MAX if request.at_ms is None else at_ms,
    )
    found = OverviewQueries(projector).overview(
        moment, tuple(_METRICS.values()), details=request.details
    )
    content: dict[str, Any] = {
        "timestamp": iso(at_ms),
        "time_range": request.time_range,
        "summary": _summary(found),
        "system_metrics": _system_metrics(found, is_now=request.at_ms is None),
        "mcp_servers": {each.target.name: _server(each, request) for each in _ordered(found)},
        "alerts": [_rule(each, request) for each in _by_firing(found.rules)],
        "as_of": as_of_content(AsOf(found.newest_ms, found.positions)),
        "truncated": False,
    }
    if request.details:
        content["details"] = _details(found)
        if request.at_ms is None:
            content["details"]["lag"] = {
                name: {"records": lag.records, "seconds": round(lag.seconds, 3)}
                for name, lag in projector.lag().items()
            }
    if request.at_ms is not None and (found.began_ms is None or at_ms < found.began_ms):
        content["summary"] |= dict.fromkeys(_OF_EVENTS)
        content["why_empty"] = {"reason": _before(found)}
    _cut(content, request)
    return ToolAnswer(content, _text(content))


def _summary(found: Overview) -> dict[str, Any]:
    return {
        "total_mcp_servers": len(found.targets),
        "healthy_servers": sum(map(_is_healthy, found.targets)),
        "active_alerts": len(found.firing),
        "total_metrics": found.points,
        "alerts_fired": sum(rule.fired for rule in found.rules),
    }


def _before(found: Overview) -> str:
    if found.began_ms is None:
        return "no target and no rule was stored yet"
    return f"no event is stored from before {iso(found.began_ms)}: ask for a later time"


def _is_healthy(one: TargetThen) -> bool:
    return one.state in ("healthy", "degraded")


def _ordered(found: Overview) -> Sequence[TargetThen]:
    """What is not well first, then by name."""
    worst = ("unhealthy", "degraded", "unknown", "healthy")
    return sorted(found.targets, key=lambda one: (worst.index(one.state), one.target.name))


def _by_firing(rules: Sequence[RuleThen]) -> Sequence[RuleThen]:
    """Without those that record series: they are no alerts."""
    alerting = (one for one in rules if not one.rule.record)
    return sorted(alerting, key=lambda one: (-one.firing, -one.active, one.rule.name, one.rule.id))


def _server(one: TargetThen, request: OverviewRequest) -> dict[str, Any]:
    last = one.last
    latency_ms = None if last is None else last.latency_ms
    content: dict[str, Any] = {
        "healthy": _is_healthy(one),
        "response_time": None if latency_ms is None else round(latency_ms / 1000, 6),
        "last_check": None if last is None else iso(last.at_ms),
        "state": one.state,
    }
    if last is None and one.state != "unknown":
        content["reason"] = "its checks of that time are not stored any more"
    elif not content["healthy"] and (reason := _reason(one)):
        content["reason"] = reason[:_REASON_CHARS_MAX]
    if request.details:
        if one.since_ms is not None:
            content["since"] = iso(one.since_ms)
        content["uptime"] = round(one.up_ms / one.known_ms, 6) if one.known_ms else None
        content["transitions"] = one.turns
    return content


def _reason(one: TargetThen) -> str:
    if one.suppressed_by:
        return f"{one.suppressed_by}, on which it depends, failed before it"
    if one.reason:
        return one.reason
    if one.last is None:
        return "it was never checked"
    return f"never reached: {one.last.reason or one.last.cause}"


def _rule(one: RuleThen, request: OverviewRequest) -> dict[str, Any]:
    triggered = None if one.triggered_ms is None else iso(one.triggered_ms)
    content: dict[str, Any] = {
        "id": one.rule.id,
        "name": one.rule.name,
        "severity": one.rule.severity,
        "enabled": one.rule.enabled,
        "last_triggered": triggered,
        "firing": one.firing,
    }
    if request.details:
        content["fired"] = one.fired
    return content


def _system_metrics(found: Overview, *, is_now: bool) -> list[Check]:
    """Of several hosts the one that is worst. What nobody collects is measured here, if it is
    asked of now."""
    checks = {check["name"]: check for check in system_checks()} if is_now else {}
    told = []
    for name, threshold in SYSTEM_THRESHOLDS.items():
        check: Check = {"name": name, "unit": "percent", "threshold": threshold}
        newest = found.newest[_METRICS[name]]
        if newest:
            worst = max(newest, key=lambda one: one.value)
            check |= {"value": json_number(worst.value), "healthy": worst.value <= threshold}
            check |= _host(worst, len(newest))
        elif name in checks:
            check |= {"value": checks[name]["value"], "healthy": checks[name]["healthy"]}
        else:
            minutes = LOOKBACK_MS // 60_000
            reason = f"no sample of {_METRICS[name]} is stored of the {minutes} minutes before"
            check |= {"value": None, "healthy": None, "reason": reason}
        told.append(check)
    return told


def _host(worst: Newest, hosts: int) -> dict[str, Any]:
    host = worst.labels.get("host", "")
    if not host:
        return {}
    return {"host": host[:100], "hosts": hosts} if hosts > 1 else {"host": host[:100]}


def _details(found: Overview) -> dict[str, Any]:
    firing = sorted(found.firing, key=lambda one: -one.fired_ms)
    often = sorted(found.rules, key=lambda one: (-one.fired, one.rule.name))
    return {
        "firing": [_firing(one) for one in firing[:FIRING_SHOWN]],
        "most_fired": [
            {"id": one.rule.id, "fired": one.fired} for one in often[:FIRED_SHOWN] if one.fired
        ],
        "busiest_metrics": [
            {"name": name[:200], "samples": count} for name, count in found.busiest
        ],
    }


def _firing(one: FiringThen) -> dict[str, Any]:
    own = {"alertname", "severity"}
    labels = {name: value for name, value in one.labels.items() if name not in own}
    content: dict[str, Any] = {
        "id": one.rule_id,
        "labels": tags_text(labels) if labels else "",
        "since": iso(one.fired_ms),
    }
    if one.value is not None:
        content["value"] = short_number(one.value)
    return content


def _cut(content: dict[str, Any], request: OverviewRequest) -> None:
    """To what a model may be given: of servers those that are well go first, of rules the quiet
    ones."""
    servers, rules = list(content["mcp_servers"].items()), content["alerts"]
    total_servers, total_rules = len(servers), len(rules)
    servers = servers[: SERVERS_SHOWN_MAX if request.details else SERVERS_SHOWN]
    rules = rules[: RULES_SHOWN_MAX if request.details else RULES_SHOWN]
    rest = json_chars({**content, "mcp_servers": {}, "alerts": []}) + 400
    room = CHARS_MAX - rest
    servers = _fitting(servers, room * 2 // 3)
    rules = _fitting(rules, room - sum(json_chars(one) + 1 for one in servers))
    content["mcp_servers"], content["alerts"] = dict(servers), rules
    hints = []
    if len(servers) < total_servers:
        hints.append(f"{total_servers - len(servers)} more servers: ask health_check by name")
    if len(rules) < total_rules:
        hints.append(f"{total_rules - len(rules)} more rules: ask manage_alerts with action list")
    if hints:
        content |= {"truncated": True, "hint": "; ".join(hints)}


def _fitting(items: list[Any], room: int) -> list[Any]:
    kept = []
    for item in items:
        room -= json_chars(item) + 1
        if room < 0:
            break
        kept.append(item)
    return kept


def _text(content: Mapping[str, Any]) -> str:
    summary = content["summary"]
    lines = []
    if summary["total_mcp_servers"] is not None:
        lines.append(
            f"{summary['healthy_servers']} of {summary['total_mcp_servers']} servers are healthy; "
            f"{summary['active_alerts']} alerts fire ({summary['alerts_fired']} fired in "
            f"{content['time_range']}); {summary['total_metrics']} samples are stored."
        )
    for check in content["system_metrics"]:
        value = "unknown" if check["value"] is None else f"{check['value']} %"
        over = f", over {check['threshold']} %" if check["healthy"] is False else ""
        lines.append(f"- {check['name']}: {value}{over}")
    servers = [each for each in content["mcp_servers"].items() if not each[1]["healthy"]]
    for name, server in servers[:_LINES_MAX]:
        lines.append(f"- {name} is {server['state']}: {server.get('reason', '')}")
    lines += [
        f"- {rule['name']} ({rule['severity']}): {rule['firing']} alerts fire"
        for rule in content["alerts"][:_LINES_MAX]
        if rule["firing"]
    ]
    return finish(lines, content)
