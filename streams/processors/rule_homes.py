"""The rules of one home: which version is in force, and its alerts, as table values by rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.domain import alert_memory
from streams.domain.alert_memory import Alerts
from streams.events.alerting import TickRouted
from streams.events.rules import Rule

RULE: Final = "rule/"
ALERTS_OF: Final = "alerts/"
FAILING: Final = "failing/"
NONE: Final = Alerts()


class Homed(msgspec.Struct, frozen=True):
    """Versions of a rule, ascending, and the newest that each source has told of (0: none)."""

    versions: tuple[Rule, ...]
    told: tuple[int, ...]

    def in_force(self) -> Rule | None:
        """The newest version that all sources route for; None: the rule is warming."""
        number = min(self.told)
        return next((rule for rule in reversed(self.versions) if rule.version <= number), None)


@dataclass(frozen=True, slots=True)
class Home:
    """All rules by id, the alerts of those that have some memory, and why some fail."""

    rules: Mapping[str, Homed] = field(default_factory=dict)
    alerts: Mapping[str, Alerts] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)


def stored(table: Mapping[str, bytes]) -> Home:
    """The inverse of what `Editing` tells."""
    rules: dict[str, Homed] = {}
    alerts: dict[str, Alerts] = {}
    failing: dict[str, str] = {}
    for key, value in sorted(table.items()):
        kind, _, rule_id = key.partition("/")
        match f"{kind}/":
            case "rule/":
                rules[rule_id] = msgspec.json.decode(value, type=Homed)
            case "alerts/":
                alerts[rule_id] = alert_memory.unpack(value)
            case "failing/":
                failing[rule_id] = value.decode()
            case _:
                pass
    return Home(rules, alerts, failing)


class Editing:
    """A home in change: copies its maps once something in them changes, and tells table values.

    ``edits``: how often a rule was put or deleted.
    """

    def __init__(self, before: Home) -> None:
        self._before = before
        self._rules: dict[str, Homed] | None = None
        self._alerts: dict[str, Alerts] | None = None
        self._failing: dict[str, str] | None = None
        self.changes: dict[str, bytes | None] = {}
        self.edits = 0

    @property
    def rules(self) -> Mapping[str, Homed]:
        return self._before.rules if self._rules is None else self._rules

    @property
    def failing(self) -> Mapping[str, str]:
        return self._before.failing if self._failing is None else self._failing

    def alerts_of(self, rule_id: str) -> Alerts:
        alerts = self._before.alerts if self._alerts is None else self._alerts
        return alerts.get(rule_id, NONE)

    def result(self) -> Home:
        alerts = self._before.alerts if self._alerts is None else self._alerts
        return Home(self.rules, alerts, self.failing)

    def put_alerts(self, rule_id: str, alerts: Alerts) -> None:
        """Nothing happens where they are the same object."""
        if alerts is self.alerts_of(rule_id):
            return
        self._alerts = dict(self._before.alerts) if self._alerts is None else self._alerts
        self._alerts[rule_id] = alerts
        self.changes[ALERTS_OF + rule_id] = alert_memory.pack(alerts)

    def put_failing(self, rule_id: str, reason: str) -> None:
        """``reason``: "" where it fails no more."""
        if self.failing.get(rule_id, "") == reason:
            return
        self._failing = dict(self._before.failing) if self._failing is None else self._failing
        self._failing.pop(rule_id, None)
        self.changes[FAILING + rule_id] = reason.encode() if reason else None
        if reason:
            self._failing[rule_id] = reason

    def tell(self, marker: TickRouted, sources: int) -> None:
        """A source's versions: those that come, and those that it routes for."""
        for rule in (*marker.coming, *marker.rules):
            known = self.rules.get(rule.id, Homed((), (0,) * sources))
            versions = {each.version: each for each in known.versions} | {rule.version: rule}
            told = list(known.told)
            if rule in marker.rules:
                told[marker.source] = max(rule.version, told[marker.source])
            number = min(told)
            oldest = max((each for each in versions if each <= number), default=0)
            kept = tuple(rule for each, rule in sorted(versions.items()) if each >= oldest)
            self._put(rule.id, Homed(kept, tuple(told)))

    def delete(self, rule_id: str) -> None:
        """The rule and all that is remembered of it."""
        self.put_failing(rule_id, "")
        if rule_id in self.rules:
            self._put(rule_id, None)
        if self.alerts_of(rule_id) is not NONE:
            self._alerts = dict(self._before.alerts) if self._alerts is None else self._alerts
            del self._alerts[rule_id]
            self.changes[ALERTS_OF + rule_id] = None

    def _put(self, rule_id: str, homed: Homed | None) -> None:
        self._rules = dict(self._before.rules) if self._rules is None else self._rules
        self._rules.pop(rule_id, None)
        self.edits += 1
        if homed is not None:
            self._rules[rule_id] = homed
        self.changes[RULE + rule_id] = None if homed is None else msgspec.json.encode(homed)
