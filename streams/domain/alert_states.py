"""The life of one rule's alerts over what its expressions give, tick by tick. Pure.

::

  inactive ─▶ pending ─▶ firing ◀─▶ recovering ─▶ inactive
                 └────────▶ no_data, unknown ◀────────┘      (and back)

An alert is pending while its condition holds for less than ``for``, and recovering while it holds
no more but ``keep_firing_for`` or ``clear_condition`` keeps it. Missing data never resolves: the
rule's ``no_data`` says whether it keeps the alert as it was (state ``no_data``, in which no span
goes on), counts as a condition that does not hold (``ok``) or as one that does (``alert``, also for
series that had no alert). An outage makes every alert unknown until the next evaluation, and counts
in no span.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from streams.domain import alert_words
from streams.domain.alert_memory import Alerts, Kept, Reading, Values, due_ms
from streams.domain.durations import duration_text
from streams.events.alerting import (
    AlertCleared,
    AlertFired,
    AlertNoData,
    AlertPending,
    AlertRecovering,
    AlertResolved,
    AlertUnknown,
    State,
)
from streams.events.rules import Rule
from streams.promql.frames import Labels

NOTHING: Final[Labels] = ()
"""The series of an alert that a rule has no data at all (``no_data: alert``)."""

Move = (
    AlertPending
    | AlertFired
    | AlertRecovering
    | AlertResolved
    | AlertCleared
    | AlertNoData
    | AlertUnknown
)
_KINDS: Final[dict[State, type[Move]]] = {
    "pending": AlertPending,
    "firing": AlertFired,
    "recovering": AlertRecovering,
    "no_data": AlertNoData,
    "unknown": AlertUnknown,
}


@dataclass(frozen=True, slots=True)
class _Why:
    """When a transition was, what was seen until then, the reason and the value that decided."""

    at_ms: int
    seen: tuple[int, ...]
    reason: str
    value: float | None = None


Changed = tuple[Alerts, tuple[Move, ...]]


def evaluated(
    rule: Rule, alerts: Alerts, at_ms: int, reading: Reading, seen: tuple[int, ...] = ()
) -> Changed:
    """The alerts after an evaluation at a tick, and the transitions, ordered by series.

    ``rule``: the version in force; an alert whose series it reads no more ends with it.
    """
    if _calm(rule, alerts, at_ms, reading):
        return alerts, ()
    return _Tick(rule, alerts, at_ms, reading, seen).result()


def outage(
    rule: Rule, alerts: Alerts, at_ms: int, outage_ms: int, seen: tuple[int, ...] = ()
) -> Changed:
    """Nothing ticked for ``outage_ms`` before this tick: nobody can tell what was."""
    kept: dict[Labels, Kept] = {}
    told: list[Move] = []
    for series, each in sorted(alerts.kept.items()):
        if each.state == "unknown":
            kept[series] = each
            continue
        lost = _stretched(_thawed(each, at_ms - outage_ms), outage_ms)
        kept[series] = after = _state(lost, "unknown", at_ms)
        reason = f"nothing was evaluated for {duration_text(outage_ms)}: this counts in no span"
        told.append(_transition(rule, each, after, _Why(at_ms, seen, reason)))
    return replace(alerts, kept=kept), tuple(told)


def ended(rule: Rule, alerts: Alerts, at_ms: int, why: str, seen: tuple[int, ...] = ()) -> Changed:
    """No alerts any more, since the rule was disabled or deleted (``why``)."""
    told = [
        _transition(rule, each, None, _Why(at_ms, seen, why))
        for _, each in sorted(alerts.kept.items())
    ]
    if alerts.exceeded_ms:
        told.append(_exceeded(rule, alerts.exceeded_ms, len(alerts.kept), _Why(at_ms, seen, why)))
    return Alerts(rule.version), tuple(told)


def recorded(
    rule: Rule, alerts: Alerts, at_ms: int, series: int, seen: tuple[int, ...] = ()
) -> Changed:
    """A recording rule has no alerts but that of itself: its result has so many series."""
    told: tuple[Move, ...] = ()
    if alerts.kept:
        alerts, told = ended(rule, alerts, at_ms, "the rule records now", seen)
    since_ms = alerts.exceeded_ms
    counted = _counted(rule, since_ms, series, _Why(at_ms, seen, ""))
    exceeded_ms = (since_ms or at_ms) if series > rule.series_max else 0
    after = Alerts(rule.version, rule.condition, exceeded_ms=exceeded_ms)
    return (alerts if after == alerts else after), (*told, *counted)


def _calm(rule: Rule, alerts: Alerts, at_ms: int, reading: Reading) -> bool:
    """Whether this tick changes nothing, told without looking at each alert."""
    if alerts.version != rule.version or rule.no_data == "alert" or alerts.exceeded_ms:
        return False
    if not reading.active or not alerts.kept:
        return not reading.active and not alerts.kept
    if reading.active.keys() != alerts.kept.keys():
        return False
    if any(each.state not in ("pending", "firing") for each in alerts.kept.values()):
        return False
    due = due_ms(rule, alerts)
    return due is None or at_ms < due


class _Tick:
    """One evaluation in progress."""

    def __init__(
        self, rule: Rule, alerts: Alerts, at_ms: int, reading: Reading, seen: tuple[int, ...]
    ) -> None:
        self._rule = rule
        self._alerts = alerts
        self._at_ms = at_ms
        self._reading = reading
        self._seen = seen
        self._changed = alerts.version > 0 and alerts.condition != rule.condition
        self._asks = rule.no_data == "alert" or not reading.active.keys() >= alerts.kept.keys()
        self._present: Values | None = reading.present() if self._asks else {}
        self._clear = frozenset(reading.clear()) if rule.clear_condition and alerts.kept else None
        known = frozenset() if self._changed else alerts.known
        self._known = self._had_data(known) if rule.no_data == "alert" else frozenset()
        self._kept: dict[Labels, Kept] = {}
        self._told: list[Move] = []

    def result(self) -> Changed:
        for series, each in sorted(self._alerts.kept.items()):
            self._go_on(series, each)
        fresh = [series for series in self._holding() if series not in self._alerts.kept]
        room = max(0, self._rule.series_max - len(self._kept))
        for series in fresh[:room]:
            self._begin(series)
        exceeded_ms = self._overflow(fresh[room:])
        rule = self._rule
        alerts = Alerts(rule.version, rule.condition, self._kept, self._known, exceeded_ms)
        return (self._alerts if alerts == self._alerts else alerts), tuple(self._told)

    def _had_data(self, known: frozenset[Labels]) -> frozenset[Labels]:
        had = sorted(self._present or ())
        room = max(0, self._rule.series_max - len(known))
        return known | frozenset([series for series in had if series not in known][:room])

    def _holding(self) -> list[Labels]:
        """The series whose condition holds, or is taken to hold, in their order."""
        holding = set(self._reading.active)
        if self._rule.no_data == "alert" and self._present is not None:
            missing = self._known if self._known else {NOTHING}
            holding |= {series for series in missing if series not in self._present}
        return sorted(holding)

    def _holds(self, series: Labels) -> bool | None:
        """None where missing data leaves the alert as it was."""
        if series in self._reading.active:
            return True
        if self._present is None:
            return None
        if series in self._present or (series == NOTHING and self._present):
            return False
        match self._rule.no_data:
            case "ok":
                return False
            case "alert":
                return True
            case _:
                return None

    def _value(self, series: Labels) -> float | None:
        value = self._reading.active.get(series)
        return (self._present or {}).get(series) if value is None else value

    def _begin(self, series: Labels) -> None:
        rule, at_ms = self._rule, self._at_ms
        state: State = "pending" if rule.for_ms else "firing"
        before = Kept(series=series, state="inactive", since_ms=at_ms, active_ms=at_ms)
        after = msgspec.structs.replace(before, state=state, fired=not rule.for_ms)
        reason = alert_words.holding(rule, self._value(series), after, at_ms, again=False)
        self._move(before, after, reason)

    def _go_on(self, series: Labels, before: Kept) -> None:
        rule, at_ms = self._rule, self._at_ms
        holds = self._holds(series)
        unread = self._changed and series not in self._reading.active
        if unread and self._present is not None and series not in self._present:
            self._move(before, None, f"version {rule.version} of the rule does not read its series")
        elif holds is None:
            after = _state(_thawed(before, at_ms), "no_data", at_ms)
            self._move(before, after, alert_words.no_data(told=self._present is not None))
        elif holds:
            self._hold(before, _thawed(before, at_ms))
        else:
            self._quiet(before, _thawed(before, at_ms))

    def _hold(self, before: Kept, kept: Kept) -> None:
        rule, at_ms = self._rule, self._at_ms
        over = kept.fired or at_ms - kept.active_ms - kept.frozen_ms >= rule.for_ms
        state: State = "firing" if over else "pending"
        after = msgspec.structs.replace(_state(kept, state, at_ms), quiet_ms=0, fired=over)
        again = kept.fired and before.state != "firing"
        value = self._value(before.series)
        self._move(before, after, alert_words.holding(rule, value, after, at_ms, again=again))

    def _quiet(self, before: Kept, kept: Kept) -> None:
        rule, at_ms, value = self._rule, self._at_ms, self._value(before.series)
        if not kept.fired:
            self._move(before, None, alert_words.quiet(rule, value, keeps="", after_ms=0))
            return
        kept = msgspec.structs.replace(kept, quiet_ms=kept.quiet_ms or at_ms)
        keeps = []
        if at_ms - kept.quiet_ms < rule.keep_firing_for_ms:
            keeps.append(f"keep_firing_for {duration_text(rule.keep_firing_for_ms)}")
        read = before.series in (self._present or ())
        if self._clear is not None and read and before.series not in self._clear:
            keeps.append(f"clear_condition `{rule.clear_condition}`")
        after = _state(kept, "recovering", at_ms) if keeps else None
        over_ms = at_ms - kept.quiet_ms
        reason = alert_words.quiet(rule, value, keeps=" and ".join(keeps), after_ms=over_ms)
        self._move(before, after, reason)

    def _move(self, before: Kept, after: Kept | None, reason: str) -> None:
        if after is not None:
            self._kept[after.series] = after
        if after is None or after.state != before.state:
            why = _Why(self._at_ms, self._seen, reason, self._value(before.series))
            self._told.append(_transition(self._rule, before, after, why))

    def _overflow(self, left_out: list[Labels]) -> int:
        series = len(self._kept) + len(left_out)
        since_ms = self._alerts.exceeded_ms
        told = _counted(self._rule, since_ms, series, _Why(self._at_ms, self._seen, ""))
        self._told += told
        return (since_ms or self._at_ms) if left_out else 0


def _counted(rule: Rule, since_ms: int, series: int, why: _Why) -> list[Move]:
    """The rule's alert of itself, where it has come to have too many series or has no more."""
    too_many = series > rule.series_max
    if too_many == bool(since_ms):
        return []
    reason = f"{series} series: not more than series_max"
    if too_many:
        reason = alert_words.exceeded(rule, series)
    return [_exceeded(rule, since_ms, series, replace(why, reason=reason))]


