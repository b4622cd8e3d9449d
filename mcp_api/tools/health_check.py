"""`health_check`: the system, registered targets checked now, endpoints that the caller names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import psutil

from mcp_api.tools.alert_parts import InThread
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import nearest
from mcp_api.tools.positions import position_token
from mcp_api.tools.times import iso
from mcp_api.tools.values import CHARS_PER_TOKEN, json_chars
from projections.health_queries import HealthQueries, TargetStatus
from streams.commanding import Commander, command_id_of
from streams.domain.targets import NAME_CHARS_MAX
from streams.errors import InputError
from streams.events.health import HealthChecked, RequestHealthCheck, Target
from streams.ingest.cpu_usage import CpuUsage
from streams.log.protocol import Position
from streams.probes.endpoints import check_endpoint

FRESH_WAIT_S: Final = 1.8
"""All is answered within 2 s; of a target that takes longer the last check counts."""
LOOK_AGAIN_S: Final = 0.05
ENDPOINT_TIMEOUT_MS: Final = 10_000
CHARS_MAX: Final = 7_000 * CHARS_PER_TOKEN
ALL, SYSTEM = "all", "system"
SYSTEM_THRESHOLDS: Final = {"System CPU": 80, "System Memory": 85, "System Disk": 90}
"""In percent."""
_LINES_MAX = 40
_CPU_USAGE = CpuUsage()

Check = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HealthParts:
    """``probe``: one look at an endpoint that came over the network. ``tell``: appends what was
    found."""

    commander: Commander
    health: HealthQueries
    probe: Callable[[Target], Awaitable[HealthChecked]]
    tell: Callable[[HealthChecked], Awaitable[Position]]
    in_thread: InThread


async def health_check(
    parts: HealthParts, arguments: Mapping[str, Any], actor: str, now_ms: int
) -> ToolAnswer:
    """The answer. `InputError` for a target that there is not, and for what is no URL."""
    endpoints = list(dict.fromkeys(arguments.get("endpoints", ())))
    for endpoint in endpoints:
        check_endpoint("http", endpoint)
    asked = arguments.get("target", "" if endpoints else ALL)
    checks: list[Check] = []
    positions: list[Position] = []
    failing = False
    if asked in (ALL, SYSTEM):
        checks += await parts.in_thread(system_checks)
        failing = not all(check["healthy"] for check in checks)
    if asked not in ("", SYSTEM):
        statuses, position = await _targets(parts, asked, actor, now_ms)
        positions.append(position)
        checks += [target_check(status) for status in statuses]
        failing |= not all(map(_counts_as_well, statuses))
    found = await asyncio.gather(*(_endpoint(parts, endpoint) for endpoint in endpoints))
    for check, position in found:
        checks.append(check)
        positions.append(position)
        failing |= not check["healthy"]
    content: dict[str, Any] = {
        "target": asked or "endpoints",
        "health_checks": checks,
        "overall_healthy": not failing,
        "check_time": iso(now_ms),
        "truncated": False,
        "as_of": {"time": iso(now_ms), "position": position_token(positions)},
    }
    _cut(content)
    return ToolAnswer(content, _text(content))


def system_checks() -> list[Check]:
    """Of this machine, in percent."""
    readings = {
        "System CPU": _CPU_USAGE.percent(),
        "System Memory": psutil.virtual_memory().percent,
        "System Disk": psutil.disk_usage("/").percent,
    }
    return [
        {
            "name": name,
            "healthy": value <= SYSTEM_THRESHOLDS[name],
            "value": value,
            "unit": "percent",
            "threshold": SYSTEM_THRESHOLDS[name],
        }
        for name, value in readings.items()
    ]


def target_check(status: TargetStatus) -> Check:
    """A registered target as it stands after its last check."""
    last = status.last
    check: Check = {
        "name": status.target.name,
        "endpoint": status.target.endpoint,
        "healthy": status.state in ("healthy", "degraded"),
        **_found(last),
        "state": status.state,
        "reason": _reason(status),
    }
    if status.since_ms is not None:
        check["since"] = iso(status.since_ms)
    if status.suppressed_by:
        check["suppressed_by"] = status.suppressed_by
    return check


def _reason(status: TargetStatus) -> str:
    last = status.last
    if status.state == "unknown" and (last is None or last.cause != "ok"):
        why = "it was never checked" if last is None else last.reason or last.cause
        return status.reason or f"never reached: {why}"
    if last is not None and last.cause != "ok":
        return last.reason or last.cause
    return status.reason


def _counts_as_well(status: TargetStatus) -> bool:
    """A default target that was never reached is nobody's failure."""
    if status.target.is_default and status.state == "unknown":
        return True
    return status.state in ("healthy", "degraded")


