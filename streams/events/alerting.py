"""The events of alerting: what rules see, what came of it, and who was told.

All but `SamplesRouted` are JSON, so an old shape can be upcast. Times are Unix milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from streams.events.batch import MetricBatch
from streams.events.rules import Rule, Severity

State = Literal["inactive", "pending", "firing", "recovering", "no_data", "unknown"]
Number = float | str
"""A value as JSON has it: NaN and infinities are "NaN", "+Inf", "-Inf"."""


# What rules see (topic rules.inputs).


@dataclass(frozen=True, slots=True)
class SamplesRouted:
    """Samples of ``source``, a partition of the points, that some rule of this home selects.

    ``position``: the next offset of the source after the last of them.
    """

    batch: MetricBatch
    source: int
    position: int


class TickRouted(msgspec.Struct, frozen=True):
    """All that ``source`` holds before this tick was routed.

    ``position``: the next offset of the source. ``rules``: versions that the source routes for from
    this tick on, told once; ``deleted``: ids. ``outage_ms``: the gap before this tick where it was
    more than two intervals, else 0. ``coming``: versions whose past comes from here on, told before
    they stand in ``rules`` where that takes more than one tick.
    """

    source: int
    at_ms: int
    position: int
    rules: tuple[Rule, ...] = ()
    deleted: tuple[str, ...] = ()
    outage_ms: int = 0
    coming: tuple[Rule, ...] = ()


# What came of it (topic alerts.events).


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert of a rule: a series of its condition.

    ``fingerprint``: of the rule's id and the series. ``labels``: those of the series, of the rule,
    and ``alertname``, ``severity``. ``active_ms``: since when it has been pending or firing; 0 for
    neither. ``value``: of the condition, as it last was.
    """

    alert_id: str
    version: int
    fingerprint: str
    name: str
    severity: Severity
    labels: dict[str, str]
    active_ms: int = 0
    value: Number | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert went from one state to another at a tick.

    ``reason``: why, in words, with the values that decided. ``seen``: the positions up to which
    each partition of the points was seen, by number. ``annotations``: expanded.
    """

    alert: Alert
    before: State
    after: State
    at_ms: int
    reason: str
    seen: tuple[int, ...] = ()
    annotations: dict[str, str] = {}


class AlertPending(Transition, frozen=True):
    """Its condition holds, not yet for as long as ``for`` asks."""


class AlertFired(Transition, frozen=True):
    """Its condition has held for as long as ``for`` asks."""


class AlertRecovering(Transition, frozen=True):
    """Its condition holds no more, and ``keep_firing_for`` or ``clear_condition`` keeps it."""


class AlertResolved(Transition, frozen=True):
    """It fired, and does no more."""


class AlertCleared(Transition, frozen=True):
    """It was pending, in want of data or unknown without having fired, and is no more."""


class AlertNoData(Transition, frozen=True):
    """Its series has no data any more."""


class AlertUnknown(Transition, frozen=True):
    """Nobody can tell: nothing was evaluated for a while."""


class RuleEvaluationFailed(msgspec.Struct, frozen=True):
    """Told once for a run of failures with the same reason; states stay what they were."""

    alert_id: str
    version: int
    name: str
    at_ms: int
    reason: str


class RuleEvaluationRecovered(msgspec.Struct, frozen=True):
    """It is evaluated again after `RuleEvaluationFailed`."""

    alert_id: str
    version: int
    name: str
    at_ms: int


class EvaluationStalled(msgspec.Struct, frozen=True):
    """A source partition's ticks do not come: rules of this home wait for it. ``source``: its
    number; ``since_ms``: its last tick."""

    home: int
    source: int
    since_ms: int
    at_ms: int


class OutageSeen(msgspec.Struct, frozen=True):
    """Nothing ticked from ``from_ms`` to ``to_ms``: spans were frozen for so long."""

    home: int
    from_ms: int
    to_ms: int


# Notifications (topic alerts.events).


class NotificationRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be sent, whole: whoever sends it needs nothing else.

    ``id``: also the idempotency key and the Message-ID. ``group``: the labels that its alerts have
    in common. ``alerts``: with their state, annotations and times, as `streams.domain` makes them.
    """

    id: str
    receiver: str
    group: dict[str, str]
    status: Literal["firing", "resolved", "test"]
    reason: Literal["new", "changed", "repeat", "resolved", "escalation", "digest", "test"]
    at_ms: int
    alerts: tuple[dict[str, Any], ...]
    left_out: int = 0


class NotificationAttempted(msgspec.Struct, frozen=True):
    """Written before the sending. ``again``: it is not the first attempt, and the receiver may have
    it already: the one before had no outcome, or failed without saying whether it was taken."""

    id: str
    receiver: str
    attempt: int
    at_ms: int
    again: bool = False


class NotificationDelivered(msgspec.Struct, frozen=True):
    """The receiver took it; ``detail``: what it said."""

    id: str
    receiver: str
    attempt: int
    at_ms: int
    detail: str = ""


class NotificationFailed(msgspec.Struct, frozen=True):
    """``retry_ms``: when it is tried again; None: it was given up."""

    id: str
    receiver: str
    attempt: int
    at_ms: int
    reason: str
    retry_ms: int | None = None


class NotificationSuppressed(msgspec.Struct, frozen=True):
    """An alert that would have been told and was not. ``by``: the id of the silence or the alert
    that did it, "" for none; told once for each run."""

    alert_id: str
    fingerprint: str
    at_ms: int
    cause: Literal["silence", "acknowledged", "inhibition", "cooldown", "disabled"]
    by: str = ""
    reason: str = ""


AlertEvent = (
    AlertPending
    | AlertFired
    | AlertRecovering
    | AlertResolved
    | AlertCleared
    | AlertNoData
    | AlertUnknown
    | RuleEvaluationFailed
    | RuleEvaluationRecovered
    | EvaluationStalled
    | OutageSeen
)
NotificationEvent = (
    NotificationRequested
    | NotificationAttempted
    | NotificationDelivered
    | NotificationFailed
    | NotificationSuppressed
)

WIRE_NAMES: dict[str, type[msgspec.Struct]] = {
    "rules.tick_routed.v1": TickRouted,
    "rules.evaluation_failed.v1": RuleEvaluationFailed,
    "rules.evaluation_recovered.v1": RuleEvaluationRecovered,
    "rules.evaluation_stalled.v1": EvaluationStalled,
    "rules.outage_seen.v1": OutageSeen,
    "alerts.pending.v1": AlertPending,
    "alerts.fired.v1": AlertFired,
    "alerts.recovering.v1": AlertRecovering,
    "alerts.resolved.v1": AlertResolved,
    "alerts.cleared.v1": AlertCleared,
    "alerts.no_data.v1": AlertNoData,
    "alerts.unknown.v1": AlertUnknown,
    "notifications.requested.v1": NotificationRequested,
    "notifications.attempted.v1": NotificationAttempted,
    "notifications.delivered.v1": NotificationDelivered,
    "notifications.failed.v1": NotificationFailed,
    "notifications.suppressed.v1": NotificationSuppressed,
}
"""Of the JSON events above. Forever."""
