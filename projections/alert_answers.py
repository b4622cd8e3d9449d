"""The shapes of the answers about rules and alerts: plain frozen values.

Times are Unix milliseconds. ``offset``: where the event lies in ``alerts.events``, which has one
partition: the order of offsets is the order in which things were decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streams.events.alerting import State
from streams.events.health import HealthFact
from streams.events.rules import Fact, Rule, Severity, Silence
from streams.log.protocol import Position

RuleState = Literal["disabled", "inactive", "pending", "firing", "recovering", "no_data", "unknown"]
"""Of a rule: the most serious state of an alert of it, as `query_rules.SERIOUS` orders them."""

ChangeKind = Literal["created", "updated", "enabled", "disabled", "deleted"]
EvaluationKind = Literal["failed", "recovered"]
Outcome = Literal["outstanding", "retrying", "delivered", "failed"]
"""Of a notification: not told yet; an attempt failed and there will be another; told; given up."""


@dataclass(frozen=True, slots=True)
class RuleChange:
    """Who made a version of a rule and when; ``rule``: as it stands since."""

    offset: int
    at_ms: int
    change: ChangeKind
    actor: str
    causation_id: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule as it stands, who made it, and how it fares.

    ``active_ms``: since when its longest active alert has been so; None without one.
    ``trigger_count``: episodes in which an alert of it fired, since it was made; ``triggered_ms``:
    the last of them. ``alerts``: how many in each state but inactive; ``firing`` of them have fired
    in their episode. ``problem``: why it could not be evaluated since ``problem_ms``; "" where it
    can.
    """

    rule: Rule
    created_ms: int
    created_by: str
    changed_ms: int
    changed_by: str
    state: RuleState
    active_ms: int | None
    triggered_ms: int | None
    trigger_count: int
    alerts: Mapping[State, int]
    firing: int
    problem: str
    problem_ms: int | None


@dataclass(frozen=True, slots=True)
class Rules:
    """A page of rules by name; ``total`` of all."""

    rules: tuple[RuleStatus, ...]
    total: int


@dataclass(frozen=True, slots=True)
class AlertNow:
    """An alert that is not inactive.

    ``since_ms``: in ``state`` since then; ``active_ms``: pending or firing since then, 0 for
    neither. ``fired_ms``: when it fired in this episode; None: it has not, or not yet. ``reason``:
    of the last transition. ``acknowledged_by``: the actor, None where nobody has in this episode.
    """

    fingerprint: str
    alert_id: str
    version: int
    name: str
    severity: Severity
    state: State
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float | None
    active_ms: int
    since_ms: int
    fired_ms: int | None
    reason: str
    offset: int
    acknowledged_by: str | None
    acknowledged_ms: int | None


@dataclass(frozen=True, slots=True)
class Alerts:
    """A page of alerts, the longest active first; ``total`` of all asked for."""

    alerts: tuple[AlertNow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class TransitionTold:
    """An alert went from ``before`` to ``after``, and why; ``seen``: the offsets up to which each
    partition of ``metrics.points`` was seen; ``causation_id``: the record that decided."""

    offset: int
    at_ms: int
    fingerprint: str
    version: int
    before: State
    after: State
    labels: Mapping[str, str]
    value: float | None
    reason: str
    seen: tuple[int, ...]
    annotations: Mapping[str, str]
    causation_id: str


@dataclass(frozen=True, slots=True)
class EvaluationTold:
    """The rule could not be evaluated, for ``reason``; or can be again."""

    offset: int
    at_ms: int
    kind: EvaluationKind
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """No rule of its partition was evaluated since ``from_ms``. ``stalled``: it waits for partition
    ``source`` of the points; ``outage``: nothing ticked until ``at_ms``, and spans stood still."""

    offset: int
    at_ms: int
    kind: Literal["stalled", "outage"]
    from_ms: int
    source: int | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """``fingerprint`` "": all alerts of the rule that were active."""

    offset: int
    at_ms: int
    actor: str
    fingerprint: str
    comment: str


@dataclass(frozen=True, slots=True)
class Tested:
    """Somebody asked for a notification that is marked as a test."""

    offset: int
    at_ms: int
    actor: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An alert was not told of; ``by``: the silence or alert that did it."""

    offset: int
    at_ms: int
    fingerprint: str
    cause: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending. ``again``: it is not the first, so the receiver may have it twice.
    ``outcome`` None: not known. ``retry_ms``: when it is tried again."""

    number: int
    at_ms: int
    again: bool
    outcome: Literal["delivered", "failed"] | None
    outcome_ms: int | None
    detail: str
    retry_ms: int | None


@dataclass(frozen=True, slots=True)
class NotificationTold:
    """Who was told, why, of how many alerts (``of_rule`` of them of the rule asked about), and what
    became of it. At most `ATTEMPTS_MAX` of its attempts, the newest."""

    offset: int
    at_ms: int
    id: str
    receiver: str
    status: Literal["firing", "resolved", "test"]
    reason: str
    alerts: int
    of_rule: int
    outcome: Outcome
    attempts: tuple[Attempt, ...]


ATTEMPTS_MAX = 20

LedgerEntry = (
    RuleChange
    | TransitionTold
    | EvaluationTold
    | Interrupted
    | Acknowledged
    | Tested
    | Suppressed
    | NotificationTold
)


@dataclass(frozen=True, slots=True)
class History:
    """The ledger of a rule, in the order in which things were decided.

    ``made``: who made the rule; ``in_force``: the change that made the version in force at the
    range's end (None: it was made later): both whatever the range. ``entries``: the newest of the
    range, at most the limit asked for; ``total`` of all in the range.
    """

    alert_id: str
    name: str
    made: RuleChange
    in_force: RuleChange | None
    entries: tuple[LedgerEntry, ...]
    total: int


@dataclass(frozen=True, slots=True)
class SilenceTold:
    """A silence, who made it, and when somebody ended it before its time (None: nobody)."""

    silence: Silence
    actor: str
    created_ms: int
    expired_ms: int | None
    expired_by: str


@dataclass(frozen=True, slots=True)
class Silences:
    """A page of silences, the newest first; ``total`` of all asked for."""

    silences: tuple[SilenceTold, ...]
    total: int


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What became of a command: a fact, or `streams.events.rules.CommandRefused`."""

    fact: Fact | HealthFact
    position: Position
    at_ms: int


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """``firing``: alerts that have fired and are not resolved, whatever became of their data;
    ``alerts``: by their exact state. ``notifications``: by outcome."""

    rules: int
    rules_enabled: int
    rules_failing: int
    firing: int
    alerts: Mapping[State, int]
    notifications: Mapping[Outcome, int]
