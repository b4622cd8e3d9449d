"""The closed union of events, each with its wire name and version.

Wire names are forever (CONVENTIONS.md 2). A new shape is a new version, one upcaster in
`streams.events.upcast`, one golden file in ``tests/golden/``.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.events.alerting import AlertEvent, NotificationEvent, SamplesRouted, TickRouted
from streams.events.batch import MetricBatch
from streams.events.health import HealthCommand, HealthEvent, HealthFact
from streams.events.rules import Command, Fact
from streams.events.window import WindowBatch


@dataclass(frozen=True, slots=True)
class MetricsCollected:
    """Samples that somebody sent or a collector took."""

    batch: MetricBatch


@dataclass(frozen=True, slots=True)
class Ticked:
    """The clock's barrier: ``at_ms`` is aligned; one not above the last is ignored by readers."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """The first aggregates of windows that the watermark has passed.

    ``duplicates``: samples left out because their series had one with the same time before, or
    because they are of a request that was absorbed before.
    """

    batch: WindowBatch
    duplicates: int


@dataclass(frozen=True, slots=True)
class WindowAmended:
    """Aggregates of samples that came after their window was closed: merge with what was told."""

    batch: WindowBatch
    duplicates: int


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record that could not be understood, as it was, where it lay, and why."""

    topic: str
    partition: int
    offset: int
    reason: str
    headers: dict[str, str]
    body: bytes


EventData = (
    MetricsCollected
    | Ticked
    | WindowClosed
    | WindowAmended
    | DeadLettered
    | SamplesRouted
    | TickRouted
    | Command
    | Fact
    | AlertEvent
    | NotificationEvent
    | HealthCommand
    | HealthFact
    | HealthEvent
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """CloudEvents 1.0 attributes. ``actor``: who asked for it; the ids tie causes to effects."""

    id: str
    source: str
    time_ms: int
    actor: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, and its envelope."""

    envelope: Envelope
    data: EventData
