"""One processor in one partition on Kafka: records in, outputs and table values out.

Outputs are appended first, then the values that state them as made are written (`slots`). After a
crash between the two the outputs are made again, with the same numbers, which readers leave out.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from streams.errors import LogDamaged, OffsetOutOfRange
from streams.events.codec import TICKED
from streams.log.asking_again import PAUSES_S, until_available
from streams.log.ends import Ends
from streams.log.protocol import Append, Entry, EventLog, Record
from streams.processors.seam import HEAD, Processor, Tracked, advance, restore
from streams.runners.slots import Slots, recover, take_over
from streams.runners.step_counts import StepCounts

_log = logging.getLogger(__name__)

T = TypeVar("T")

OUTPUT_BYTES_MAX = 8 << 20
"""Outputs that wait for a flush, and those of one append; one record's can be more."""


class CellLog(EventLog, Protocol):
    """What a cell asks of a log."""

    def read_now(
        self, topic: str, partition: int, offset: int, *, records_max: int = 256
    ) -> list[Record]:
        """`EventLog.read`, for threads."""
        ...

    def starts(self) -> Ends:
        """The first offset kept in each partition."""
        ...


class CellTable(Protocol):
    """What a cell asks of its table; `streams.runners.faust_app.HostedTable`."""

    def values(self, partition: int) -> dict[str, bytes]:
        """All values of a partition."""
        ...

    async def write(self, partition: int, changes: Mapping[str, bytes | None]) -> None:
        """Returns when they are acknowledged, else `LogUnavailable`."""
        ...


