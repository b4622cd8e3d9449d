"""Who is told of alerts, and by whom: receivers of the settings, and the process that has the
notifications to send."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mcp_api.keeping import Kept
from mcp_api.telemetry import Gauge
from mcp_api.tools.times import iso
from streams.config import Settings, all_variables
from streams.log.protocol import EventLog
from streams.notifications.configuration import Configuration, load_configuration
from streams.notifications.delivery import Delivery, ReceiverStatus
from streams.notifications.heartbeat import Heartbeats
from streams.notifications.senders import make_senders
from streams.processors.notify_state import Outstanding, outstanding
from streams.runners.runner import Runner


def configured(settings: Settings) -> Configuration:
    """Receivers and routes; `ConfigError` names the place that is wrong."""
    return load_configuration(settings.alert_receivers, all_variables(os.environ, Path(".env")))


class Telling:
    """Sends what is outstanding and beats for dead man's receivers, while this process' runner has
    the partition in which that is decided. Made inside the event loop that uses it."""

    def __init__(self, log: EventLog, runner: Runner, configuration: Configuration) -> None:
        receivers = configuration.receivers

        def waiting() -> list[Outstanding] | None:
            state = runner.state("notify", 0)
            return None if state is None else list(outstanding(state))

        def new_delivery() -> Delivery:
            return Delivery(log, waiting, runner.changes, receivers, make_senders(receivers))

        self._kept = Kept("nobody is told of alerts")
        self._new_delivery = new_delivery
        self._delivery = new_delivery()
        self._heartbeats = Heartbeats(
            receivers.values(), lambda: runner.newest_tick_ms("evaluate", 0)
        )

    async def run(self) -> None:
        """Until cancelled; begun again after an error, which is told in `problems` meanwhile."""
        await self._kept.run(self._run)

    def failure(self) -> BaseException | None:
        """What ended it, or None: a worker's process is to be started again then."""
        return self._kept.failure()

    def status(self) -> dict[str, ReceiverStatus]:
        """Of each receiver that is told of alerts, by name."""
        return self._delivery.status()

    def problems(self) -> list[str]:
        """Receivers that fail and heartbeats that are not taken, one sentence each."""
        failing = [
            f"receiver {name} fails since {iso(status.failing_since_ms)}: {status.failure}"
            for name, status in self.status().items()
            if status.failing_since_ms is not None
        ]
        beats = self._heartbeats.status().items()
        return [
            *self.standing_still(),
            *failing,
            *(f"heartbeat {name}: {one.failure}" for name, one in beats if one.failure),
        ]

    def standing_still(self) -> list[str]:
        """A sentence while nobody at all is told."""
        return self._kept.problems()

    def gauges(self) -> Iterator[Gauge]:
        """For ``/metrics``."""
        told = self.status()
        kinds: tuple[tuple[str, str, Callable[[ReceiverStatus], float]], ...] = (
            ("waiting", "Notifications that wait for a receiver.", lambda one: one.waiting),
            ("delivered", "Notifications that it took since the start.", lambda one: one.delivered),
            ("failed", "Attempts that failed since the start.", lambda one: one.failed),
            ("failing", "1 while its last answer was a failure.", _is_failing),
        )
        for name, text, value in kinds:
            samples: dict[tuple[str, ...], float] = {
                (receiver,): float(value(one)) for receiver, one in told.items()
            }
            yield Gauge(f"logfire_mcp_receiver_{name}", text, ("receiver",), samples)

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._delivery.run(), name="delivery")
                tasks.create_task(self._heartbeats.run(), name="heartbeats")
        except Exception:
            self._delivery = self._new_delivery()  # this one has closed its senders
            raise


def _is_failing(status: ReceiverStatus) -> bool:
    return status.failing_since_ms is not None