def _found(last: HealthChecked | None) -> Check:
    if last is None:
        return {"status_code": None, "response_time": None, "last_check": None}
    found: Check = {
        "status_code": last.status_code,
        "response_time": None if last.latency_ms is None else round(last.latency_ms / 1000, 6),
        "last_check": iso(last.at_ms),
    }
    if last.mcp is not None:
        found["mcp"] = msgspec.to_builtins(last.mcp)
    return found


async def _targets(
    parts: HealthParts, asked: str, actor: str, now_ms: int
) -> tuple[Collection[TargetStatus], Position]:
    """Those that are asked for, after the checks that this asks for, or after `FRESH_WAIT_S`."""
    name = "" if asked == ALL else asked
    if name:
        names = [each.target.name for each in await parts.in_thread(parts.health.targets)]
        if name not in names:
            known = [ALL, SYSTEM, *names]
            raise InputError(
                f"there is no target {name[:NAME_CHARS_MAX]!r}; {nearest(name, known)}",
                field="target",
            )
    sent = await parts.commander.send(
        RequestHealthCheck(name), command_id=command_id_of(actor, None), actor=actor
    )
    until = time.monotonic() + FRESH_WAIT_S
    while True:
        found = await parts.in_thread(parts.health.targets)
        wanted = [each for each in found if name in ("", each.target.name)]
        if all(_is_fresh(each, now_ms) for each in wanted) or time.monotonic() > until:
            return wanted, sent.position
        await asyncio.sleep(LOOK_AGAIN_S)


def _is_fresh(status: TargetStatus, since_ms: int) -> bool:
    """A heartbeat comes when it comes."""
    last = status.last
    return status.target.kind == "heartbeat" or (last is not None and last.at_ms >= since_ms)


async def _endpoint(parts: HealthParts, endpoint: str) -> tuple[Check, Position]:
    target = Target(name="", kind="http", endpoint=endpoint, timeout_ms=ENDPOINT_TIMEOUT_MS)
    found = await parts.probe(target)
    position = await parts.tell(found)
    healthy = found.cause == "ok"
    check: Check = {
        "name": endpoint,
        "endpoint": endpoint,
        "healthy": healthy,
        **_found(found),
        "state": "healthy" if healthy else "unhealthy",
        "reason": "" if healthy else found.reason or found.cause,
    }
    return check, position


def _cut(content: dict[str, Any]) -> None:
    """To what a model may be given: what is well goes first."""
    checks: list[Check] = content["health_checks"]
    size = json_chars(content)
    if size <= CHARS_MAX:
        return
    ordered = sorted(checks, key=lambda check: bool(check["healthy"]))
    kept: list[Check] = []
    room = CHARS_MAX - 1_000
    for check in ordered:
        room -= json_chars(check) + 1
        if room < 0:
            break
        kept.append(check)
    content["health_checks"] = kept
    content["truncated"] = True
    content["hint"] = f"{len(checks) - len(kept)} more; ask for a target by its name"


def _text(content: Mapping[str, Any]) -> str:
    checks: list[Check] = content["health_checks"]
    failing = sum(not check["healthy"] for check in checks)
    well = "All is well" if content["overall_healthy"] else "Not all is well"
    lines = [f"{well}: {len(checks) - failing} of {len(checks)} healthy."]
    ordered = sorted(checks, key=lambda check: bool(check["healthy"]))
    for check in ordered[:_LINES_MAX]:
        state = check.get("state") or ("healthy" if check["healthy"] else "unhealthy")
        more = f", {check['value']:g} %" if "value" in check else ""
        if check.get("response_time") is not None:
            more = f", {check['response_time'] * 1000:.0f} ms"
        why = f": {check['reason'][:200]}" if not check["healthy"] and check.get("reason") else ""
        lines.append(f"- {check['name']} {state}{more}{why}")
    if len(checks) > _LINES_MAX:
        lines.append(f"- and {len(checks) - _LINES_MAX} more in the structured content")
    return "\n".join(lines)
