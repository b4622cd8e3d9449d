"""`AlertQueries`: every question about rules and alerts, typed and bounded."""

from __future__ import annotations

import asyncio
import time

from projections import query_ledger, query_rules
from projections.alert_answers import (
    AlertCounts,
    Alerts,
    CommandAnswer,
    History,
    Rules,
    RuleStatus,
    Silences,
)
from projections.projector import Projector
from streams.errors import NotCaughtUp
from streams.events.alerting import State
from streams.events.batch import AT_MS_MAX, AT_MS_MIN
from streams.events.topics import ALERTS, POINTS

RULES_MAX = 10_000
ALERTS_MAX = 10_000
ENTRIES_MAX = 10_000
SILENCES_MAX = 10_000
"""What one answer holds at most, whatever is asked for."""


class AlertQueries:
    """Reads of the live file, each in a snapshot of its own; call them from a thread (all but
    `wait_for_answer`).

    Every method ends within ``timeout_s`` (`QueryTooExpensive`); `ProjectionError` where the file
    cannot be read. Call `projections.queries.Queries.as_of` before one: it sees at least that.
    """

    def __init__(self, projector: Projector, *, timeout_s: float = 10.0) -> None:
        self._projector = projector
        self._timeout_s = timeout_s

    def rules(self, *, limit: int = 100, skip: int = 0) -> Rules:
        """Rules by name, without the deleted ones."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_rules.rules(reader, None, min(limit, RULES_MAX), skip)

    def rule(self, id_or_name: str) -> RuleStatus | None:
        """None: there is no such rule, or it was deleted."""
        with self._projector.reading(self._timeout_s) as reader:
            found = query_rules.rules(reader, id_or_name, RULES_MAX, 0).rules
        return min(found, key=lambda one: one.rule.id != id_or_name, default=None)

    def alerts(
        self, *, state: State | None = None, alert_id: str | None = None, limit: int = 100
    ) -> Alerts:
        """Alerts that are not inactive; of one state, of one rule."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_rules.alerts(reader, state, alert_id, min(limit, ALERTS_MAX))

    def history(
        self,
        id_or_name: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        fingerprint: str | None = None,
        limit: int = 100,
    ) -> History | None:
        """The ledger of a rule, a deleted one too; both bounds inclusive. ``fingerprint``: what
        concerns this alert and the rule as a whole. None: there never was such a rule."""
        span = (
            AT_MS_MIN if start_ms is None else start_ms,
            AT_MS_MAX if end_ms is None else end_ms,
        )
        homes = sum(topic == POINTS for topic, _ in self._projector.positions())  # as many as homes
        with self._projector.reading(self._timeout_s) as reader:
            return query_ledger.history(
                reader, id_or_name, span, fingerprint, min(limit, ENTRIES_MAX), homes=homes
            )

    def silences(self, *, active_at_ms: int | None = None, limit: int = 100) -> Silences:
        """``active_at_ms``: those between whose start and end that lies (of a recurring one perhaps
        outside its windows); None: all that ever were."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_rules.silences(reader, active_at_ms, min(limit, SILENCES_MAX))

    def answer_to(self, causation_id: str) -> CommandAnswer | None:
        """The answer to the command whose envelope has this id; None: not decided yet, or not
        projected."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_rules.answer(reader, causation_id)

    async def wait_for_answer(
        self, causation_id: str, timeout_s: float = 5.0
    ) -> CommandAnswer | None:
        """`answer_to` as soon as there is one; None after ``timeout_s``. On the event loop."""
        until = time.monotonic() + timeout_s
        while True:
            next_offset = self._projector.positions()[ALERTS, 0]
            answer = await asyncio.to_thread(self.answer_to, causation_id)
            left_s = until - time.monotonic()
            if answer is not None or left_s <= 0:
                return answer
            try:
                await self._projector.wait_for({(ALERTS, 0): next_offset}, left_s)
            except NotCaughtUp:
                return None

    def counts(self) -> AlertCounts:
        """For the status."""
        with self._projector.reading(self._timeout_s) as reader:
            return query_rules.counts(reader)
