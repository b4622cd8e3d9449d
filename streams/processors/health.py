"""Checks of targets to health: `HealthChanged` where a state turns, and metrics of each check.

It reads ``health.results``: facts about targets, checks, and what other partitions tell of targets
on which some here depend. A target whose dependency is unhealthy turns too, but says by what it is
suppressed, and makes no ``mcp_server_health`` meanwhile: no alert comes of a consequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from streams.domain.health import Health, Turn, checked, silent
from streams.domain.targets import target_partition
from streams.errors import PoisonError
from streams.events.batch import MetricBatch, MetricType
from streams.events.catalogue import EventData, MetricsCollected, Ticked
from streams.events.codec import decode
from streams.events.health import (
    HealthChanged,
    HealthChecked,
    HealthCheckRequested,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from streams.events.labels import series_partition, series_text
from streams.events.topics import HEALTH_RESULTS, POINTS
from streams.log.protocol import Record
from streams.processors.deadletter import dead_letter
from streams.processors.health_state import Edits, HealthStates, Times, Watched, restored
from streams.processors.seam import Out, ReadBack, Step

HEALTH: Final = "mcp_server_health"
RESPONSE_SECONDS: Final = "mcp_server_response_seconds"
UPTIME_RATIO: Final = "mcp_server_uptime_ratio"
_UNITS: Final = {RESPONSE_SECONDS: "seconds"}


@dataclass(frozen=True, slots=True)
class HealthProcessor:
    """Folds the checks of one partition's targets (`streams.domain.health`).

    ``partitions``: of ``health.results`` and of the points, never changed.
    """

    partitions: int
    name: str = field(default="health", init=False)
    topic: str = field(default=HEALTH_RESULTS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(
        self,
        table: Mapping[str, bytes],
        end: int,  # noqa: ARG002
        read_back: ReadBack,  # noqa: ARG002
    ) -> HealthStates:
        """From the table alone."""
        return restored(table)

    def step(self, state: HealthStates, records: Sequence[Record]) -> Step[HealthStates]:
        """Folds the records, in order."""
        fold = _Fold(self.partitions, state)
        for record in records:
            fold.take(record)
        return fold.result()

    def newest_tick_ms(self, state: HealthStates) -> int | None:
        """The time of the newest tick absorbed."""
        return state.times.tick_ms

    def due_ms(self, state: HealthStates) -> int | None:
        """When the first target has not been checked for too long."""
        return state.due_ms


class _Fold:
    """One step in progress."""

    def __init__(self, partitions: int, state: HealthStates) -> None:
        self._partitions = partitions
        self._edits = Edits(state)
        self._out: list[Out] = []

    def result(self) -> Step[HealthStates]:
        return Step(self._edits.after(), self._edits.changes(), tuple(self._out))

    def take(self, record: Record) -> None:
        try:
            data = decode(record.headers, record.body).data
        except PoisonError as error:
            self._out.append(dead_letter(record, str(error)))
            return
        match data:
            case Ticked(at_ms):
                self._tick(at_ms, record)
            case HealthChecked():
                self._check(data, record)
            case TargetRegistered(target, copy=False):
                self._register(target, record)
            case TargetRegistered(target):
                self._depend(target, record)
            case TargetRemoved(name, copy=False):
                self._remove(name, record)
            case TargetRemoved(name):
                self._edits.dependants.delete(name)
            case HealthCheckRequested(name):
                self._ask(name, record)
            case HealthChanged(copy=True):
                self._hear(data)
            case HealthChanged():
                pass  # of this partition: what it says was known before it was told
            case _:
                reason = f"{record.headers['ce_type']} does not belong on {record.topic}"
                self._out.append(dead_letter(record, reason))

    def _tick(self, at_ms: int, record: Record) -> None:
        newest_ms = self._edits.times.tick_ms
        if newest_ms is not None and at_ms <= newest_ms:
            return
        self._edits.times = Times(at_ms)
        for name, watched in self._edits.targets.items():
            health, turn = silent(watched.target, watched.health, at_ms)
            if turn is not None:
                self._edits.targets.put(name, msgspec.structs.replace(watched, health=health))
                self._tell(name, turn, "", record)

    def _check(self, check: HealthChecked, record: Record) -> None:
        watched = self._edits.targets.get(check.target)
        if watched is None:
            return  # of an endpoint that is no target, or is none any more
        health, turns = checked(watched.target, watched.health, check)
        tools_hash = watched.tools_hash if check.mcp is None else check.mcp.tools_hash
        after = msgspec.structs.replace(watched, health=health, tools_hash=tools_hash)
        self._edits.targets.put(check.target, after)
        cause = self._failed_dependency(watched.target) if health.failures else ""
        for turn in turns:
            self._tell(check.target, turn, cause if turn.after == "unhealthy" else "", record)
        self._measure(check, health, cause, record)

    def _register(self, target: Target, record: Record) -> None:
        """Another endpoint is another target under the same name: nothing is known of it yet."""
        before = self._edits.targets.get(target.name)
        if before is None:
            self._edits.targets.put(target.name, Watched(target))
            return
        same = (before.target.kind, before.target.endpoint) == (target.kind, target.endpoint)
        if same:
            self._edits.targets.put(target.name, msgspec.structs.replace(before, target=target))
            return
        self._edits.targets.put(target.name, Watched(target))
        self._forget(before, "it is at another endpoint now", record)

    def _remove(self, name: str, record: Record) -> None:
        before = self._edits.targets.get(name)
        if before is not None:
            self._edits.targets.delete(name)
            self._forget(before, "the target was removed", record)

    def _forget(self, before: Watched, reason: str, record: Record) -> None:
        if before.health.state != "unknown":
            turn = Turn(before.health.state, "unknown", record.at_ms, reason)
            self._tell(before.target.name, turn, "", record)

    def _ask(self, name: str, record: Record) -> None:
        for each, watched in self._edits.targets.items():
            if name in ("", each):
                asked = msgspec.structs.replace(watched, asked_ms=record.at_ms)
                self._edits.targets.put(each, asked)

    def _depend(self, target: Target, record: Record) -> None:
        """A target of another partition depends on some here; of those that fail it is told."""
        here = [
            name
            for name in target.depends_on
            if target_partition(name, self._partitions) == record.partition
        ]
        if not here:
            self._edits.dependants.delete(target.name)
            return
        self._edits.dependants.put(target.name, tuple(here))
        for name in here:
            watched = self._edits.targets.get(name)
            if watched is not None and watched.health.state == "unhealthy":
                turn = Turn("unknown", "unhealthy", record.at_ms, "it failed before")
                to = target_partition(target.name, self._partitions)
                self._out.append(_changed(name, turn, "", record, to, copy=True))

    def _hear(self, told: HealthChanged) -> None:
        if told.after == "unhealthy":
            self._edits.failed.put(told.target, True)
        else:
            self._edits.failed.delete(told.target)

    def _failed_dependency(self, target: Target) -> str:
        """The first that is unhealthy of those on which it depends; "" for none."""
        for name in target.depends_on:
            here = self._edits.targets.get(name)
            if here is not None and here.health.state == "unhealthy":
                return name
            if self._edits.failed.get(name):
                return name
        return ""

    def _tell(self, name: str, turn: Turn, cause: str, record: Record) -> None:
        """Here, and where something depends on it when it begins or ends to be unhealthy."""
        self._out.append(_changed(name, turn, cause, record, record.partition))
        if "unhealthy" in (turn.before, turn.after):
            partitions = {
                target_partition(dependant, self._partitions)
                for dependant, names in self._edits.dependants.items()
                if name in names
            }
            for partition in sorted(partitions):
                self._out.append(_changed(name, turn, cause, record, partition, copy=True))

    def _measure(self, check: HealthChecked, health: Health, cause: str, record: Record) -> None:
        values: dict[str, float] = {}
        if health.state != "unknown" and not cause:
            values[HEALTH] = 0.0 if health.state == "unhealthy" else 1.0
        if check.cause == "ok" and check.latency_ms is not None:
            values[RESPONSE_SECONDS] = check.latency_ms / 1000
        if health.uptime is not None:
            values[UPTIME_RATIO] = health.uptime
        for partition, batch in _batches(check, values, self._partitions):
            self._out.append(Out(POINTS, MetricsCollected(batch), record, partition))


def _changed(
    name: str, turn: Turn, cause: str, record: Record, partition: int, *, copy: bool = False
) -> Out:
    data: EventData = HealthChanged(
        target=name,
        before=turn.before,
        after=turn.after,
        at_ms=turn.at_ms,
        reason=turn.reason,
        suppressed_by=cause,
        copy=copy,
    )
    return Out(HEALTH_RESULTS, data, record, partition)


def _batches(
    check: HealthChecked, values: Mapping[str, float], partitions: int
) -> list[tuple[int, MetricBatch]]:
    """Gauges with the label ``server``, in the partitions of the points where they lie."""
    texts = {series_text(name, {"server": check.target}): name for name in values}
    places: dict[int, list[str]] = {}
    for text in texts:
        places.setdefault(series_partition(text, partitions), []).append(text)
    return [
        (
            place,
            MetricBatch(
                labels=tuple(here),
                types=(MetricType.GAUGE,) * len(here),
                units=tuple(_UNITS.get(texts[text], "") for text in here),
                series=np.arange(len(here), dtype=np.int32),
                at_ms=np.full(len(here), check.at_ms, dtype=np.int64),
                value=np.array([values[texts[text]] for text in here], dtype=np.float64),
            ),
        )
        for place, here in sorted(places.items())
    ]
