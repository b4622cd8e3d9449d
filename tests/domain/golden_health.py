"""The events of health that the golden files hold; never edited, as those are never written
again."""

from __future__ import annotations

from streams.events.catalogue import Envelope, Event, EventData
from streams.events.health import (
    HealthChanged,
    HealthChecked,
    HealthCheckRequested,
    McpFound,
    RegisterTarget,
    RemoveTarget,
    RequestHealthCheck,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from tests.domain.golden_events import AT_MS

TARGET = Target(
    name="orders",
    kind="http",
    endpoint="https://orders.example.org/health",
    interval_ms=10_000,
    timeout_ms=2_000,
    failures=2,
    successes=3,
    degraded_ms=500,
    expected_status=(200, 204),
    body_contains="öK",
    body_path="$.status",
    depends_on=("database",),
    is_default=True,
)
CHECKED = HealthChecked(
    target="clock",
    endpoint="clock",
    at_ms=AT_MS,
    cause="invalid_reply",
    reason="tools/list: ö",
    status_code=200,
    latency_ms=12.5,
    spawn_ms=900.0,
    certificate_days=29.5,
    mcp=McpFound(
        protocol_version="2026-07-28",
        server="mcp-time",
        server_version="1.2",
        tools=2,
        tools_hash="ab12",
        drift=("convert_time",),
    ),
)
CHANGED = HealthChanged(
    target="orders",
    before="healthy",
    after="unhealthy",
    at_ms=AT_MS,
    reason="the last 2 checks failed: refused",
    suppressed_by="database",
    copy=True,
)


def _event(data: EventData, source: str = "commander") -> Event:
    envelope = Envelope(
        id=f"{source}/0/7",
        source=source,
        time_ms=AT_MS,
        actor="token",
        correlation_id="0123456789abcdef0123456789abcdef",
        causation_id="commands/0/6",
    )
    return Event(envelope, data)


HEALTH_EVENTS = {
    "commands.register_target.v1": _event(RegisterTarget(TARGET)),
    "commands.remove_target.v1": _event(RemoveTarget("orders")),
    "commands.request_health_check.v1": _event(RequestHealthCheck("orders")),
    "health.target_registered.v1": _event(
        TargetRegistered(TARGET, copy=True), "processor/commands"
    ),
    "health.target_removed.v1": _event(TargetRemoved("orders"), "processor/commands"),
    "health.check_requested.v1": _event(HealthCheckRequested(""), "processor/commands"),
    "health.checked.v1": _event(CHECKED, "prober"),
    "health.changed.v1": _event(CHANGED, "processor/health"),
}
