"""The state machine of one target's health: unknown, healthy, degraded, unhealthy. Pure.

Unknown is not healthy (G6): a target is unknown until as many checks in a row as its thresholds say
agree, and becomes so again where nobody has checked it for more than two intervals.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from streams.domain.unicode_text import cleaned
from streams.events.health import HealthChecked, HealthState, Target

REASON_CHARS_MAX = 500


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of a target.

    ``failures``, ``answers``: checks in a row that failed, that went well; ``slow``, ``quick``: of
    the latter those that took longer than ``degraded_ms``, that did not, each in a row.
    ``checked_ms``: the last check, ``well_ms``: the last that went well; None before the first.
    ``up_ms`` of ``known_ms``: how long it was healthy or degraded of the time in which it was not
    unknown.
    """

    state: HealthState = "unknown"
    since_ms: int = 0
    checked_ms: int | None = None
    well_ms: int | None = None
    failures: int = 0
    answers: int = 0
    slow: int = 0
    quick: int = 0
    up_ms: int = 0
    known_ms: int = 0

    @property
    def uptime(self) -> float | None:
        """Between 0 and 1; None while nothing is known."""
        return self.up_ms / self.known_ms if self.known_ms else None


class Turn(NamedTuple):
    """The state changed."""

    before: HealthState
    after: HealthState
    at_ms: int
    reason: str


def silent_at_ms(target: Target, health: Health) -> int | None:
    """When it becomes unknown unless it is checked before: after two intervals and the time that
    a check may take. None: it is unknown already."""
    if health.state == "unknown" or health.checked_ms is None:
        return None
    return health.checked_ms + 2 * target.interval_ms + target.timeout_ms + 1


def silent(target: Target, health: Health, now_ms: int) -> tuple[Health, Turn | None]:
    """The health at a time: unknown where nobody has checked for too long. Thresholds are counted
    anew then, and the time does not count for the uptime."""
    due_ms = silent_at_ms(target, health)
    if due_ms is None or now_ms < due_ms:
        return health, None
    assert health.checked_ms is not None
    seconds = (now_ms - health.checked_ms) / 1000
    reason = f"it was not checked for {seconds:.0f} s: {target.interval_ms / 1000:g} s are its rule"
    turn = Turn(health.state, "unknown", now_ms, reason)
    gone = Health(
        since_ms=now_ms,
        checked_ms=health.checked_ms,
        well_ms=health.well_ms,
        up_ms=health.up_ms,
        known_ms=health.known_ms,
    )
    return gone, turn


def checked(target: Target, health: Health, check: HealthChecked) -> tuple[Health, list[Turn]]:
    """The health after a check, and how it turned: twice where nobody had checked for too long.

    A check from before the last one (of a prober whose clock differs) counts as made at its time.
    """
    at_ms = check.at_ms if health.checked_ms is None else max(check.at_ms, health.checked_ms)
    health, turn = silent(target, health, at_ms)
    turns = [] if turn is None else [turn]
    health = _counted(target, _timed(health, at_ms), check)
    after = _state(target, health)
    if after != health.state:
        turns.append(Turn(health.state, after, at_ms, _reason(target, health, check, after)))
        health = msgspec.structs.replace(health, state=after, since_ms=at_ms)
    return health, turns


def _timed(health: Health, at_ms: int) -> Health:
    known_ms = up_ms = 0
    if health.state != "unknown" and health.checked_ms is not None:
        known_ms = at_ms - health.checked_ms
        up_ms = known_ms if health.state in ("healthy", "degraded") else 0
    return msgspec.structs.replace(
        health,
        checked_ms=at_ms,
        known_ms=health.known_ms + known_ms,
        up_ms=health.up_ms + up_ms,
    )


def _counted(target: Target, health: Health, check: HealthChecked) -> Health:
    if check.cause != "ok":
        return msgspec.structs.replace(
            health, failures=health.failures + 1, answers=0, slow=0, quick=0
        )
    latency_ms = check.latency_ms or 0.0
    slow = bool(target.degraded_ms) and latency_ms > target.degraded_ms
    return msgspec.structs.replace(
        health,
        failures=0,
        answers=health.answers + 1,
        slow=health.slow + 1 if slow else 0,
        quick=0 if slow else health.quick + 1,
        well_ms=health.checked_ms,
    )


def _state(target: Target, health: Health) -> HealthState:
    if health.failures:
        unreached = target.is_default and health.well_ms is None
        if health.failures < target.failures or unreached:
            return health.state
        return "unhealthy"
    if health.state in ("unknown", "unhealthy"):
        if health.answers < target.successes:
            return health.state
        return "degraded" if health.slow else "healthy"
    if health.slow >= target.failures:
        return "degraded"
    return "healthy" if health.quick >= target.successes else health.state


def _reason(target: Target, health: Health, check: HealthChecked, after: HealthState) -> str:
    match after:
        case "unhealthy":
            count = health.failures
            checks = "the last check" if count == 1 else f"the last {count} checks"
            text = f"{checks} failed: {check.reason or check.cause.replace('_', ' ')}"
        case "degraded":
            text = f"it takes longer than {target.degraded_ms} ms: {check.latency_ms:.0f} ms"
        case _:
            text = "it answers as it should"
    return cleaned(text, REASON_CHARS_MAX)  # what a server said may hold anything
