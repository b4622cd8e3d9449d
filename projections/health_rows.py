"""Events about health to rows: what a run of them adds and replaces. Pure.

The rows of a target come from its own partition of ``health.results`` alone, in its order: copies
for other partitions are passed over. However the events are cut into runs, the tables become the
same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from projections.alert_rows import Row, check_cell
from streams.errors import PoisonError
from streams.events.catalogue import Event
from streams.events.health import HealthChanged, HealthChecked, TargetRegistered, TargetRemoved

CHECKS_BLOCK: Final = 10_000
"""Each time so many offsets of a partition are full, its checks are thinned out."""

CHECKS_MAX: Final = 10_000
"""Checks of a target that are kept then, the newest; at one in 30 s these are three days and a
half. How its state turned is kept for ever."""

PARTITION_CHECKS_MAX: Final = 1_000_000
"""Of all targets of a partition, those that are gone too."""


@dataclass(slots=True)
class HealthRows:
    """``inserted``: rows by table. ``replaced``: by table, the row that now stands for a target;
    None: none any more."""

    inserted: dict[str, list[Row]] = field(default_factory=dict)
    replaced: dict[str, dict[str, Row | None]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.inserted or self.replaced)

    def absorb(self, partition: int, offset: int, event: Event) -> None:
        """Adds what the event at ``offset`` of this partition of ``health.results`` says.
        `PoisonError` where a row cannot hold it; then nothing is added."""
        data = event.data
        place: Row = {"log_partition": partition, "log_offset": offset}
        match data:
            case HealthChecked():
                self._checked(place, data)
            case HealthChanged(copy=False):
                row = _changed(place, data)
                self.inserted.setdefault("health_changes", []).append(row)
                self._replace("health_states", data.target, row)
            case TargetRegistered(target, copy=False):
                now = {
                    "target": target.name,
                    "definition": _json(target),
                    "registered_ms": event.envelope.time_ms,
                    "registered_by": event.envelope.actor,
                }
                self._replace("health_targets", target.name, _sound(now))
            case TargetRemoved(name, copy=False):
                _sound({"target": name})
                for table in ("health_targets", "health_states", "health_last"):
                    self._replace(table, name, None)
            case _:
                pass  # ticks, copies, what was asked for

    def _checked(self, place: Row, data: HealthChecked) -> None:
        """Of an endpoint that is no target there is no last check."""
        row = _sound(
            place
            | {
                "target": data.target,
                "at_ms": data.at_ms,
                "cause": data.cause,
                "latency_ms": data.latency_ms,
                "found": _json(data),
            }
        )
        self.inserted.setdefault("health_checks", []).append(row)
        if data.target:
            self._replace("health_last", data.target, row)

    def _replace(self, table: str, target: str, row: Row | None) -> None:
        self.replaced.setdefault(table, {})[target] = row


def _changed(place: Row, data: HealthChanged) -> Row:
    return _sound(
        place
        | {
            "target": data.target,
            "at_ms": data.at_ms,
            "state_before": data.before,
            "state_after": data.after,
            "reason": data.reason,
            "suppressed_by": data.suppressed_by,
        }
    )


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise PoisonError(f"{type(value).__name__} is not Unicode text: {error}") from error


def _sound(row: Row) -> Row:
    for name, value in row.items():
        check_cell(name, value)
    return row
