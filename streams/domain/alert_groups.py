"""What a group of alerts tells its receiver, and when.

The timing is Alertmanager's: the first word ``group_wait`` after the first alert, news at most once
in ``group_interval``, the same again after ``repeat_interval``. An alert that ends before its group
has said a word is told to nobody; one whose start was told has its end told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from streams.domain.alert_routing import Route
from streams.domain.silences import in_window, window_end_ms
from streams.events.alerting import Alert, NotificationRequested, NotificationSuppressed, State
from streams.events.rules import Recurrence

BODY_BYTES_MAX = 400_000
"""Of the alerts that a notification lists; the others are counted."""

REASON_CHARS_MAX = 1_000
"""Of an alert that alone is over `BODY_BYTES_MAX`; its annotations are left out."""

Cause = Literal["silence", "acknowledged", "inhibition", "cooldown", "disabled"]
Reason = Literal["new", "changed", "repeat", "resolved", "escalation", "digest", "test"]


class ActiveAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert that fires, or whose end is still to be told. ``groups``: the keys of its groups.
    ``fired_ms``: when this run of it began; ``ended_ms``: None while it fires. ``traceparent``: of
    the call that fired or ended it, "" for none."""

    alert: Alert
    state: State
    reason: str
    annotations: dict[str, str]
    fired_ms: int
    groups: tuple[str, ...] = ()
    ended_ms: int | None = None
    acknowledged: bool = False
    traceparent: str = ""


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """An alert in a group. ``told_ms``: since when the receiver knows that it fires; 0: it does
    not. ``quiet``: why it was held back last, as it was told."""

    told_ms: int = 0
    escalated: bool = False
    quiet: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``due_ms``: when something may be to be told; None: not as things stand. ``told_ms``: when
    something last was; 0: never."""

    path: str
    labels: dict[str, str]
    opened_ms: int
    members: dict[str, Member] = {}
    due_ms: int | None = None
    told_ms: int = 0


class Hold(msgspec.Struct, frozen=True):
    """Why an alert is not told. ``until_ms``: when that may end by itself. ``holds_end``: whether
    its end is not told either."""

    cause: Cause
    by: str
    reason: str
    until_ms: int | None = None
    holds_end: bool = False


class Flushed(msgspec.Struct, frozen=True):
    """``group``: None where nothing is left of it. ``told``: fingerprints of which the start was
    told now. ``requests`` have no id yet."""

    group: Group | None
    requests: tuple[NotificationRequested, ...] = ()
    suppressed: tuple[NotificationSuppressed, ...] = ()
    told: tuple[str, ...] = ()


Look = Callable[[str], tuple[ActiveAlert, Hold | None]]
"""An alert by its fingerprint, and what holds it back."""


def with_news(group: Group, route: Route, now_ms: int) -> Group:
    """The group when one of its alerts began or ended: due as soon as it may tell."""
    due_ms = max(now_ms, _earliest_ms(group, route))
    if group.due_ms is not None:
        due_ms = min(due_ms, group.due_ms)
    return msgspec.structs.replace(group, due_ms=due_ms)


def mute_of(route: Route, times: Mapping[str, Recurrence], at_ms: int) -> Hold | None:
    """What holds back all alerts of a route: the first of its mute times that it is."""
    for name in route.mute:
        if name in times and in_window(times[name], at_ms):
            until_ms = window_end_ms(times[name], at_ms)
            return Hold("silence", name, f"it is the mute time {name}", until_ms, holds_end=True)
    return None


def flush(
    group: Group,
    route: Route,
    look: Look,
    *,
    mute: Hold | None,
    now_ms: int,
    alerts_max: int,
) -> Flushed:
    """What is told of a group that is due, what is held back and why, and the group after it."""
    sorting = _Sorting(route, look, mute, now_ms)
    for fingerprint in sorted(group.members):
        sorting.take(fingerprint, group.members[fingerprint])
    repeats = bool(sorting.firing) and 0 < group.told_ms <= now_ms - route.repeat_interval_ms
    requests: list[NotificationRequested] = []
    told: tuple[str, ...] = ()
    if sorting.new or sorting.ended or repeats:
        earliest_ms = _earliest_ms(group, route)
        if now_ms < earliest_ms:
            sorting.due.append(earliest_ms)
        else:
            requests = [sorting.request(group, alerts_max)]
            requests += sorting.ended_escalations(group, alerts_max)
            told = tuple(sorting.new)
            sorting.settle()
            group = msgspec.structs.replace(group, told_ms=now_ms)
    requests += sorting.escalations(group, alerts_max)
    if sorting.firing and group.told_ms:
        repeat_ms = group.told_ms + route.repeat_interval_ms
        sorting.due.append(max(repeat_ms, _earliest_ms(group, route)))
    return Flushed(sorting.group(group), tuple(requests), tuple(sorting.suppressed), told)


def listed(alerts: list[ActiveAlert], alerts_max: int) -> tuple[tuple[dict[str, Any], ...], int]:
    """The first of them as a notification has them, and how many are left out."""
    found: list[dict[str, Any]] = []
    size = 0
    for active in alerts[:alerts_max]:
        entry = _entry(active)
        entry_bytes = len(msgspec.json.encode(entry))
        if entry_bytes > BODY_BYTES_MAX:
            entry = {**entry, "annotations": {}, "reason": active.reason[:REASON_CHARS_MAX]}
        size += entry_bytes
        if found and size > BODY_BYTES_MAX:
            break
        found.append(entry)
    return tuple(found), len(alerts) - len(found)


class _Sorting:
    """The members of a group that is flushed, by what is to be done with them."""

    def __init__(self, route: Route, look: Look, mute: Hold | None, now_ms: int) -> None:
        self._route = route
        self._look = look
        self._mute = mute
        self._now_ms = now_ms
        self._alerts: dict[str, ActiveAlert] = {}
        self._members: dict[str, Member] = {}
        self.firing: list[str] = []
        self.new: list[str] = []
        self.ended: list[str] = []
        self.due: list[int] = []
        self.suppressed: list[NotificationSuppressed] = []

    def take(self, fingerprint: str, member: Member) -> None:
        active, hold = self._look(fingerprint)
        fires = active.ended_ms is None
        if not fires and not member.told_ms:
            return
        if hold is not None and hold.cause == "cooldown" and member.told_ms:
            hold = None  # this receiver was not told that it ended, so it is nothing new
        hold = hold or self._mute
        if hold is not None and (fires or hold.holds_end):
            self._members[fingerprint] = self._held(active.alert, member, hold)
            return
        self._alerts[fingerprint] = active
        self._members[fingerprint] = msgspec.structs.replace(member, quiet="")
        if not fires:
            self.ended.append(fingerprint)
            return
        self.firing.append(fingerprint)
        if not member.told_ms:
            self.new.append(fingerprint)

    def request(self, group: Group, alerts_max: int) -> NotificationRequested:
        """News first, then what is known, then what has ended."""
        known = [each for each in self.firing if each not in set(self.new)]
        reason: Reason = "repeat"
        if self.new or self.ended:
            reason = "changed" if group.told_ms else "new"
        if not self.firing:
            reason = "resolved"
        return self._made(group, self.new + known + self.ended, reason, "", alerts_max)

    def ended_escalations(self, group: Group, alerts_max: int) -> list[NotificationRequested]:
        ended = [each for each in self.ended if self._members[each].escalated]
        to = self._route.escalation
        if not ended or to is None:
            return []
        return [self._made(group, ended, "resolved", to.to, alerts_max)]

    def settle(self) -> None:
        """After what is to be told was."""
        for fingerprint in self.new:
            member = self._members[fingerprint]
            self._members[fingerprint] = msgspec.structs.replace(member, told_ms=self._now_ms)
        for fingerprint in self.ended:
            del self._members[fingerprint]

    def escalations(self, group: Group, alerts_max: int) -> list[NotificationRequested]:
        to = self._route.escalation
        if to is None:
            return []
        found = []
        for fingerprint in self.firing:
            member = self._members[fingerprint]
            if member.escalated or not member.told_ms:
                continue
            if member.told_ms + to.after_ms > self._now_ms:
                self.due.append(member.told_ms + to.after_ms)
                continue
            found.append(fingerprint)
            self._members[fingerprint] = msgspec.structs.replace(member, escalated=True)
        return [self._made(group, found, "escalation", to.to, alerts_max)] if found else []

    def group(self, group: Group) -> Group | None:
        if not self._members:
            return None
        due_ms = min(self.due, default=None)
        return msgspec.structs.replace(group, members=self._members, due_ms=due_ms)

    def _held(self, alert: Alert, member: Member, hold: Hold) -> Member:
        if hold.until_ms is not None:
            self.due.append(hold.until_ms)
        quiet = f"{hold.cause} {hold.by}"
        if quiet != member.quiet:
            self.suppressed.append(
                NotificationSuppressed(
                    alert.alert_id,
                    alert.fingerprint,
                    self._now_ms,
                    hold.cause,
                    hold.by,
                    f"{self._route.receiver} is not told: {hold.reason}",
                )
            )
        return msgspec.structs.replace(member, quiet=quiet)

    def _made(
        self, group: Group, found: list[str], reason: Reason, to: str, alerts_max: int
    ) -> NotificationRequested:
        alerts = [self._alerts[fingerprint] for fingerprint in found]
        entries, left_out = listed(alerts, alerts_max)
        if left_out and reason in ("new", "changed"):
            reason = "digest"
        fires = any(active.ended_ms is None for active in alerts)
        return NotificationRequested(
            id="",
            receiver=to or self._route.receiver,
            group=group.labels,
            status="firing" if fires else "resolved",
            reason=reason,
            at_ms=self._now_ms,
            alerts=entries,
            left_out=left_out,
        )


def _earliest_ms(group: Group, route: Route) -> int:
    if group.told_ms:
        return group.told_ms + route.group_interval_ms
    return group.opened_ms + route.group_wait_ms


def _entry(active: ActiveAlert) -> dict[str, Any]:
    alert = active.alert
    return {
        "status": "firing" if active.ended_ms is None else "resolved",
        "fingerprint": alert.fingerprint,
        "alert_id": alert.alert_id,
        "version": alert.version,
        "name": alert.name,
        "severity": alert.severity,
        "state": active.state,
        "labels": dict(sorted(alert.labels.items())),  # a table value forgets their order
        "annotations": dict(sorted(active.annotations.items())),
        "value": alert.value,
        "reason": active.reason,
        "starts_ms": active.fired_ms,
        "ends_ms": active.ended_ms,
    }
