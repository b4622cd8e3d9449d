"""The runner on Kafka: processors in the partitions that this process is given, and the clock.

Any number of processes share the partitions. What is done twice (by a process that was replaced
and does not know it yet, or after a crash) has the same numbers and is left out by readers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from streams.domain.ticks import due_tick, until_next_tick_ms
from streams.errors import LogUnavailable, Overloaded
from streams.events.topics import POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.kafka_topics import MESSAGE_BYTES_MAX, Topic, declare_topics
from streams.log.protocol import Append, Record
from streams.log.sleepers import Sleepers
from streams.log.wall_clock import wall_clock_ms
from streams.processors.clock import tick_entries, tick_entry
from streams.processors.seam import Processor
from streams.runners.faust_app import FaustHost
from streams.runners.hosted_agents import Place
from streams.runners.hosted_table import HostedTable
from streams.runners.kafka_cell import KafkaCell
from streams.runners.step_counts import StepCounts

_log = logging.getLogger(__name__)

LEADS: Final[Place] = (POINTS, 0)
"""Whoever has this partition ticks all of them."""
GROUP: Final = "workers"
LOOK_S: Final = 0.5
"""Between looks at the clock and at what is left to do."""
UNDELIVERED_S: Final = 2.0
"""How long records may be there before a processor that gets none reads them itself."""

CHANGELOG: Final = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(MESSAGE_BYTES_MAX),
    # Small segments, soon compacted: it is read back at each start.
    "segment.bytes": str(16 << 20),
    "segment.ms": str(10 * 60_000),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(60 * 60_000),
}


class KafkaRunner:
    """Runs each processor in the partitions that the group gives to this process.

    ``worker_id``: names this process in the group; see `FaustHost`. Records are stepped as
    `KafkaCell` says; any error that is not Kafka's refusal for a time ends it: see `failure`.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        log: KafkaLog,
        processors: Sequence[Processor[Any]],
        *,
        tick_ms: int,
        worker_id: str = "",
        session_timeout_s: float = 10.0,
        clock: Callable[[], int] = wall_clock_ms,
        records_max: int = 64,
        bytes_max: int = 8 << 20,
        flush_every_s: float = 0.5,
    ) -> None:
        self._kafka = kafka
        self._log = log
        self._processors = tuple(processors)
        self._tick_ms = tick_ms
        self._clock = clock
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._flush_every_s = flush_every_s
        self._cells: dict[tuple[str, int], KafkaCell] = {}
        self.steps = StepCounts()
        self._tables: dict[str, HostedTable] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._changed = Sleepers()
        self._last_tick_ms: int | None = None
        self.host = FaustHost(
            kafka,
            app_id=f"{kafka.prefix}{GROUP}",
            instance_id=worker_id,
            session_timeout_s=session_timeout_s,
        )
        """Other agents of the same group may be declared on it before `start`."""
        self.host.on_assigned = self._on_assigned
        for each in self._processors:
            self._tables[each.name] = self.host.table(each.name, log.partitions(each.topic))
        # One agent for all that read a topic: where two have one, Faust may suspend itself between
        # giving a message to the first and to the second, and then waits for ever for both.
        for topic in dict.fromkeys(each.topic for each in self._processors):
            readers = tuple(each for each in self._processors if each.topic == topic)
            self.host.agent(kafka.topic(topic), partial(self._take, readers), name=topic)

    def start(self, timeout_s: float = 60.0) -> None:
        """Makes the tables' topics and joins the group; blocks.

        `LogUnavailable` where Kafka does not answer in time, `ConfigError` where a topic differs.
        """
        changelogs = [
            Topic(self._tables[each.name].topic, self._log.partitions(each.topic), CHANGELOG)
            for each in self._processors
        ]
        asyncio.run(declare_topics(self._kafka, changelogs, timeout_s=timeout_s))
        self.host.start(timeout_s)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Leaves the group; True when all has ended. What is not flushed is done again."""
        return self.host.stop(timeout_s)

    @property
    def topics(self) -> dict[str, str]:
        """Each processor's topic, by the processor's name."""
        return {each.name: each.topic for each in self._processors}

    def lag(self) -> dict[tuple[str, int], int]:
        """(processor, partition) to the records before it, of the partitions of this process."""
        ends = self._log.ends()
        return {key: max(0, ends[c.place] - c.position) for key, c in self._cells.items()}

    def stalled_for_s(self) -> float:
        """Seconds since a processor with records before it last moved, or since a rebalance began
        that has not ended; 0.0 where all is well."""
        ends = self._log.ends()
        now = time.monotonic()
        cells = self._cells.values()
        behind = [now - cell.moving_at for cell in cells if ends[cell.place] > cell.position]
        return max([self.host.unsettled_for_s(), *behind])

    def tick_ahead_s(self) -> float:
        """Seconds by which the newest tick is ahead of this process' clock; 0.0 where it is not."""
        ticks = [cell.newest_tick_ms for cell in list(self._cells.values())]
        newest_ms = max((at_ms for at_ms in ticks if at_ms is not None), default=None)
        return 0.0 if newest_ms is None else max(0.0, (newest_ms - self._clock()) / 1000)

    def state(self, processor: str, partition: int) -> Any | None:
        """See `Runner.state`. A process that was replaced and does not know it yet may answer, as
        long as the log tells nobody of what its successor appends."""
        cell = self._cells.get((processor, partition))
        if cell is None or self.host.failure() is not None or self.host.unsettled_for_s() > 0:
            return None
        return cell.state_at(self._log.ends()[cell.place])

    def changes(self) -> AbstractContextManager[asyncio.Event]:
        """See `Runner.changes`."""
        return self._changed.waking()

    def newest_tick_ms(self, processor: str, partition: int) -> int | None:
        """See `Runner.newest_tick_ms`."""
        cell = self._cells.get((processor, partition))
        return None if cell is None else cell.newest_tick_ms

    def failure(self) -> BaseException | None:
        """What ended it, or None: then the process is to end, and another to take over."""
        return self.host.failure()

    def _on_assigned(self, places: set[Place]) -> None:
        """Cells that stay keep their state, unless another process had the partition meanwhile."""
        cells = {}
        for each in self._processors:
            for partition in sorted(p for topic, p in places if topic == each.topic):
                cell = self._cells.get((each.name, partition))
                if cell is None or cell.was_replaced():
                    cell = KafkaCell(
                        each,
                        partition,
                        self._log,
                        self._tables[each.name],
                        self.steps,
                        records_max=self._records_max,
                        bytes_max=self._bytes_max,
                        flush_every_s=self._flush_every_s,
                    )
                cell.moving_at = time.monotonic()
                cells[each.name, partition] = cell
        self._cells = cells
        self._changed.wake()
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self.host.guarded(self._tick_regularly()))

    async def _take(self, readers: Sequence[Processor[Any]], record: Record) -> None:
        for each in readers:
            await self._cells[each.name, record.partition].take(record)
        self._changed.wake()

    async def _tick_regularly(self) -> None:
        while True:
            try:
                await self._tick()
            except (LogUnavailable, Overloaded) as error:
                _log.warning("the clock could not tick: %s", error)
            ends = await asyncio.to_thread(self._log.ends)
            for cell in list(self._cells.values()):
                if ends[cell.place] <= cell.position:
                    cell.moving_at = time.monotonic()
                    await self._tick_one(cell)
                elif time.monotonic() > cell.moving_at + UNDELIVERED_S and self._has(cell):
                    await cell.catch_up()
                    self._changed.wake()
            until_s = until_next_tick_ms(self._clock(), self._tick_ms) / 1000
            await asyncio.sleep(min(LOOK_S, until_s))

    def _has(self, cell: KafkaCell) -> bool:
        return cell.place in self.host.assigned()

    async def _tick_one(self, cell: KafkaCell) -> None:
        """Of a cell that has caught up: the tick that it wants for itself."""
        if cell.processor.topic == POINTS:
            return
        await cell.restore()
        now_ms, due_ms = self._clock(), cell.due_ms
        if due_ms is None or due_ms > now_ms:
            return
        try:
            await self._log.append(Append((tick_entry(*cell.place, now_ms),)))
        except (LogUnavailable, Overloaded) as error:
            _log.warning("%s could not be ticked: %s", cell.place[0], error)

    async def _tick(self) -> None:
        if LEADS not in self.host.assigned():
            return
        tick_ms = due_tick(self._last_tick_ms, self._clock(), self._tick_ms)
        if tick_ms is None:
            return
        await self._log.append(Append(tick_entries(self._log.partitions(POINTS), tick_ms)))
        self._last_tick_ms = tick_ms
