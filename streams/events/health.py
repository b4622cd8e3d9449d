"""The events of health: targets, what a probe of one found, and how its state turned.

All are JSON, so an old shape can be upcast. Times are Unix milliseconds, spans are milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from streams.events.batch import AT_MS_MAX

Kind = Literal["http", "tcp", "dns", "heartbeat", "mcp", "mcp-sse", "mcp-stdio"]
"""``mcp``: Streamable HTTP; ``mcp-stdio`` comes from configuration only: it starts a command."""

Cause = Literal[
    "ok",
    "refused",
    "unreachable",
    "not_found",
    "status",
    "body",
    "unauthorized",
    "certificate",
    "timeout",
    "died",
    "protocol",
    "invalid_reply",
    "name_resolution",
    "silent",
    "forbidden",
]
"""What a probe found. ``died``: the process ended; ``protocol``: no version in common;
``invalid_reply``: an answer that its schema does not allow; ``silent``: a heartbeat that did not
come; ``forbidden``: an address that is not to be asked."""

HealthState = Literal["unknown", "healthy", "degraded", "unhealthy"]

_Time = Annotated[int, msgspec.Meta(ge=0, le=AT_MS_MAX)]
_Span = Annotated[int, msgspec.Meta(ge=100, le=86_400_000)]
_Threshold = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something whose health is asked for.

    ``endpoint``: a URL, ``host:port``, a host name, or of ``mcp-stdio`` the name of its entry in
    the configuration. ``failures``, ``successes``: as many in a row turn the state.
    ``degraded_ms``: slower answers are a degraded health; 0 for never. ``expected_status``: empty
    for 200 to 299. ``body_contains``, ``body_path``: a text, a JSONPath that must be there; with
    both, the text must be one of the values at the path. ``depends_on``: targets whose failure
    explains this one's. ``is_default``: registered by nobody; while it never answered it is
    unknown.
    """

    name: str
    kind: Kind
    endpoint: str
    interval_ms: _Span = 30_000
    timeout_ms: _Span = 10_000
    failures: _Threshold = 3
    successes: _Threshold = 1
    degraded_ms: int = 0
    expected_status: tuple[int, ...] = ()
    body_contains: str = ""
    body_path: str = ""
    depends_on: tuple[str, ...] = ()
    is_default: bool = False


class McpFound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an MCP server said of itself. ``tools_hash``: of its tools' definitions in canonical
    form; ``drift``: the tools that differ from those of the check before; ``tools_hash_before``: of
    that, "" where it is the same. After a restart what differs is known by the hash alone."""

    protocol_version: str
    server: str = ""
    server_version: str = ""
    tools: int = 0
    tools_hash: str = ""
    drift: tuple[str, ...] = ()
    tools_hash_before: str = ""


class RegisterTarget(msgspec.Struct, frozen=True):
    """A target of the same name is replaced."""

    target: Target


class RemoveTarget(msgspec.Struct, frozen=True):
    """It is probed no more; its history stays."""

    name: str


class RequestHealthCheck(msgspec.Struct, frozen=True):
    """A check at once, beside the schedule; ``name``: of a target, "" for all."""

    name: str = ""


class TargetRegistered(msgspec.Struct, frozen=True, omit_defaults=True):
    """As `RegisterTarget` asked. ``copy``: one for the partitions of what the target depends on,
    or depended on before, so that they tell its partition when that fails."""

    target: Target
    copy: bool = False


class TargetRemoved(msgspec.Struct, frozen=True, omit_defaults=True):
    """As `RemoveTarget` asked. ``copy``: as of `TargetRegistered`."""

    name: str
    copy: bool = False


class HealthCheckRequested(msgspec.Struct, frozen=True):
    """``name``: of a target, "" for all."""

    name: str


class HealthChecked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One probe. ``latency_ms``: from the request to the whole answer; ``spawn_ms``: of a process,
    until it could be asked. ``certificate_days``: until the certificate expires."""

    target: str
    endpoint: str
    at_ms: _Time
    cause: Cause
    reason: str = ""
    status_code: int | None = None
    latency_ms: float | None = None
    spawn_ms: float | None = None
    certificate_days: float | None = None
    mcp: McpFound | None = None


class HealthChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state machine turned. ``suppressed_by``: a target on which it depends and which failed
    before it. ``copy``: one for a partition in which something depends on this target."""

    target: str
    before: HealthState
    after: HealthState
    at_ms: _Time
    reason: str
    suppressed_by: str = ""
    copy: bool = False


HealthCommand = RegisterTarget | RemoveTarget | RequestHealthCheck
HealthFact = TargetRegistered | TargetRemoved | HealthCheckRequested
HealthEvent = HealthChecked | HealthChanged

WIRE_NAMES: dict[str, type[msgspec.Struct]] = {
    "commands.register_target.v1": RegisterTarget,
    "commands.remove_target.v1": RemoveTarget,
    "commands.request_health_check.v1": RequestHealthCheck,
    "health.target_registered.v1": TargetRegistered,
    "health.target_removed.v1": TargetRemoved,
    "health.check_requested.v1": HealthCheckRequested,
    "health.checked.v1": HealthChecked,
    "health.changed.v1": HealthChanged,
}
"""Forever."""
