"""What is remembered of the targets of one partition, as packed table values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.domain.health import Health, silent_at_ms
from streams.events.health import Target
from streams.processors import packed
from streams.processors.packed import Edit, PackedMap

TIMES: Final = "times"


class Watched(msgspec.Struct, frozen=True):
    """A target of this partition. ``asked_ms``: when somebody last asked for a check at once.
    ``tools_hash``: of the last check that found an MCP server's tools; "" for none."""

    target: Target
    health: Health = Health()
    asked_ms: int = 0
    tools_hash: str = ""


class Times(msgspec.Struct, frozen=True):
    """The newest tick absorbed."""

    tick_ms: int | None = None


NEVER: Final = Times()


@dataclass(frozen=True)
class HealthStates:
    """``targets``: of this partition, by name. ``dependants``: targets of other partitions that
    depend on some of this one, by name. ``failed``: targets of other partitions that are unhealthy
    and on which some here depend. ``due_ms``: when the first target becomes unknown."""

    targets: PackedMap[Watched] = field(default_factory=PackedMap)
    dependants: PackedMap[tuple[str, ...]] = field(default_factory=PackedMap)
    failed: PackedMap[bool] = field(default_factory=PackedMap)
    times: Times = NEVER
    due_ms: int | None = None


def restored(table: Mapping[str, bytes]) -> HealthStates:
    """The state that `Edits.changes` wrote."""
    times = table.get(TIMES)
    targets = packed.stored(table, "targets", Watched)
    return HealthStates(
        targets=targets,
        dependants=packed.stored(table, "dependants", tuple[str, ...]),
        failed=packed.stored(table, "failed", bool),
        times=NEVER if times is None else msgspec.msgpack.decode(times, type=Times),
        due_ms=_due_ms(targets.values()),
    )


class Edits:
    """A state in change, for one step."""

    def __init__(self, before: HealthStates) -> None:
        self._before = before
        self.targets = Edit(before.targets)
        self.dependants = Edit(before.dependants)
        self.failed = Edit(before.failed)
        self.times = before.times

    def after(self) -> HealthStates:
        """The next state."""
        targets = self.targets.after()
        return HealthStates(
            targets=targets,
            dependants=self.dependants.after(),
            failed=self.failed.after(),
            times=self.times,
            due_ms=_due_ms(targets.values()),
        )

    def changes(self) -> dict[str, bytes | None]:
        """The table values of what was touched."""
        values = {
            **self.targets.changes("targets"),
            **self.dependants.changes("dependants"),
            **self.failed.changes("failed"),
        }
        if self.times != self._before.times:
            values[TIMES] = msgspec.msgpack.encode(self.times)
        return values


def _due_ms(targets: Iterable[Watched]) -> int | None:
    dues = (silent_at_ms(each.target, each.health) for each in targets)
    return min((due_ms for due_ms in dues if due_ms is not None), default=None)
