"""The notify processor over an alerts topic and a manual clock, as a runner drives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from streams.domain.alert_routing import Routing
from streams.domain.durations import duration_text, parse_duration_ms
from streams.errors import PoisonError
from streams.events.alerting import (
    Alert,
    AlertCleared,
    AlertFired,
    AlertResolved,
    NotificationRequested,
    NotificationSuppressed,
)
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import decode, encode
from streams.events.rules import Rule, Silence, SilenceCreated
from streams.events.topics import ALERTS
from streams.log.protocol import Entry, Record
from streams.processors.clock import tick_entry
from streams.processors.notify import NotifyProcessor
from streams.processors.notify_state import NotifyState
from streams.processors.seam import Tracked, advance, restore

BEGIN_MS = 1_767_312_000_000  # 2026-01-02 00:00 UTC, a Friday


def alert(name: str, rule: str = "disk", **labels: str) -> Alert:
    return Alert(
        alert_id=rule,
        version=1,
        fingerprint=name,
        name=rule.title(),
        severity="high",
        labels={"alertname": rule.title(), "severity": "high", "series": name, **labels},
        active_ms=BEGIN_MS,
        value=91.5,
    )


def fired(name: str, rule: str = "disk", **labels: str) -> AlertFired:
    return AlertFired(
        alert=alert(name, rule, **labels),
        before="pending",
        after="firing",
        at_ms=BEGIN_MS,
        reason="91.5 is over 90",
        annotations={"summary": "the disk is nearly full"},
    )


def resolved(name: str, rule: str = "disk", **labels: str) -> AlertResolved:
    ended = alert(name, rule, **labels)
    reason = "80 is not over 90"
    return AlertResolved(
        alert=ended, before="firing", after="inactive", at_ms=BEGIN_MS, reason=reason
    )


def cleared(name: str, rule: str = "disk") -> AlertCleared:
    return AlertCleared(
        alert=alert(name, rule), before="no_data", after="inactive", at_ms=BEGIN_MS, reason="data"
    )


def rule(name: str = "disk", **fields: object) -> Rule:
    made: dict[str, object] = {"cooldown_ms": 0, **fields}
    return Rule(id=name, version=1, name=name.title(), condition="disk_used > 90", **made)  # type: ignore[arg-type]


def silence(name: str = "s1", matcher: str = 'series="a"', *, until_m: int = 60) -> SilenceCreated:
    ends_ms = BEGIN_MS + until_m * 60_000
    return SilenceCreated(
        Silence(id=name, matchers=(matcher,), starts_ms=BEGIN_MS, ends_ms=ends_ms)
    )


@dataclass
class Rig:
    """The topic, and the processor that reads it. ``records_max``: of a step."""

    routing: Routing
    records_max: int = 64
    now_ms: int = BEGIN_MS
    topic: list[Record] = field(default_factory=list)
    table: dict[str, bytes] = field(default_factory=dict)
    tracked: Tracked[NotifyState] = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, routing: Routing | None = None) -> None:
        """The process is killed; another one goes on, with what is in the table."""
        self.routing = routing or self.routing
        self.processor = NotifyProcessor(self.routing)
        self.tracked = restore(self.processor, self.table, self.read_back)

    def happens(self, data: EventData, traceparent: str = "") -> None:
        number = len(self.topic)
        envelope = Envelope(f"test-{number}", "test", self.now_ms, traceparent=traceparent)
        self._append(Entry(ALERTS, 0, encode(Event(envelope, data))))

    def wait(self, span: str) -> None:
        """Time passes; ticks come when they are asked for."""
        end_ms = self.now_ms + parse_duration_ms(span)
        self.settle()
        while (due_ms := self.due_ms()) is not None and due_ms <= end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self.settle()
        self.now_ms = end_ms

    def settle(self) -> None:
        """All that can be done at this moment."""
        for _ in range(10_000):
            records = self.topic[self.tracked.position :][: self.records_max]
            if records:
                self.tracked, changes, entries = advance(self.processor, 0, self.tracked, records)
                self._store(changes)
                for entry in entries:
                    self._append(entry)
            elif (due_ms := self.due_ms()) is not None and due_ms <= self.now_ms:
                self._append(tick_entry(ALERTS, 0, self.now_ms))
            else:
                return
        raise AssertionError("it asks for ticks without end")

    def due_ms(self) -> int | None:
        due_ms = self.processor.due_ms(self.tracked.state)
        newest_ms = self.processor.newest_tick_ms(self.tracked.state)
        return due_ms if due_ms is None or newest_ms is None else max(due_ms, newest_ms + 1)

    def events(self) -> list[EventData]:
        found = []
        for record in self.topic:
            with suppress(PoisonError):
                found.append(decode(record.headers, record.body).data)
        return found

    def requests(self) -> list[NotificationRequested]:
        return [data for data in self.events() if isinstance(data, NotificationRequested)]

    def told(self) -> list[str]:
        """Lines like ``30s ops new: a b``; ``resolved`` ones behind a slash."""
        return [line for data in self.events() for line in _lines(data)]

    def _append(self, entry: Entry) -> None:
        if entry.topic == ALERTS:
            message = entry.message
            offset = len(self.topic)
            record = Record(ALERTS, 0, offset, self.now_ms, message.headers, message.body)
            self.topic.append(record)

    def _store(self, changes: dict[str, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value

    def read_back(self, begin: int, end: int) -> Sequence[Record]:
        return self.topic[begin:end]


def timetable(
    routing: Routing, script: Iterable[tuple[str, EventData | str]], *, until: str
) -> list[str]:
    """What is told, of what happens when. A text ``"restart"`` restarts."""
    rig = Rig(routing)
    for at, data in script:
        rig.wait(duration_text(BEGIN_MS + parse_duration_ms(at) - rig.now_ms))
        if isinstance(data, str):
            rig.restart()
        else:
            rig.happens(data)
    rig.wait(duration_text(BEGIN_MS + parse_duration_ms(until) - rig.now_ms))
    return rig.told()


def _lines(data: EventData) -> list[str]:
    if isinstance(data, NotificationRequested):
        at = duration_text(data.at_ms - BEGIN_MS)
        names = {"firing": "", "resolved": ""}
        for each in data.alerts:
            names[each["status"]] += f" {each['fingerprint']}"
        text = names["firing"] + (f" /{names['resolved']}" if names["resolved"] else "")
        more = f" +{data.left_out}" if data.left_out else ""
        return [f"{at} {data.receiver} {data.reason}:{text}{more}"]
    if isinstance(data, NotificationSuppressed):
        at = duration_text(data.at_ms - BEGIN_MS)
        return [f"{at} not {data.fingerprint}: {data.cause} {data.by}".rstrip()]
    return []
