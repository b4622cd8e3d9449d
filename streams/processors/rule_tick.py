"""One tick of one home: versions come and go, every rule that is due is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.domain import alert_states
from streams.domain.alert_memory import Alerts
from streams.domain.alert_states import Changed
from streams.errors import QueryError
from streams.events.alerting import (
    OutageSeen,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    TickRouted,
)
from streams.events.batch import MetricBatch, take
from streams.events.catalogue import EventData, MetricsCollected
from streams.events.labels import series_partition
from streams.events.rules import Rule
from streams.events.topics import ALERTS, POINTS
from streams.processors.rule_evaluation import Expressions, TickReader, recorded
from streams.processors.rule_homes import NONE, Editing
from streams.processors.selected_series import pieces

REASON_CHARS_MAX: Final = 500

Told = tuple[str, EventData, int]
"""Topic, event, partition."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick of a home. ``before_ms``: the tick before; ``seen``: the positions in the points up to
    which it sees; ``outage_ms``: how long nothing ticked before it, 0 for no outage."""

    home: int
    at_ms: int
    before_ms: int | None
    seen: tuple[int, ...]
    outage_ms: int


@dataclass
class Tick:
    """A tick in progress; ``told``: what came of it."""

    rules: Editing
    moment: Moment
    evaluation_ms: int
    told: list[Told] = field(default_factory=list)

    def begin(self, markers: Sequence[TickRouted]) -> None:
        """Takes versions and deletions over."""
        for marker in markers:
            self.rules.tell(marker, len(self.moment.seen))
        for rule_id in sorted({rule_id for marker in markers for rule_id in marker.deleted}):
            homed = self.rules.rules.get(rule_id)
            if homed is not None:
                self._end(homed.in_force() or homed.versions[-1], "the rule was deleted")
                self.rules.delete(rule_id)

    def run(self, expressions: Expressions, reader: TickReader) -> None:
        """Every rule that is due, by id. After an outage all alerts become unknown instead."""
        moment = self.moment
        if moment.outage_ms and self.rules.rules:
            seen = OutageSeen(moment.home, moment.at_ms - moment.outage_ms, moment.at_ms)
            self.told.append((ALERTS, seen, 0))
        for rule_id, homed in sorted(self.rules.rules.items()):
            rule = homed.in_force()
            if rule is None:
                continue
            alerts = self.rules.alerts_of(rule_id)
            if not rule.enabled:
                if alerts is not NONE and alerts.version != rule.version:
                    self._end(rule, "the rule was disabled")
            elif moment.outage_ms:
                if alerts.kept:
                    self._take(rule, self._outage(rule, alerts))
            elif self._is_due(rule, alerts):
                self._evaluate(rule, alerts, expressions, reader)

    def _is_due(self, rule: Rule, alerts: Alerts) -> bool:
        """At the first tick of each of its intervals, and at once for a new version."""
        every_ms, before_ms = rule.interval_ms or self.evaluation_ms, self.moment.before_ms
        if before_ms is None or alerts.version != rule.version:
            return True
        return self.moment.at_ms // every_ms != before_ms // every_ms

    def _evaluate(
        self, rule: Rule, alerts: Alerts, expressions: Expressions, reader: TickReader
    ) -> None:
        try:
            compiled = expressions.of(rule)
            if rule.record:
                batch, series = recorded(rule, reader.values(compiled), self.moment.at_ms)
                self._record(batch)
                changed = alert_states.recorded(
                    rule, alerts, self.moment.at_ms, series, self.moment.seen
                )
            else:
                reading = reader.read(compiled)
                changed = alert_states.evaluated(
                    rule, alerts, self.moment.at_ms, reading, self.moment.seen
                )
        except QueryError as error:
            self._failed(rule, str(error))
        except Exception as error:  # noqa: BLE001  one rule must not stop the others for ever
            self._failed(rule, f"{type(error).__name__}: {error}")
        else:
            self._take(rule, changed)
            self._recovered(rule)

    def _outage(self, rule: Rule, alerts: Alerts) -> Changed:
        moment = self.moment
        return alert_states.outage(rule, alerts, moment.at_ms, moment.outage_ms, moment.seen)

    def _end(self, rule: Rule, why: str) -> None:
        alerts = self.rules.alerts_of(rule.id)
        if alerts is not NONE:
            moment = self.moment
            self._take(rule, alert_states.ended(rule, alerts, moment.at_ms, why, moment.seen))
        self.rules.put_failing(rule.id, "")

    def _take(self, rule: Rule, changed: Changed) -> None:
        alerts, transitions = changed
        self.rules.put_alerts(rule.id, alerts)
        self.told += [(ALERTS, transition, 0) for transition in transitions]

    def _record(self, batch: MetricBatch) -> None:
        """Into the partitions of the points where the series lie."""
        count = len(self.moment.seen)
        places = np.array([series_partition(text, count) for text in batch.labels], dtype=np.int64)
        for partition in np.unique(places).tolist():
            rows = np.flatnonzero(places[batch.series] == partition)
            for piece in pieces(take(batch, rows)):
                self.told.append((POINTS, MetricsCollected(piece), partition))

    def _failed(self, rule: Rule, reason: str) -> None:
        reason = reason[:REASON_CHARS_MAX]
        if self.rules.failing.get(rule.id) != reason:
            self.rules.put_failing(rule.id, reason)
            failed = RuleEvaluationFailed(
                rule.id, rule.version, rule.name, self.moment.at_ms, reason
            )
            self.told.append((ALERTS, failed, 0))

    def _recovered(self, rule: Rule) -> None:
        if rule.id in self.rules.failing:
            self.rules.put_failing(rule.id, "")
            well = RuleEvaluationRecovered(rule.id, rule.version, rule.name, self.moment.at_ms)
            self.told.append((ALERTS, well, 0))
