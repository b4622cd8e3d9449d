"""What a probe is, and what it finds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from streams.events.health import Cause, HealthChecked, McpFound, Target
from streams.probes.addresses import AddressPolicy

REASON_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One look at a target; the fields are those of `HealthChecked`. ``reason``: for people, one
    line; "" where the cause says all."""

    cause: Cause
    reason: str = ""
    status_code: int | None = None
    latency_ms: float | None = None
    spawn_ms: float | None = None
    certificate_days: float | None = None
    mcp: McpFound | None = None

    def checked(self, target: Target, at_ms: int) -> HealthChecked:
        """The event of it, its reason cut to `REASON_CHARS_MAX` characters."""
        return HealthChecked(
            target=target.name,
            endpoint=target.endpoint,
            at_ms=at_ms,
            cause=self.cause,
            reason=" ".join(self.reason.split())[:REASON_CHARS_MAX],
            status_code=self.status_code,
            latency_ms=self.latency_ms,
            spawn_ms=self.spawn_ms,
            certificate_days=self.certificate_days,
            mcp=self.mcp,
        )


Look = Callable[[Target, AddressPolicy], Awaitable[Finding]]
"""A probe of one kind. It ends within the target's time-out, plus what it takes to close a session;
whatever is wrong with the target is a finding, never an exception. The policy says which addresses
may be connected to. Any number may run at once, one a target."""


def elapsed_ms(start_s: float) -> float:
    """Since ``start_s`` of `time.perf_counter`, to a hundredth of a millisecond."""
    return round((time.perf_counter() - start_s) * 1000, 2)