def _state(kept: Kept, state: State, at_ms: int) -> Kept:
    since_ms = kept.since_ms if kept.state == state else at_ms
    return msgspec.structs.replace(kept, state=state, since_ms=since_ms)


def _thawed(kept: Kept, at_ms: int) -> Kept:
    """Spans stood still while nobody could tell."""
    if kept.state not in ("no_data", "unknown"):
        return kept
    return _stretched(msgspec.structs.replace(kept, since_ms=at_ms), at_ms - kept.since_ms)


def _stretched(kept: Kept, lost_ms: int) -> Kept:
    quiet_ms = kept.quiet_ms + lost_ms if kept.quiet_ms else 0
    return msgspec.structs.replace(kept, frozen_ms=kept.frozen_ms + lost_ms, quiet_ms=quiet_ms)


def _transition(rule: Rule, before: Kept, after: Kept | None, why: _Why) -> Move:
    if after is None:
        kind: type[Move] = AlertResolved if before.fired else AlertCleared
    else:
        kind = _KINDS[after.state]
    return kind(
        alert=alert_words.alert_of(rule, before.series, why.value, before.active_ms),
        before=before.state,
        after="inactive" if after is None else after.state,
        at_ms=why.at_ms,
        reason=why.reason,
        seen=why.seen,
        annotations=alert_words.annotations_of(rule, before.series, why.value),
    )


def _exceeded(rule: Rule, since_ms: int, series: int, why: _Why) -> Move:
    """The rule's alert of itself: it fires where ``since_ms`` is 0, else it is resolved."""
    kind: type[Move] = AlertResolved if since_ms else AlertFired
    return kind(
        alert=alert_words.exceeded_alert(rule, since_ms or why.at_ms, series),
        before="firing" if since_ms else "inactive",
        after="inactive" if since_ms else "firing",
        at_ms=why.at_ms,
        reason=why.reason,
        seen=why.seen,
    )
