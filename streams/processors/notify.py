"""Who is told what and when: alerts to `NotificationRequested`, or why not.

It reads all that is in the alerts topic: transitions of alerts, facts about rules and silences, and
the outcomes of its own notifications, so that what is outstanding follows from the log. It decides
only at the ticks that it asks for (`NotifyProcessor.due_ms`), so all that one evaluation fires is
told together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.domain.alert_groups import ActiveAlert, Group, Hold, Look, flush, listed, mute_of
from streams.domain.alert_routing import Router, Routing
from streams.domain.silences import check_silence
from streams.errors import InputError, PoisonError
from streams.events.alerting import (
    Alert,
    AlertCleared,
    AlertFired,
    AlertNoData,
    AlertPending,
    AlertRecovering,
    AlertResolved,
    AlertUnknown,
    NotificationAttempted,
    NotificationDelivered,
    NotificationEvent,
    NotificationFailed,
    NotificationRequested,
    NotificationSuppressed,
)
from streams.events.catalogue import EventData, Ticked
from streams.events.codec import decode
from streams.events.rules import (
    AlertAcknowledged,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    SilenceCreated,
    SilenceExpired,
    TestRequested,
)
from streams.events.topics import ALERTS
from streams.log.protocol import Record
from streams.processors.deadletter import dead_letter
from streams.processors.notify_alerts import Alerts, disabled
from streams.processors.notify_state import Cooling, Maps, Mark, NotifyState, Outstanding, restored
from streams.processors.seam import Out, ReadBack, Step
from streams.tracing import traceparent_of

GONE_MS = 3_600_000
"""How long a deleted rule is remembered: an alert of it that comes late is told to nobody."""


@dataclass(frozen=True)
class NotifyProcessor:
    """Groups, silences, inhibits and routes alerts (by `streams.domain.alert_routing`,
    ``alert_groups`` and ``silences``).

    ``routing`` may change between runs: alerts that fire go by the new one from then on. Memory is
    bounded by the alerts that fire and the notifications that are outstanding.
    """

    routing: Routing = field(default_factory=Routing)
    name: str = field(default="notify", init=False)
    topic: str = field(default=ALERTS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> NotifyState:  # noqa: ARG002
        """The state from its table alone."""
        state = restored(table, self.routing)
        maps = Maps.of(state)
        alerts = Alerts(Router(self.routing), maps, state.sources)
        alerts.route_all(state.times.now_ms)
        return maps.after(state.times, alerts.sources)

    def step(self, state: NotifyState, records: Sequence[Record]) -> Step[NotifyState]:
        """Folds the records; a tick tells what is due."""
        fold = _Fold(self.routing, state)
        for record in records:
            fold.take(record)
        return fold.result()

    def newest_tick_ms(self, state: NotifyState) -> int | None:
        """The time of the newest tick absorbed."""
        return state.times.tick_ms

    def due_ms(self, state: NotifyState) -> int | None:
        """When the first group may have something to tell."""
        return state.due_ms


class _Fold:
    """One step in progress."""

    def __init__(self, routing: Routing, state: NotifyState) -> None:
        self._routing = routing
        self._router = Router(routing)
        self._times = state.times
        self._maps = Maps.of(state)
        self._alerts = Alerts(self._router, self._maps, state.sources)
        self._out: list[Out] = []

    def result(self) -> Step[NotifyState]:
        after = self._maps.after(self._times, self._alerts.sources)
        return Step(after, self._maps.changes(self._times), tuple(self._out))

    def take(self, record: Record) -> None:
        try:
            data = decode(record.headers, record.body).data
            if isinstance(data, SilenceCreated):
                check_silence(data.silence)
        except (PoisonError, InputError) as error:
            self._out.append(dead_letter(record, str(error)))
            return
        self._now(record.at_ms)
        self._fold(data, record)

    def _fold(self, data: EventData, record: Record) -> None:
        now_ms = self._times.now_ms
        match data:
            case Ticked(at_ms):
                self._tick(at_ms, record)
            case AlertFired():
                self._fire(data, record)
            case AlertRecovering() | AlertNoData() | AlertUnknown() | AlertPending():
                self._alerts.change(data)
            case AlertResolved() | AlertCleared():
                trace = traceparent_of(record)
                self._alerts.end(data.alert.fingerprint, data.reason, now_ms, trace)
            case RuleCreated(rule) | RuleUpdated(rule, _):
                self._keep_rule(rule, record)
            case RuleDeleted(rule):
                self._drop_rule(rule, record)
            case SilenceCreated(silence):
                self._keep_silence(silence)
            case SilenceExpired(silence_id):
                self._maps.silences.delete(silence_id)
                self._alerts.wake(now_ms)
            case AlertAcknowledged(alert_id, fingerprint, _):
                self._acknowledge(alert_id, fingerprint)
            case TestRequested(rule):
                self._test(rule, record)
            case (
                NotificationRequested()
                | NotificationAttempted()
                | NotificationDelivered()
                | NotificationFailed()
                | NotificationSuppressed()
            ):
                self._account(data, record)
            case _:
                pass  # tells nothing about who is to be told

    def _now(self, at_ms: int) -> None:
        if at_ms > self._times.now_ms:
            self._times = msgspec.structs.replace(self._times, now_ms=at_ms)

    def _tick(self, at_ms: int, record: Record) -> None:
        if self._times.tick_ms is not None and at_ms <= self._times.tick_ms:
            return
        self._times = msgspec.structs.replace(self._times, tick_ms=at_ms)
        self._now(at_ms)
        now_ms = self._times.now_ms
        due = [
            (group.due_ms, key, group)
            for key, group in self._maps.groups.items()
            if group.due_ms is not None and group.due_ms <= now_ms
        ]
        if not due:
            return
        silences = self._alerts.silences(now_ms)

        def look(fingerprint: str) -> tuple[ActiveAlert, Hold | None]:
            return self._alerts.hold(fingerprint, silences, now_ms)

        for number, (_, key, group) in enumerate(sorted(due, key=lambda each: each[:2])):
            self._flush(key, group, look, record, number)

    def _flush(
        self,
        key: str,
        group: Group,
        look: Look,
        record: Record,
        number: int,
    ) -> None:
        route = self._router.route(group.path)
        assert route is not None, group.path
        now_ms = self._times.now_ms
        flushed = flush(
            group,
            route,
            look,
            mute=mute_of(route, self._routing.times, now_ms),
            now_ms=now_ms,
            alerts_max=self._routing.alerts_max,
        )
        if flushed.group is None:
            self._maps.groups.delete(key)
        else:
            self._maps.groups.put(key, flushed.group)
        for index, request in enumerate(flushed.requests):
            self._request(request, record, f"{number:x}.{index}")
        for fingerprint in group.members:
            if flushed.group is None or fingerprint not in flushed.group.members:
                self._left(key, fingerprint)
        for fingerprint in flushed.told:
            self._cool(fingerprint)
        self._out += [Out(ALERTS, each, record, 0) for each in flushed.suppressed]

    def _request(self, request: NotificationRequested, record: Record, number: str) -> None:
        """Its id has the time besides the offset, so that it is no other log's, either."""
        made = msgspec.structs.replace(request, id=f"{record.at_ms:x}.{record.offset:x}.{number}")
        first = self._maps.alerts.get(request.alerts[0]["fingerprint"]) if request.alerts else None
        traceparent = first.traceparent if first is not None else ""
        self._out.append(Out(ALERTS, made, record, 0, traceparent))

    def _left(self, key: str, fingerprint: str) -> None:
        active = self._maps.alerts.get(fingerprint)
        assert active is not None, fingerprint
        groups = tuple(each for each in active.groups if each != key)
        if groups or active.ended_ms is None:
            self._maps.alerts.put(fingerprint, msgspec.structs.replace(active, groups=groups))
        else:
            self._maps.alerts.delete(fingerprint)

    def _fire(self, told: AlertFired, record: Record) -> None:
        alert, now_ms = told.alert, self._times.now_ms
        mark = self._alerts.rule(alert.alert_id)
        if mark.enabled:
            self._alerts.fire(told, now_ms, traceparent_of(record))
            return
        reason = f"the rule was {'deleted' if mark.gone_ms else 'disabled'}"
        event = disabled(alert.alert_id, alert.fingerprint, reason, now_ms)
        self._out.append(Out(ALERTS, event, record, 0))

    def _keep_rule(self, rule: Rule, record: Record) -> None:
        before, mark = self._alerts.rule(rule.id), Mark.of(rule)
        self._maps.rules.put(rule.id, mark)
        if before.enabled and not mark.enabled:
            self._end_rule(rule, "the rule was disabled", record)
        elif before.notify != mark.notify:
            self._alerts.route_rule(rule.id, self._times.now_ms)

    def _drop_rule(self, rule: Rule, record: Record) -> None:
        now_ms = self._times.now_ms
        for rule_id, mark in self._maps.rules.items():
            if mark.gone_ms and mark.gone_ms <= now_ms - GONE_MS:
                self._maps.rules.delete(rule_id)
        self._maps.rules.put(rule.id, Mark(enabled=False, gone_ms=now_ms))
        self._end_rule(rule, "the rule was deleted", record)

    def _end_rule(self, rule: Rule, reason: str, record: Record) -> None:
        suppressed = self._alerts.end_rule(rule.id, reason, self._times.now_ms)
        self._out += [Out(ALERTS, each, record, 0) for each in suppressed]

    def _keep_silence(self, silence: Silence) -> None:
        for silence_id, each in self._maps.silences.items():
            if each.ends_ms <= self._times.now_ms:
                self._maps.silences.delete(silence_id)
        self._maps.silences.put(silence.id, silence)

    def _acknowledge(self, alert_id: str, fingerprint: str) -> None:
        for each, active in self._maps.alerts.items():
            if active.alert.alert_id == alert_id and fingerprint in ("", each):
                after = msgspec.structs.replace(active, acknowledged=active.ended_ms is None)
                self._maps.alerts.put(each, after)

    def _cool(self, fingerprint: str) -> None:
        """Remembers that the start of an alert was told, as long as its rule's cooldown."""
        active = self._maps.alerts.get(fingerprint)
        assert active is not None, fingerprint
        now_ms, cooling = self._times.now_ms, self._maps.cooling
        if not self._alerts.rule(active.alert.alert_id).cooldown_ms:
            return
        cooling.put(fingerprint, Cooling(now_ms, active.fired_ms))
        if len(cooling) > self._times.cooling_max:
            longest_ms = max(mark.cooldown_ms for _, mark in self._maps.rules.items())
            for each, of in cooling.items():
                if of.told_ms <= now_ms - longest_ms:
                    cooling.delete(each)
            cooling_max = 2 * len(cooling) + 1_000
            self._times = msgspec.structs.replace(self._times, cooling_max=cooling_max)

    def _test(self, rule: Rule, record: Record) -> None:
        """To all receivers that an alert of the rule with no labels but the rule's would go to."""
        labels = {**rule.labels, "alertname": rule.name, "severity": rule.severity, "test": "true"}
        now_ms = self._times.now_ms
        alert = Alert(
            alert_id=rule.id,
            version=rule.version,
            fingerprint="",
            name=rule.name,
            severity=rule.severity,
            labels=labels,
        )
        tested = ActiveAlert(
            alert=alert,
            state="firing",
            reason="somebody asked for a test of the notifications of this rule",
            annotations={},
            fired_ms=now_ms,
        )
        alerts, left_out = listed([tested], 1)
        for number, receiver in enumerate(self._router.receivers(labels, rule.notify)):
            request = NotificationRequested(
                id="",
                receiver=receiver,
                group=labels,
                status="test",
                reason="test",
                at_ms=now_ms,
                alerts=alerts,
                left_out=left_out,
            )
            self._request(request, record, f"test.{number:x}")

    def _account(self, data: NotificationEvent, record: Record) -> None:
        """What is outstanding, by what the log has of it."""
        sending = self._maps.sending
        match data:
            case NotificationRequested():
                group = msgspec.json.encode(sorted(data.group.items())).decode()
                sending.put(
                    data.id,
                    Outstanding(
                        id=data.id,
                        receiver=data.receiver,
                        group=group,
                        offset=record.offset,
                        at_ms=data.at_ms,
                    ),
                )
                return
            case NotificationSuppressed():
                return
        before = sending.get(data.id)
        if before is None:
            return
        match data:
            case NotificationAttempted():
                after = msgspec.structs.replace(before, attempt=data.attempt, open=True)
                sending.put(data.id, after)
            case NotificationFailed() if data.retry_ms is not None:
                after = msgspec.structs.replace(before, open=False, retry_ms=data.retry_ms)
                sending.put(data.id, after)
            case NotificationDelivered() | NotificationFailed():
                sending.delete(data.id)
