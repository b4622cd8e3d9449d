"""The alerts that `NotifyProcessor` knows, in change: which groups each is in, what it holds back.

An alert that fires is a member of the group of each of its targets, and of no other but those that
have told its start and still have to tell its end.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streams.domain.alert_groups import ActiveAlert, Group, Hold, Member, with_news
from streams.domain.alert_routing import Router, Source, inhibitor, sources_of
from streams.domain.silences import all_match, in_force, in_force_until
from streams.events.alerting import NotificationSuppressed, Transition
from streams.events.rules import Silence
from streams.processors.notify_state import Maps, Mark

COMMENT_CHARS_MAX = 200
"""Of a silence, in the reason of what it suppresses."""

_ENABLED = Mark()


class Alerts:
    """A step's view of the alerts; the maps are changed, ``sources`` replaced."""

    def __init__(
        self, router: Router, maps: Maps, sources: Mapping[Source, Mapping[str, bool]]
    ) -> None:
        self._router = router
        self._maps = maps
        self.sources = sources

    def rule(self, alert_id: str) -> Mark:
        """Of a rule; one that nothing was told of is enabled and has no cooldown."""
        return self._maps.rules.get(alert_id) or _ENABLED

    def fire(self, told: Transition, now_ms: int, traceparent: str) -> None:
        """An alert fires, for the first time or again."""
        alert = told.alert
        before = self._maps.alerts.get(alert.fingerprint)
        going_on = self._firing(alert.fingerprint)
        after = ActiveAlert(
            alert=alert,
            state=told.after,
            reason=told.reason,
            annotations=told.annotations,
            fired_ms=going_on.fired_ms if going_on else now_ms,
            groups=before.groups if before else (),
            acknowledged=going_on is not None and going_on.acknowledged,
            traceparent=traceparent,
        )
        if going_on is not None:
            self._set_source(alert.fingerprint, going_on.alert.labels, holds=False)
        self._set_source(alert.fingerprint, alert.labels, holds=True)
        self._maps.alerts.put(alert.fingerprint, after)
        self.route(alert.fingerprint, now_ms)

    def change(self, told: Transition) -> None:
        """A firing alert is kept in another state; nothing happens to one that does not fire."""
        active = self._firing(told.alert.fingerprint)
        if active is not None:
            after = msgspec.structs.replace(active, state=told.after, reason=told.reason)
            self._maps.alerts.put(told.alert.fingerprint, after)

    def end(self, fingerprint: str, reason: str, now_ms: int, traceparent: str = "") -> None:
        """It fires no more: groups that told its start are to tell its end."""
        active = self._firing(fingerprint)
        if active is None:
            return
        groups = tuple(key for key in active.groups if self._ended_in(key, fingerprint, now_ms))
        if groups:
            after = msgspec.structs.replace(
                active,
                ended_ms=now_ms,
                state="inactive",
                reason=reason,
                groups=groups,
                traceparent=traceparent,
            )
            self._maps.alerts.put(fingerprint, after)
        else:
            self._maps.alerts.delete(fingerprint)
        if self._set_source(fingerprint, active.alert.labels, holds=False):
            self.wake(now_ms)

    def end_rule(self, alert_id: str, reason: str, now_ms: int) -> list[NotificationSuppressed]:
        """All alerts of a rule end, since nobody evaluates it any more. What is told of those that
        nobody had been told of."""
        suppressed = []
        for fingerprint, active in self._maps.alerts.items():
            if active.alert.alert_id == alert_id and active.ended_ms is None:
                if not any(self._was_told(key, fingerprint) for key in active.groups):
                    suppressed.append(disabled(active.alert.alert_id, fingerprint, reason, now_ms))
                self.end(fingerprint, reason, now_ms)
        return suppressed

    def route_rule(self, alert_id: str, now_ms: int) -> None:
        """The alerts of a rule after its ``notify`` may have changed."""
        for fingerprint, active in self._maps.alerts.items():
            if active.alert.alert_id == alert_id and active.ended_ms is None:
                self.route(fingerprint, now_ms)

    def route_all(self, now_ms: int) -> None:
        """After the configuration may have changed: what it does not have any more is gone."""
        for key, group in self._maps.groups.items():
            if self._router.route(group.path) is None:
                self._maps.groups.delete(key)
        for fingerprint, active in self._maps.alerts.items():
            groups = tuple(key for key in active.groups if self._maps.groups.get(key) is not None)
            if groups != active.groups:
                after = msgspec.structs.replace(active, groups=groups)
                self._maps.alerts.put(fingerprint, after)
            if active.ended_ms is None:
                self.route(fingerprint, now_ms)
            elif not groups:
                self._maps.alerts.delete(fingerprint)

    def route(self, fingerprint: str, now_ms: int) -> None:
        """Joins the groups of the alert's targets, and leaves others that have not told of it."""
        active = self._maps.alerts.get(fingerprint)
        assert active is not None
        labels, notify = active.alert.labels, self.rule(active.alert.alert_id).notify
        targets = {target.key: target for target in self._router.targets(labels, notify)}
        for key, target in targets.items():
            group = self._maps.groups.get(key)
            if group is None:
                group = Group(path=target.path, labels=target.labels, opened_ms=now_ms)
            if fingerprint not in group.members:
                self._put_news(key, group, {**group.members, fingerprint: Member()}, now_ms)
        left = [key for key in active.groups if key not in targets]
        kept = [key for key in left if self._ended_in(key, fingerprint, None)]
        groups = tuple(sorted({*targets, *kept}))
        if groups != active.groups:
            after = msgspec.structs.replace(active, groups=groups)
            self._maps.alerts.put(fingerprint, after)

    def wake(self, now_ms: int) -> None:
        """Something ended that may have held alerts back: their groups look again."""
        for key, group in self._maps.groups.items():
            if any(member.quiet for member in group.members.values()):
                self._put_news(key, group, group.members, now_ms)

    def hold(
        self, fingerprint: str, silences: list[tuple[str, Silence]], now_ms: int
    ) -> tuple[ActiveAlert, Hold | None]:
        """An alert, and what holds it back in every group. ``silences``: those in force."""
        active = self._maps.alerts.get(fingerprint)
        assert active is not None, fingerprint
        labels = active.alert.labels
        for silence_id, silence in silences:
            if all_match(silence.matchers, labels):
                until_ms = in_force_until(silence, now_ms)
                reason = f"silence {silence_id} {silence.comment[:COMMENT_CHARS_MAX]}".rstrip()
                return active, Hold("silence", silence_id, reason, until_ms, holds_end=True)
        if by := inhibitor(self._router.routing, labels, self.sources, fingerprint):
            return active, Hold("inhibition", by, f"alert {by} fires", holds_end=True)
        if active.acknowledged:
            return active, Hold("acknowledged", "", "it is acknowledged")
        cooled_ms = self._cooled_ms(active)
        if now_ms < cooled_ms:
            return active, Hold("cooldown", "", "it was told within its cooldown", cooled_ms)
        return active, None

    def silences(self, now_ms: int) -> list[tuple[str, Silence]]:
        """Those in force."""
        return [each for each in self._maps.silences.items() if in_force(each[1], now_ms)]

    def _cooled_ms(self, active: ActiveAlert) -> int:
        cooling = self._maps.cooling.get(active.alert.fingerprint)
        if cooling is None or cooling.fired_ms == active.fired_ms:
            return 0
        return cooling.told_ms + self.rule(active.alert.alert_id).cooldown_ms

    def _firing(self, fingerprint: str) -> ActiveAlert | None:
        active = self._maps.alerts.get(fingerprint)
        return None if active is None or active.ended_ms is not None else active

    def _was_told(self, key: str, fingerprint: str) -> bool:
        group = self._maps.groups.get(key)
        return group is not None and bool(group.members[fingerprint].told_ms)

    def _ended_in(self, key: str, fingerprint: str, now_ms: int | None) -> bool:
        """Whether it stays a member, since its end is to be told. ``now_ms``: None where it goes
        on, elsewhere."""
        group = self._maps.groups.get(key)
        if group is None or fingerprint not in group.members:
            return False
        if group.members[fingerprint].told_ms:
            if now_ms is not None:
                self._put_news(key, group, group.members, now_ms)
            return True
        members = {each: of for each, of in group.members.items() if each != fingerprint}
        if members:
            self._maps.groups.put(key, msgspec.structs.replace(group, members=members))
        else:
            self._maps.groups.delete(key)
        return False

    def _put_news(self, key: str, group: Group, members: dict[str, Member], now_ms: int) -> None:
        route = self._router.route(group.path)
        assert route is not None, group.path
        group = msgspec.structs.replace(group, members=members)
        self._maps.groups.put(key, with_news(group, route, now_ms))

    def _set_source(self, fingerprint: str, labels: Mapping[str, str], *, holds: bool) -> bool:
        """Whether it is one."""
        found = sources_of(self._router.routing, labels)
        sources = dict(self.sources) if found else self.sources
        for source, both in found.items():
            alerts = dict(sources.get(source, {}))
            if holds:
                alerts[fingerprint] = both
            else:
                alerts.pop(fingerprint, None)
            sources = {**sources, source: alerts}
            if not alerts:
                del sources[source]
        self.sources = sources
        return bool(found)


def disabled(alert_id: str, fingerprint: str, reason: str, now_ms: int) -> NotificationSuppressed:
    """An alert of a rule that is not in force any more is told to nobody."""
    return NotificationSuppressed(alert_id, fingerprint, now_ms, "disabled", "", reason)
