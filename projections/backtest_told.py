"""Who would have been told of a rule's alerts: the notify processor, with nobody to deliver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from projections.alert_answers import SilenceTold
from projections.backtest_report import MOVES_TOLD_MAX, Notifications
from streams.domain.alert_routing import Routing
from streams.domain.alert_states import Move
from streams.events.alerting import (
    AlertCleared,
    AlertPending,
    NotificationRequested,
    NotificationSuppressed,
)
from streams.events.catalogue import Envelope, Event, EventData, Ticked
from streams.events.codec import encode
from streams.events.rules import Rule, RuleCreated, SilenceCreated, SilenceExpired
from streams.events.topics import ALERTS
from streams.log.protocol import Record
from streams.processors.notify import NotifyProcessor


class Told:
    """Feeds `NotifyProcessor` with a rule's transitions, its ticks when they are due, and the
    silences when they were made; counts what comes of it."""

    def __init__(
        self, rule: Rule, routing: Routing, silences: Sequence[SilenceTold], start_ms: int
    ) -> None:
        self._processor = NotifyProcessor(routing)
        self._state = self._processor.restore({}, 0, lambda _begin, _end: [])
        self._offset = 0
        self._moves = 0
        self._until_ms: int | None = None
        self._receivers: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._suppressed: Counter[str] = Counter()
        self._step(start_ms, [RuleCreated(rule)])
        self._coming = sorted(_changes(silences), key=lambda change: change[0], reverse=True)

    def take(self, at_ms: int, moves: Sequence[Move]) -> None:
        """The transitions of a tick; each call is later than the one before."""
        if self._until_ms is not None:
            return
        # as live: what never fired changes nothing for anybody
        told = [each for each in moves if not isinstance(each, AlertPending | AlertCleared)]
        self._moves += len(told)
        if self._moves > MOVES_TOLD_MAX:
            self._until_ms = at_ms
        elif told:
            self._pass(at_ms)
            self._step(at_ms, told)

    def result(self, end_ms: int) -> Notifications:
        """All that would have been told up to the range's end."""
        if self._until_ms is None:
            self._pass(end_ms)
        until_ms = end_ms if self._until_ms is None else self._until_ms
        return Notifications(self._receivers, self._reasons, self._suppressed, until_ms)

    def _pass(self, until_ms: int) -> None:
        """Ticks that are due and silences that change up to a time, in their order."""
        while True:
            due_ms = self._processor.due_ms(self._state)
            changes_ms = self._coming[-1][0] if self._coming else None
            times = [each for each in (due_ms, changes_ms) if each is not None]
            now_ms = min(times, default=until_ms + 1)
            if now_ms > until_ms:
                return
            newest_ms = self._processor.newest_tick_ms(self._state)
            if now_ms == changes_ms:
                self._step(now_ms, [self._coming.pop()[1]])
            else:
                now_ms = now_ms if newest_ms is None else max(now_ms, newest_ms + 1)
                self._step(now_ms, [Ticked(now_ms)])

    def _step(self, at_ms: int, events: Sequence[EventData]) -> None:
        records = [self._record(at_ms, data) for data in events]
        step = self._processor.step(self._state, records)
        self._state = step.state
        for out in step.events:
            match out.data:
                case NotificationRequested(receiver=receiver, reason=reason):
                    self._receivers[receiver] += 1
                    self._reasons[reason] += 1
                case NotificationSuppressed(cause=cause):
                    self._suppressed[cause] += 1
                case _:
                    pass  # a silence that cannot be read silences nothing

    def _record(self, at_ms: int, data: EventData) -> Record:
        message = encode(Event(Envelope(f"backtest/{self._offset}", "backtest", at_ms), data))
        record = Record(ALERTS, 0, self._offset, at_ms, message.headers, message.body)
        self._offset += 1
        return record


def _changes(silences: Sequence[SilenceTold]) -> list[tuple[int, EventData]]:
    changes: list[tuple[int, EventData]] = []
    for told in silences:
        changes.append((told.created_ms, SilenceCreated(told.silence)))
        if told.expired_ms is not None:
            changes.append((told.expired_ms, SilenceExpired(told.silence.id)))
    return changes
