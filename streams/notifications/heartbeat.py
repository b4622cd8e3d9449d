"""Dead-man's receivers: a POST every so often as long as the pipeline ticks.

Somebody else (healthchecks.io, Dead Man's Snitch, another Alertmanager) raises the alarm when they
do not come any more: what is dead cannot say so itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streams.notifications.receivers import Receiver
from streams.notifications.sending import NotSent, Sent


@dataclass(frozen=True, slots=True)
class HeartbeatStatus:
    """Since the start. ``failure``: why the last beat was not sent or not taken, or ""."""

    beats: int = 0
    failure: str = ""


class Heartbeats:
    """Beats for each receiver of kind ``heartbeat``. It is told nothing of alerts, and a beat is no
    event: one that is missed is not made up for."""

    def __init__(
        self, receivers: Iterable[Receiver], newest_tick_ms: Callable[[], int | None]
    ) -> None:
        """``newest_tick_ms``: the newest tick that the pipeline has absorbed. While it does not
        move, no beat is sent."""
        self._receivers = [each for each in receivers if each.kind == "heartbeat"]
        self._newest_tick_ms = newest_tick_ms
        self._status = {each.name: HeartbeatStatus() for each in self._receivers}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for receiver in self._receivers:
                tasks.create_task(self._beat(receiver))

    def status(self) -> dict[str, HeartbeatStatus]:
        """By the receiver's name."""
        return dict(self._status)

    async def _beat(self, receiver: Receiver) -> None:
        import httpx  # late, as in `senders`

        from streams.notifications.webhook import post

        told_ms: int | None = None
        async with httpx.AsyncClient(timeout=receiver.timeout_s) as client:
            while True:
                tick_ms = self._newest_tick_ms()
                before = self._status[receiver.name]
                if tick_ms is None or tick_ms == told_ms:
                    failure = "the pipeline does not tick"
                    self._status[receiver.name] = HeartbeatStatus(before.beats, failure)
                else:
                    match await post(client, receiver.url, b"", receiver.headers):
                        case Sent():
                            told_ms = tick_ms
                            self._status[receiver.name] = HeartbeatStatus(before.beats + 1)
                        case NotSent(reason):
                            failure = receiver.redacted(reason)
                            self._status[receiver.name] = HeartbeatStatus(before.beats, failure)
                await asyncio.sleep(receiver.every_s)
