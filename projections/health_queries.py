"""`HealthQueries`: every question about targets and their health, typed and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from projections.projector import Projector
from streams.domain.targets import TARGETS_MAX
from streams.events.health import HealthChanged, HealthChecked, HealthState, Target

ENTRIES_MAX = 10_000
"""What one history holds at most."""

_NOW = """
    SELECT definition, registered_ms, registered_by, state_after, states.at_ms AS since_ms,
        states.reason AS reason, suppressed_by, found
    FROM health_targets AS targets
        LEFT JOIN health_states AS states ON states.target = targets.target
        LEFT JOIN health_last AS last ON last.target = targets.target
    WHERE $name IS NULL OR targets.target = $name ORDER BY targets.target LIMIT $limit"""

_CHANGES = """
    SELECT * FROM health_changes WHERE target = $name
    ORDER BY log_partition, log_offset DESC LIMIT $limit"""

_CHECKS = """
    SELECT found FROM health_checks WHERE target = $name
    ORDER BY log_partition, log_offset DESC LIMIT $limit"""

_COUNT = "SELECT value AS checks FROM counters WHERE name = 'checks'"


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target as it stands. ``since_ms``: None where its state never turned; ``last``: None where
    it was never checked."""

    target: Target
    registered_ms: int
    registered_by: str
    state: HealthState
    since_ms: int | None
    reason: str
    suppressed_by: str
    last: HealthChecked | None


@dataclass(frozen=True, slots=True)
class HealthHistory:
    """The newest first."""

    changes: tuple[HealthChanged, ...]
    checks: tuple[HealthChecked, ...]


class HealthQueries:
    """Reads of the live file, each in a snapshot of its own; call them from a thread.

    Every method ends within ``timeout_s`` (`QueryTooExpensive`); `ProjectionError` where the file
    cannot be read.
    """

    def __init__(self, projector: Projector, *, timeout_s: float = 10.0) -> None:
        self._projector = projector
        self._timeout_s = timeout_s

    def targets(self) -> tuple[TargetStatus, ...]:
        """All that are registered, by name."""
        return self._now(None)

    def target(self, name: str) -> TargetStatus | None:
        """None: there is no such target."""
        return next(iter(self._now(name)), None)

    def history(self, name: str, *, limit: int = 100) -> HealthHistory:
        """How its state turned, and what was found; of one that was removed, too."""
        asked = {"name": name, "limit": min(limit, ENTRIES_MAX)}
        with self._projector.reading(self._timeout_s) as reader:
            changes, checks = reader.rows(_CHANGES, asked), reader.rows(_CHECKS, asked)
        return HealthHistory(
            tuple(map(_change, changes)), tuple(_check(row["found"]) for row in checks)
        )

    def checks(self) -> int:
        """How many were made since the log began."""
        with self._projector.reading(self._timeout_s) as reader:
            return int(reader.rows(_COUNT)[0]["checks"])

    def _now(self, name: str | None) -> tuple[TargetStatus, ...]:
        with self._projector.reading(self._timeout_s) as reader:
            rows = reader.rows(_NOW, {"name": name, "limit": TARGETS_MAX})
        return tuple(map(_status, rows))


def _status(row: Mapping[str, Any]) -> TargetStatus:
    return TargetStatus(
        target=msgspec.json.decode(row["definition"], type=Target),
        registered_ms=row["registered_ms"],
        registered_by=row["registered_by"],
        state=row["state_after"] or "unknown",
        since_ms=row["since_ms"],
        reason=row["reason"] or "",
        suppressed_by=row["suppressed_by"] or "",
        last=None if row["found"] is None else _check(row["found"]),
    )


def _change(row: Mapping[str, Any]) -> HealthChanged:
    return HealthChanged(
        target=row["target"],
        before=row["state_before"],
        after=row["state_after"],
        at_ms=row["at_ms"],
        reason=row["reason"],
        suppressed_by=row["suppressed_by"],
    )


def _check(text: str) -> HealthChecked:
    return msgspec.json.decode(text, type=HealthChecked)