class KafkaCell:
    """Absorbs the records of its partition in log order, whatever is delivered.

    What was delivered before is skipped, what was left out is read in the log. A step takes up to
    ``records_max`` records or ``bytes_max`` bytes, or ends with a tick. Ticks flush, but for those
    that come within ``flush_every_s`` of a flush, as when much is caught up with; a prompt
    processor steps with each record and flushes where that made outputs. While Kafka refuses, it
    waits and tries again. Of one event loop.
    """

    def __init__(
        self,
        processor: Processor[Any],
        partition: int,
        log: CellLog,
        table: CellTable,
        steps: StepCounts,
        *,
        records_max: int,
        bytes_max: int,
        flush_every_s: float,
    ) -> None:
        """Looks into the table, which has been read back; the state is restored when needed."""
        self.processor = processor
        self.partition = partition
        self.moving_at = time.monotonic()
        self._log = log
        self._table = table
        self._steps = steps
        self._records_max = records_max
        self._bytes_max = bytes_max
        stored = table.values(partition)
        self._recovered = recover(stored)
        self._slots: Slots = take_over(stored, uuid.uuid4().hex[:12])
        self._tracked: Tracked[Any] | None = None
        self._restoring = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._seen = self._recovered.position
        self._flushed = self._recovered.position
        self._flush_every_s = flush_every_s
        self._flushed_at = -flush_every_s
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        self._changes: dict[str, bytes | None] = dict(self._recovered.values)
        self._outputs: list[Entry] = []
        self._output_bytes = 0

    @property
    def place(self) -> tuple[str, int]:
        """The catalogue's topic, and the partition."""
        return self.processor.topic, self.partition

    @property
    def position(self) -> int:
        """The next offset that it wants."""
        return self._seen

    @property
    def newest_tick_ms(self) -> int | None:
        """The newest tick absorbed; None where it is not known yet."""
        if self._tracked is None:
            return None
        return self.processor.newest_tick_ms(self._tracked.state)

    @property
    def due_ms(self) -> int | None:
        """When its processor wants a tick of its own: never one that it would ignore."""
        if self._tracked is None:
            return None
        due_ms, newest_ms = self.processor.due_ms(self._tracked.state), self.newest_tick_ms
        return due_ms if due_ms is None or newest_ms is None else max(due_ms, newest_ms + 1)

    def state_at(self, end: int) -> Any | None:
        """The state, where it holds all records before ``end`` and its outputs are appended; from
        any thread."""
        tracked = self._tracked  # before the outputs, which `_step` adds before it replaces this
        if tracked is None or self._outputs or tracked.position < end:
            return None
        return tracked.state

    def was_replaced(self) -> bool:
        """Whether somebody else has come further in the table than this cell has flushed."""
        found = recover(self._table.values(self.partition))
        return found.position > self._flushed and found.owner != self._slots.owner

    async def take(self, record: Record) -> None:
        """Absorbs a record, and those before it that were not delivered.

        Raises `LogDamaged` where the log no longer holds what the state needs.
        """
        async with self._taking:
            with self._complaining():
                await self.restore()
                if record.offset > self._seen:
                    await self._absorb_before(record.offset)
                if record.offset >= self._seen:
                    await self._absorb(record)

    async def catch_up(self) -> None:
        """Absorbs what the log has and nobody delivers, up to a read's worth; nothing while a
        record is being absorbed. Errors as of `take`.

        A process that ends may commit a record that it had only begun with. Kafka delivers that to
        nobody again, and the next one, which would fill the gap, may be long in coming.
        """
        if self._taking.locked():
            return
        async with self._taking:
            with self._complaining():
                await self.restore()
                read = partial(self._log.read, *self.place, self._seen)
                for record in await self._until_taken(read):
                    await self._absorb(record)

    async def restore(self) -> None:
        """Makes the state from the table and the log, once; `take` does it where nobody has."""
        async with self._restoring:
            if self._tracked is None:
                self._tracked = await self._restored()

    async def flush(self) -> None:
        """Makes durable what was absorbed in whole steps."""
        if HEAD not in self._changes or self._tracked is None:
            return
        for unit in _units(self._outputs):
            await self._until_taken(partial(self._log.append, unit))
        flush = self._slots.flush(self._changes)
        for values in (flush.slots, flush.manifest, flush.spent):
            if values:
                await self._until_taken(partial(self._table.write, self.partition, values))
        self._slots = flush.after
        self._flushed = flush.after.position
        self._flushed_at = time.monotonic()
        self._changes, self._outputs, self._output_bytes = {}, [], 0

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OffsetOutOfRange as error:
            raise LogDamaged(
                f"{self.processor.name}/{self.partition} stands at offset {self._seen}, and what "
                f"it needs is not in the log any more: {error}"
            ) from error

    async def _absorb_before(self, end: int) -> None:
        while self._seen < end:
            records = await self._until_taken(partial(self._log.read, *self.place, self._seen))
            if not records:
                await asyncio.sleep(PAUSES_S[0])  # a new leader may not have heard of it yet
                continue
            for record in records:
                if record.offset < end:
                    await self._absorb(record)
            if records[-1].offset >= end:
                self._seen = end  # markers may be all that lay before it

    async def _absorb(self, record: Record) -> None:
        self._waiting.append(record)
        self._waiting_bytes += len(record.body)
        self._seen = record.offset + 1
        self.moving_at = time.monotonic()
        ticked = record.headers.get("ce_type") == TICKED
        prompt = self.processor.prompt
        full = len(self._waiting) >= self._records_max or self._waiting_bytes >= self._bytes_max
        if ticked or full or prompt:
            await self._step()
        due = (ticked or prompt) and time.monotonic() >= self._flushed_at + self._flush_every_s
        if due or (prompt and self._outputs) or self._output_bytes >= OUTPUT_BYTES_MAX:
            await self.flush()

    async def _step(self) -> None:
        """In a thread of its own, since a processor may read back in the log."""
        assert self._tracked is not None
        step = partial(advance, self.processor, self.partition, self._tracked, self._waiting)
        with self._steps.step(self.processor.name, self.partition, self._waiting):
            after, changes, entries = await self._until_taken(partial(asyncio.to_thread, step))
        self._changes.update(changes)
        self._outputs += entries
        self._tracked = after
        self._output_bytes += sum(len(entry.message.body) for entry in entries)
        self._waiting, self._waiting_bytes = [], 0

    async def _restored(self) -> Tracked[Any]:
        start = self._log.starts()[self.place]
        if start > self._recovered.position:
            raise LogDamaged(
                f"{self.processor.name}/{self.partition} is to go on at offset "
                f"{self._recovered.position}, but {self.place[0]} begins at {start}: its table's "
                "topic was lost, or no worker ran for longer than the retention. What lay between "
                "cannot be made again; a new KAFKA_TOPIC_PREFIX begins anew"
            )
        _log.info("%s/%d goes on at offset %d", self.processor.name, self.partition, self._seen)
        return await self._until_taken(
            lambda: asyncio.to_thread(
                restore, self.processor, self._recovered.values, self._read_back
            )
        )

    def _read_back(self, begin: int, end: int) -> list[Record]:
        """In a thread of its own."""
        records: list[Record] = []
        while begin < end:
            part = self._log.read_now(*self.place, begin, records_max=end - begin)
            records += [record for record in part if record.offset < end]
            begin = part[-1].offset + 1 if part else end
            self.moving_at = time.monotonic()
        return records

    async def _until_taken(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Whoever watches `moving_at` ends a process that tries in vain."""
        return await until_available(attempt, f"{self.processor.name}/{self.partition}")


def _units(entries: list[Entry]) -> list[Append]:
    """In their order; each up to `OUTPUT_BYTES_MAX`, but at least one entry."""
    units: list[list[Entry]] = []
    size = 0
    for entry in entries:
        size += len(entry.message.body)
        if not units or size > OUTPUT_BYTES_MAX:
            units.append([])
            size = len(entry.message.body)
        units[-1].append(entry)
    return [Append(tuple(unit)) for unit in units]
