"""Rules, transitions and notifications in a log, for the tests of the read side."""

from __future__ import annotations

from typing import Any, cast

from projections.projector import Projector
from streams.events.alerting import (
    Alert,
    AlertCleared,
    AlertEvent,
    AlertFired,
    AlertNoData,
    AlertPending,
    AlertRecovering,
    AlertResolved,
    AlertUnknown,
    NotificationRequested,
    State,
    Transition,
)
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import encode
from streams.events.rules import Rule
from streams.events.topics import ALERTS
from streams.log.protocol import Message, Position
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import BEGIN_MS, append_message

KINDS: dict[State, type[Transition]] = {
    "pending": AlertPending,
    "firing": AlertFired,
    "recovering": AlertRecovering,
    "no_data": AlertNoData,
    "unknown": AlertUnknown,
}


def fact(data: EventData, at_ms: int, *, actor: str = "", cause: str = "c") -> Message:
    """As a processor tells it, but for the number of an output."""
    return encode(Event(Envelope("id", "test", at_ms, actor=actor, causation_id=cause), data))


def tell(
    log: SqliteLog, data: EventData, at_ms: int = BEGIN_MS, *, actor: str = "", cause: str = "c"
) -> Position:
    return append_message(log, fact(data, at_ms, actor=actor, cause=cause), topic=ALERTS)


def rule(name: str = "High CPU", version: int = 1, **more: Any) -> Rule:
    named = {"id": name.lower().replace(" ", "-"), "condition": "cpu_usage > 80"}
    return Rule(name=name, version=version, **{**named, **more})


def alert(of: Rule, host: str, *, active_ms: int = BEGIN_MS, value: float | str = 91.5) -> Alert:
    return Alert(
        alert_id=of.id,
        version=of.version,
        fingerprint=f"{of.id}/{host}",
        name=of.name,
        severity=of.severity,
        labels={"alertname": of.name, "host": host},
        active_ms=active_ms,
        value=value,
    )


def moved(
    one: Alert, before: State, after: State, at_ms: int, reason: str = "it did", **more: Any
) -> AlertEvent:
    if after == "inactive":
        kind: type[Transition] = AlertCleared if before == "pending" else AlertResolved
    else:
        kind = KINDS[after]
    told = kind(alert=one, before=before, after=after, at_ms=at_ms, reason=reason, **more)
    return cast("AlertEvent", told)


def requested(id_: str, receiver: str, *alerts: Alert, **more: Any) -> NotificationRequested:
    fields = {"status": "firing", "reason": "new", "at_ms": BEGIN_MS, "group": {}, **more}
    listed = tuple({"alert_id": one.alert_id, "fingerprint": one.fingerprint} for one in alerts)
    return NotificationRequested(id=id_, receiver=receiver, alerts=listed, **fields)


async def told(projector: Projector, log: SqliteLog) -> None:
    await projector.wait_for({(ALERTS, 0): log.ends()[ALERTS, 0] - 1}, 20.0)
