"""An embedded log with the notify processor and the delivery, as the server has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.errors import PoisonError
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import decode, encode
from streams.events.topics import ALERTS
from streams.log.protocol import Append, Entry
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from streams.notifications.configuration import Configuration, load_configuration
from streams.notifications.delivery import Delivery
from streams.notifications.senders import make_senders
from streams.processors.notify import NotifyProcessor
from streams.processors.notify_state import Outstanding, outstanding
from streams.runners.local import LocalRunner


@dataclass
class Deliverer:
    """``late_ms``: how much later it is than it is; `Delivery` goes by it."""

    log: SqliteLog
    runner: LocalRunner
    delivery: Delivery
    late_ms: int = 0

    async def happens(self, data: EventData, name: str) -> None:
        event = Event(Envelope(name, "test", wall_clock_ms()), data)
        await self.log.append(Append((Entry(ALERTS, 0, encode(event)),)))

    async def told(self, kind: type[EventData], count: int = 1) -> list[Any]:
        """The first events of a kind in the log, once there are so many."""
        found: list[Any] = []
        async with asyncio.timeout(30):
            async for record in self.log.follow(ALERTS, 0, 0):
                with suppress(PoisonError):
                    data = decode(record.headers, record.body).data
                    found += [data] if isinstance(data, kind) else []
                if len(found) >= count:
                    break
        return found

    def bytes_told(self) -> bytes:
        """All that the topic holds."""
        records = self.log.read_now(ALERTS, 0, 0, records_max=100_000)
        return b"".join(str(record.headers).encode() + record.body for record in records)


@asynccontextmanager
async def delivering(
    folder: Path, receivers: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Deliverer]:
    """With what ``ALERT_RECEIVERS`` says."""
    configuration = load_configuration(receivers, environ or {})
    log = SqliteLog.open(folder / "log.db")
    runner = LocalRunner(log, [NotifyProcessor(configuration.routing)], tick_ms=60_000)
    deliverer = _deliverer(log, runner, configuration)
    runner.start()
    task = asyncio.create_task(deliverer.delivery.run())
    try:
        yield deliverer
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        runner.stop()
        log.close()


def _deliverer(log: SqliteLog, runner: LocalRunner, configuration: Configuration) -> Deliverer:
    deliverer: Deliverer

    def clock() -> int:
        return wall_clock_ms() + deliverer.late_ms

    delivery = Delivery(
        log,
        outstanding_of(runner),
        runner.changes,
        configuration.receivers,
        make_senders(configuration.receivers),
        clock=clock,
    )
    deliverer = Deliverer(log, runner, delivery)
    return deliverer


def outstanding_of(runner: LocalRunner) -> Callable[[], list[Outstanding] | None]:
    """What the runner's notify processor has outstanding, once it is caught up."""

    def now() -> list[Outstanding] | None:
        state = runner.state("notify", 0)
        return None if state is None else list(outstanding(state))

    return now
