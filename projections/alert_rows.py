"""Events about alerts to rows: what a run of them adds, replaces and updates. Pure.

Facts about alerts are kept as they are told, never recomputed. Each row follows from one event,
but for ``alerts``, the current state: it also keeps where its episode began and when it fired, from
the row before it. However the events are cut into runs, the tables become the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import msgspec

from streams.errors import PoisonError
from streams.events import health, rules
from streams.events.alerting import (
    EvaluationStalled,
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    NotificationSuppressed,
    Number,
    OutageSeen,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    Transition,
)
from streams.events.catalogue import Envelope, Event
from streams.events.health import (
    HealthCheckRequested,
    HealthFact,
    TargetRegistered,
    TargetRemoved,
)
from streams.events.rules import (
    AlertAcknowledged,
    CommandRefused,
    Fact,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    SilenceCreated,
    SilenceExpired,
    TestRequested,
)

Row = dict[str, Any]

WIRE_NAME_OF = {
    kind: name for names in (rules.WIRE_NAMES, health.WIRE_NAMES) for name, kind in names.items()
}

_INTEGERS = range(-(2**63), 2**63)
_SPECIAL = frozenset(("NaN", "+Inf", "-Inf"))


@dataclass(slots=True)
class AlertRows:
    """``inserted``: rows by table. ``rules``, ``alerts``: the row that now stands for a rule's id,
    for an alert's fingerprint; None: none any more. An alert's with ``carries`` takes its begin
    from the row that stood before the run, if there was one. ``silences``, ``notifications``:
    columns that change of the rows inserted before ``log_offset``, in this run or an earlier one.
    """

    inserted: dict[str, list[Row]] = field(default_factory=dict)
    rules: dict[str, Row | None] = field(default_factory=dict)
    alerts: dict[str, Row | None] = field(default_factory=dict)
    silences: dict[str, Row] = field(default_factory=dict)
    notifications: dict[str, Row] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.inserted)

    def absorb(self, offset: int, event: Event) -> None:
        """Adds what the event at ``offset`` of ``alerts.events`` says; one that says nothing about
        alerts adds nothing. `PoisonError` where a row cannot hold it; then nothing is added."""
        try:
            told = _told(offset, event)
        except ValueError as error:  # also text that is no Unicode
            raise PoisonError(f"{type(event.data).__name__} cannot be stored: {error}") from error
        for _, row in told:
            for name, value in row.items():
                check_cell(name, value)
        for table, row in told:
            self._take(table, row)

    def _take(self, table: _Target, row: Row) -> None:
        match table:
            case "rules":
                self.rules[row["rule_id"]] = row
            case "rules gone":
                self.rules[row["rule_id"]] = None
            case "alerts":
                self.alerts[row["fingerprint"]] = self._carried(row)
            case "alerts gone":
                self.alerts[row["fingerprint"]] = None
            case "silences changed":
                self.silences[row["silence_id"]] = row
            case "notifications changed":
                self.notifications[row["notification_id"]] = row
            case _:
                self.inserted.setdefault(table, []).append(row)

    def _carried(self, row: Row) -> Row:
        """Within an episode an alert keeps where that began and when it first fired."""
        if not row["carries"] or row["fingerprint"] not in self.alerts:
            return row
        before = self.alerts[row["fingerprint"]]
        if before is None:
            return row | {"carries": False}
        kept = {name: before[name] for name in ("began", "carries")}
        return row | kept | {"fired_ms": before["fired_ms"] or row["fired_ms"]}


_Target = Literal[
    "rules",
    "rules gone",
    "rule_changes",
    "alerts",
    "alerts gone",
    "transitions",
    "evaluations",
    "interruptions",
    "alert_actions",
    "notifications",
    "notifications changed",
    "notification_attempts",
    "suppressions",
    "silences",
    "silences changed",
    "command_answers",
]
_Told = list[tuple[_Target, Row]]


def _told(offset: int, event: Event) -> _Told:
    envelope, data = event.envelope, event.data
    match data:
        case (
            RuleCreated()
            | RuleUpdated()
            | RuleDeleted()
            | AlertAcknowledged()
            | TestRequested()
            | SilenceCreated()
            | SilenceExpired()
            | CommandRefused()
        ):
            return [_answer(offset, envelope, data), *_decided(offset, envelope, data)]
        case TargetRegistered() | TargetRemoved() | HealthCheckRequested():
            return [_answer(offset, envelope, data)]
        case Transition():
            return _transition(offset, envelope, data)
        case RuleEvaluationFailed() | RuleEvaluationRecovered():
            return [_evaluation(offset, data)]
        case EvaluationStalled() | OutageSeen():
            return [_interruption(offset, data)]
        case NotificationRequested():
            return [_requested(offset, data)]
        case NotificationAttempted() | NotificationDelivered() | NotificationFailed():
            return _attempt(offset, data)
        case NotificationSuppressed():
            return [_suppressed(offset, data)]
        case _:
            return []


def _decided(offset: int, envelope: Envelope, fact: Fact) -> _Told:
    place: Row = {"log_offset": offset, "at_ms": envelope.time_ms, "actor": envelope.actor}
    match fact:
        case RuleCreated(rule):
            return _rule(place, envelope, rule, "created")
        case RuleUpdated(rule, change):
            return _rule(place, envelope, rule, change)
        case RuleDeleted(rule):
            change_row, _ = _rule(place, envelope, rule, "deleted")
            return [change_row, ("rules gone", {"rule_id": rule.id})]
        case AlertAcknowledged(rule_id, fingerprint, comment):
            return [_action(place, "acknowledged", rule_id, fingerprint, comment)]
        case TestRequested(rule):
            return [_action(place, "tested", rule.id, "", "")]
        case SilenceCreated(silence):
            row = place | {
                "silence_id": silence.id,
                "starts_ms": silence.starts_ms,
                "ends_ms": silence.ends_ms,
                "silence": _json(silence),
                "expired_ms": None,
                "expired_by": "",
            }
            return [("silences", row)]
        case SilenceExpired(silence_id):
            row = {
                "silence_id": silence_id,
                "log_offset": offset,
                "expired_ms": place["at_ms"],
                "expired_by": place["actor"],
            }
            return [("silences changed", row)]
        case CommandRefused():
            return []
        case _:
            assert_never(fact)


def _answer(offset: int, envelope: Envelope, fact: Fact | HealthFact) -> tuple[_Target, Row]:
    return "command_answers", {
        "causation_id": envelope.causation_id,
        "log_offset": offset,
        "at_ms": envelope.time_ms,
        "kind": WIRE_NAME_OF[type(fact)],
        "fact": _json(fact),
    }


def _rule(place: Row, envelope: Envelope, rule: Rule, change: str) -> _Told:
    row: Row = {
        "rule_id": rule.id,
        "name": rule.name,
        "version": rule.version,
        "rule": _json(rule),
    }
    changed = {"change": change, "causation_id": envelope.causation_id}
    now = {"enabled": rule.enabled, "changed_ms": place["at_ms"], "changed_by": place["actor"]}
    return [("rule_changes", place | row | changed), ("rules", row | now)]


def _action(
    place: Row, kind: str, rule_id: str, fingerprint: str, comment: str
) -> tuple[_Target, Row]:
    action = {"kind": kind, "rule_id": rule_id, "fingerprint": fingerprint, "comment": comment}
    return "alert_actions", place | action


def _transition(offset: int, envelope: Envelope, one: Transition) -> _Told:
    alert = one.alert
    both: Row = {
        "log_offset": offset,
        "fingerprint": alert.fingerprint,
        "rule_id": alert.alert_id,
        "version": alert.version,
        "name": alert.name,
        "severity": alert.severity,
        "labels": _json(alert.labels),
        "annotations": _json(one.annotations),
        "value": number_of(alert.value),
        "active_ms": alert.active_ms,
        "reason": one.reason,
    }
    told = both | {
        "at_ms": one.at_ms,
        "state_before": one.before,
        "state_after": one.after,
        "seen": list(one.seen),
        "causation_id": envelope.causation_id,
    }
    if one.after == "inactive":
        return [("transitions", told), ("alerts gone", {"fingerprint": alert.fingerprint})]
    now = both | {
        "state": one.after,
        "since_ms": one.at_ms,
        "began": offset,
        "carries": one.before != "inactive",
        "fired_ms": one.at_ms if one.after == "firing" else 0,
    }
    return [("transitions", told), ("alerts", now)]


def _evaluation(
    offset: int, one: RuleEvaluationFailed | RuleEvaluationRecovered
) -> tuple[_Target, Row]:
    failed = isinstance(one, RuleEvaluationFailed)
    return "evaluations", {
        "log_offset": offset,
        "rule_id": one.alert_id,
        "version": one.version,
        "kind": "failed" if failed else "recovered",
        "at_ms": one.at_ms,
        "reason": one.reason if isinstance(one, RuleEvaluationFailed) else "",
    }


def _interruption(offset: int, one: EvaluationStalled | OutageSeen) -> tuple[_Target, Row]:
    row: Row = {"log_offset": offset, "home": one.home}
    match one:
        case EvaluationStalled(_, source, since_ms, at_ms):
            row |= {"kind": "stalled", "source": source, "from_ms": since_ms, "at_ms": at_ms}
        case OutageSeen(_, from_ms, to_ms):
            row |= {"kind": "outage", "source": None, "from_ms": from_ms, "at_ms": to_ms}
    return "interruptions", row


def _requested(offset: int, one: NotificationRequested) -> tuple[_Target, Row]:
    def named(key: str) -> list[str]:
        return [str(alert.get(key, "")) for alert in one.alerts]

    return "notifications", {
        "log_offset": offset,
        "notification_id": one.id,
        "receiver": one.receiver,
        "status": one.status,
        "reason": one.reason,
        "at_ms": one.at_ms,
        "labels": _json(one.group),
        "rule_ids": named("alert_id"),
        "fingerprints": named("fingerprint"),
        "left_out": one.left_out,
        "outcome": "outstanding",
        "outcome_ms": None,
    }


def _attempt(
    offset: int, one: NotificationAttempted | NotificationDelivered | NotificationFailed
) -> _Told:
    row: Row = {
        "log_offset": offset,
        "notification_id": one.id,
        "receiver": one.receiver,
        "attempt": one.attempt,
        "at_ms": one.at_ms,
        "again": False,
        "detail": "",
        "retry_ms": None,
    }
    match one:
        case NotificationAttempted():
            row |= {"kind": "attempted", "again": one.again}
            outcome = "outstanding"
        case NotificationDelivered():
            row |= {"kind": "delivered", "detail": one.detail}
            outcome = "delivered"
        case NotificationFailed():
            row |= {"kind": "failed", "detail": one.reason, "retry_ms": one.retry_ms}
            outcome = "failed" if one.retry_ms is None else "retrying"
    now: Row = {
        "notification_id": one.id,
        "log_offset": offset,
        "outcome": outcome,
        "outcome_ms": one.at_ms,
    }
    return [("notification_attempts", row), ("notifications changed", now)]


def _suppressed(offset: int, one: NotificationSuppressed) -> tuple[_Target, Row]:
    return "suppressions", {
        "log_offset": offset,
        "rule_id": one.alert_id,
        "fingerprint": one.fingerprint,
        "at_ms": one.at_ms,
        "cause": one.cause,
        "caused_by": one.by,
        "reason": one.reason,
    }


def number_of(value: Number | None) -> float | None:
    """The number that JSON tells; `ValueError` for text that is none.

    >>> number_of("-Inf"), number_of(1), number_of(None)
    (-inf, 1.0, None)
    """
    if isinstance(value, str) and value not in _SPECIAL:
        raise ValueError(f"the value is {value[:40]!r}; expected a number, NaN, +Inf or -Inf")
    if value is None:
        return None
    number = float(value)
    return math.nan if math.isnan(number) else number


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def check_cell(name: str, value: object) -> None:
    """`PoisonError` for what no column can hold: text that is no Unicode, more than 64 bits."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise PoisonError(f"{name} is not Unicode text: {error}") from error
        case int() if value not in _INTEGERS:
            raise PoisonError(f"{name} is {value}; it has 64 bits")
        case list():
            for one in value:
                check_cell(name, one)
        case _:
            pass
