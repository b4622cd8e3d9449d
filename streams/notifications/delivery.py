"""Notifications from the log to their receivers, with what came of each in the log.

An attempt is durable before it is made, and so is its outcome after it (design: effects are
consumers whose outcome is an event). So whatever is killed when, each notification reaches a
receiver that lives at least once. What is tried again has the same key and says so, also after a
failure: what failed here may have arrived there. Replay sends nothing, since the outcomes are in
the log.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from streams import tracing
from streams.errors import LogError, Overloaded
from streams.events.alerting import (
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
)
from streams.events.catalogue import Envelope, Event
from streams.events.codec import decode, encode
from streams.events.topics import ALERTS
from streams.log.protocol import Append, Entry, EventLog
from streams.log.sleepers import woken
from streams.log.wall_clock import wall_clock_ms
from streams.notifications.receivers import Receiver
from streams.notifications.sending import NotSent, Outcome, Sender, Sent
from streams.processors.notify_state import Outstanding

_log = logging.getLogger(__name__)

LOOK_S = (0.1, 1.0)
"""Between two looks at what is outstanding: the least, and the most where nothing changes."""

BACK_OFF_S = (1.0, 300.0)
"""After the first failure of a notification, and the longest; each is twice the one before."""

GIVE_UP_MS = 24 * 3_600_000
"""How old a notification may be when it is tried again."""

REASON_CHARS_MAX = 500

_Told = NotificationDelivered | NotificationFailed


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """Since the start. ``waiting``: outstanding now. ``failing_since_ms``: None while its last
    answer was good, or before the first; ``failure``: the last, or ""."""

    waiting: int = 0
    delivered: int = 0
    failed: int = 0
    failing_since_ms: int | None = None
    failure: str = ""


@dataclass(slots=True)
class _Line:
    """One receiver: a failing one is asked with one notification at a time, at ``resume_ms``."""

    status: ReceiverStatus
    resume_ms: int = 0
    busy: int = 0


class Delivery:
    """Sends what is outstanding; one task for all receivers, none waits for another.

    A receiver has at most ``Receiver.parallel`` notifications in flight, and one while it fails.
    Those of one receiver and group go in their order. A failed one is tried again after a back-off
    (or what the receiver asks for), until it is a day old; then it is given up, as one is at once
    that the receiver says it will never take, or whose receiver is not configured.
    """

    def __init__(
        self,
        log: EventLog,
        outstanding: Callable[[], Sequence[Outstanding] | None],
        changes: Callable[[], AbstractContextManager[asyncio.Event]],
        receivers: Mapping[str, Receiver],
        senders: Mapping[str, Sender],
        *,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``outstanding``: `streams.processors.notify_state.outstanding` of the notify processor's
        state; None while it is not this process's, or has not absorbed all of the alerts topic.
        ``changes``: when to look again, as of `streams.runners.runner.Runner`. ``senders``: by
        `streams.notifications.senders.make_senders`; `run` closes them."""
        self._log = log
        self._outstanding = outstanding
        self._changes = changes
        self._receivers = receivers
        self._senders = senders
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._settled: dict[str, _Told] = {}

    async def run(self) -> None:
        """Until cancelled. What is in flight then has no outcome, and is sent again, marked."""
        try:
            with self._changes() as changed:
                while True:
                    changed.clear()
                    self._reap()
                    waiting = self._outstanding()
                    if waiting is not None:
                        self._begin(waiting)
                    await asyncio.sleep(LOOK_S[0])
                    if not waiting and not self._tasks:
                        await woken(changed, LOOK_S[1])
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            for sender in self._senders.values():
                await sender.close()

    def status(self) -> dict[str, ReceiverStatus]:
        """Of each receiver that has a sender or that something was to be sent to, by name."""
        lines = {name: _Line(ReceiverStatus()) for name in self._senders} | self._lines
        return {name: line.status for name, line in sorted(lines.items())}

    def _reap(self) -> None:
        for key in [key for key, task in self._tasks.items() if task.done()]:
            self._tasks.pop(key).result()  # a bug ends the delivery, in sight

    def _begin(self, waiting: Sequence[Outstanding]) -> None:
        """Starts what may be sent now."""
        ids = {each.id for each in waiting}
        self._settled = {id_: told for id_, told in self._settled.items() if id_ in ids}
        queues: dict[str, dict[str, Outstanding]] = {}
        counts: dict[str, int] = {}
        for each in waiting:
            counts[each.receiver] = counts.get(each.receiver, 0) + 1
            if not self._is_final(each):
                queues.setdefault(each.receiver, {}).setdefault(each.group, each)
        for name in {*counts, *self._lines}:
            line = self._lines.setdefault(name, _Line(ReceiverStatus()))
            line.status = replace(line.status, waiting=counts.get(name, 0))
            self._begin_line(name, line, list(queues.get(name, {}).values()))

    def _begin_line(self, name: str, line: _Line, queue: list[Outstanding]) -> None:
        """Of a failing receiver the one that was tried least is the probe: one that it cannot
        digest does not stop the others."""
        now_ms = self._clock()
        receiver = self._receivers.get(name)
        failing = line.status.failing_since_ms is not None
        room = 1 if failing or receiver is None else receiver.parallel
        if now_ms < line.resume_ms:
            return
        for each in sorted(queue, key=lambda each: (each.attempt, each.offset)):
            if line.busy >= room:
                return
            if each.id in self._tasks or self._is_old(each):
                continue
            if each.retry_ms <= now_ms:
                line.busy += 1
                self._tasks[each.id] = asyncio.create_task(self._deliver(each, line))

    def _is_final(self, each: Outstanding) -> bool:
        match self._settled.get(each.id):
            case NotificationDelivered() | NotificationFailed(retry_ms=None):
                return True
            case _:
                return False

    def _is_old(self, each: Outstanding) -> bool:
        """Whether the outcome that this process wrote is not absorbed yet."""
        told = self._settled.get(each.id)
        if told is None:
            return False
        return each.attempt < told.attempt or (each.attempt == told.attempt and each.open)

    async def _deliver(self, each: Outstanding, line: _Line) -> None:
        attempt = each.attempt + 1
        try:
            request, traceparent = await self._request(each)
            begun = NotificationAttempted(
                each.id, each.receiver, attempt, self._clock(), again=each.attempt > 0
            )
            await self._append(begun, attempt, traceparent)
            outcome = await self._send(request, begun.again, traceparent)
            told = self._told(each, attempt, outcome)
            await self._append_surely(told, attempt, traceparent)
            self._settle(line, told)
        except (LogError, Overloaded) as error:
            _log.warning("notification %s waits for the log: %s", each.id, error)
        finally:
            line.busy -= 1

    async def _send(self, request: NotificationRequested, again: bool, traceparent: str) -> Outcome:
        sender = self._senders.get(request.receiver)
        if sender is None:
            return NotSent("no such receiver is configured (ALERT_RECEIVERS)", final=True)
        attributes: tracing.Attributes = {"notification": request.id, "alerts": len(request.alerts)}
        with tracing.span(f"notify {request.receiver}", attributes, parent=traceparent) as span:
            try:
                outcome = await sender.send(request, again=again)
            except Exception as error:  # noqa: BLE001  a bug in one sender is no other's loss
                reason = self._said(request.receiver, f"{type(error).__name__}: {error}")
                _log.error("sending to %s failed: %s", request.receiver, reason)
                outcome = NotSent(reason)
            if isinstance(outcome, NotSent):
                span.fail(self._said(request.receiver, outcome.reason))
            return outcome

    def _told(self, each: Outstanding, attempt: int, outcome: Outcome) -> _Told:
        now_ms = self._clock()
        match outcome:
            case Sent(detail):
                detail = self._said(each.receiver, detail)
                return NotificationDelivered(each.id, each.receiver, attempt, now_ms, detail)
            case NotSent(reason, final, retry_after_s):
                longest_s = BACK_OFF_S[1]
                pause_s = min(BACK_OFF_S[0] * 2 ** min(attempt - 1, 16), longest_s)
                pause_s = min(max(pause_s, retry_after_s or 0.0), longest_s)
                retry_ms = now_ms + round(pause_s * 1000)
                final = final or retry_ms > each.at_ms + GIVE_UP_MS
                reason = self._said(each.receiver, reason)
                return NotificationFailed(
                    each.id, each.receiver, attempt, now_ms, reason, None if final else retry_ms
                )

    def _said(self, receiver: str, text: str) -> str:
        """Without the receiver's secrets: events are for ever."""
        known = self._receivers.get(receiver)
        text = text if known is None else known.redacted(text)
        return text[:REASON_CHARS_MAX]

    def _settle(self, line: _Line, told: _Told) -> None:
        self._settled[told.id] = told
        status = line.status
        if isinstance(told, NotificationDelivered):
            line.resume_ms = 0
            line.status = replace(
                status, delivered=status.delivered + 1, failing_since_ms=None, failure=""
            )
            return
        since_ms = status.failing_since_ms
        line.status = replace(
            status,
            failed=status.failed + 1,
            failing_since_ms=told.at_ms if since_ms is None else since_ms,
            failure=told.reason,
        )
        line.resume_ms = told.retry_ms or 0

    async def _request(self, each: Outstanding) -> tuple[NotificationRequested, str]:
        """With its traceparent."""
        (record, *_) = await self._log.read(ALERTS, 0, each.offset, records_max=1)
        data = decode(record.headers, record.body).data
        assert isinstance(data, NotificationRequested), each
        return data, tracing.traceparent_of(record)

    async def _append_surely(self, told: _Told, attempt: int, traceparent: str) -> None:
        for pause_s in itertools.chain((0.1, 0.5), itertools.repeat(BACK_OFF_S[0])):
            try:
                return await self._append(told, attempt, traceparent)
            except (LogError, Overloaded) as error:
                _log.warning("the outcome of notification %s waits for the log: %s", told.id, error)
            await asyncio.sleep(pause_s)
        raise AssertionError("it is tried for ever")

    async def _append(
        self, data: NotificationAttempted | _Told, attempt: int, traceparent: str
    ) -> None:
        kind = type(data).__name__.removeprefix("Notification").lower()
        envelope = Envelope(
            id=f"delivery/{kind}/{data.id}/{attempt}",
            source="delivery",
            time_ms=self._clock(),
            correlation_id=data.id,
            traceparent=traceparent,
        )
        await self._log.append(Append((Entry(ALERTS, 0, encode(Event(envelope, data))),)))
