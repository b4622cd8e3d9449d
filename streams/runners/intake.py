"""An ingest topic's messages, each partition's in order and without gaps, whatever is delivered.

What a consumer group delivers cannot be relied on for that: around rebalances Faust lets messages
overtake others, and acknowledges some that nobody got. So deliveries only say that there is
something. How far a partition was taken stands in a table, written after what was taken is
durable; what was taken before is skipped, what was left out is read from the topic. Numbered
streams rely on it: a number that comes after a higher one is left out as a repeat.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import LogDamaged, LogUnavailable
from streams.log.asking_again import until_available
from streams.log.kafka_batches import record_of
from streams.log.kafka_config import KafkaConfig
from streams.log.protocol import Record

T = TypeVar("T")

RECORDS_MAX: Final = 256
"""Republished at once."""
ANEW_S: Final = 2.0
"""Between questions about bounds that cannot be true; and for a reader to be closed."""
READ_S: Final = 15.0
BOUNDS_ASKED: Final = 5
_POLL_MS: Final = 500
_NEXT: Final = "next"

_log = logging.getLogger(__name__)


class IntakeTable(Protocol):
    """What an intake asks of its table; `streams.runners.hosted_table.HostedTable`."""

    def values(self, partition: int) -> dict[str, bytes]:
        """All values of a partition."""
        ...

    async def write(self, partition: int, changes: dict[str, bytes | None]) -> None:
        """Returns when they are acknowledged, else `LogUnavailable`."""
        ...


class Intake:
    """For one topic and one event loop. While Kafka refuses, it waits and tries again.

    ``republish`` gets the records of one partition, each once and in order but for what is
    repeated after a crash or by two owners, and returns when what they say is durable.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        topic: str,
        table: IntakeTable,
        republish: Callable[[Sequence[Record]], Awaitable[None]],
    ) -> None:
        self._topic = topic
        self._table = table
        self._republish = republish
        self._source = _Source(kafka, topic)
        self._next: dict[int, int] = {}
        self._looked: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._lock = asyncio.Lock()
        self._began: float | None = None

    async def take(self, records: Sequence[Record]) -> None:
        """Takes these records of one partition, and what lies before them and was not taken.

        Raises `LogDamaged` where the topic is not the one that was read before.
        """
        if records:
            partition = records[0].partition
            await self._alone(lambda: self._take(partition, records))

    async def look(self, partition: int) -> None:
        """Takes what has lain in the topic since the last look without being delivered."""
        await self._alone(lambda: self._look(partition))

    def stalled_for_s(self) -> float:
        """For how long the step under way has been; 0.0 where none is. Any thread."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def behind(self, partition: int) -> int:
        """Offsets before it at the last look. Any thread."""
        return self._behind.get(partition, 0)

    async def close(self) -> None:
        """Disconnects."""
        await self._source.close()

    async def _alone(self, step: Callable[[], Awaitable[None]]) -> None:
        async with self._lock:
            self._began = time.monotonic()
            try:
                await step()
            finally:
                self._began = None

    async def _take(self, partition: int, records: Sequence[Record]) -> None:
        at = await self._position(partition)
        fresh = {record.offset: record for record in records if record.offset >= at}
        run: list[Record] = []
        for offset in sorted(fresh):
            if offset > (run[-1].offset + 1 if run else at):
                await self._absorb(run)
                await self._read_before(partition, offset)
                run = []
            run.append(fresh[offset])
            at = offset + 1
        await self._absorb(run)

    async def _look(self, partition: int) -> None:
        at = await self._position(partition)
        stands, self._looked[partition] = self._looked.get(partition) == at, at
        end = (await self._until(partial(self._source.bounds, partition)))[1]
        if stands and end > at:
            await self._read_before(partition, end)
        self._behind[partition] = max(0, end - self._next[partition])

    async def _read_before(self, partition: int, end: int) -> None:
        """What others left out; there may be nothing: markers and compaction take offsets."""
        at = self._next[partition]
        begin = (await self._until(partial(self._source.bounds, partition)))[0]
        if begin > at:
            _log.error(
                "%s/%d: offsets %d to %d were deleted before anybody took them",
                *(self._topic, partition, at, begin - 1),
            )
            self._next[partition] = begin
        while (at := self._next[partition]) < end:
            records, after = await self._until(partial(self._source.read, partition, at))
            await self._absorb([record for record in records if record.offset < end])
            self._next[partition] = max(self._next[partition], min(after, end))

    async def _absorb(self, run: Sequence[Record]) -> None:
        for first in range(0, len(run), RECORDS_MAX):
            part = run[first : first + RECORDS_MAX]
            await self._republish(part)
            partition, after = part[-1].partition, part[-1].offset + 1
            self._next[partition] = after
            await self._until(partial(self._table.write, partition, {_NEXT: b"%d" % after}))

    async def _position(self, partition: int) -> int:
        """The highest that anybody is known to have reached; at first where the topic begins."""
        stored = int(self._table.values(partition).get(_NEXT, b"-1"))
        known = self._next.get(partition)
        if known is None:
            begin = await self._begin(partition, stored)
            known = begin if stored < 0 else stored
        self._next[partition] = max(known, stored)
        return self._next[partition]

    async def _begin(self, partition: int, stored: int) -> int:
        """The first offset kept. A new leader may know a little late how far the topic goes."""
        for _ in range(BOUNDS_ASKED):
            begin, end = await self._until(partial(self._source.bounds, partition))
            if stored <= end:
                return begin
            await asyncio.sleep(ANEW_S)
        raise LogDamaged(
            f"the ingest topic {self._topic} was made anew: partition {partition} ends at {end} "
            f"and was read up to {stored}; use another name for it"
        )

    async def _until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await until_available(attempt, f"the intake of {self._topic}")


class _Source:
    """Reads the topic at any offset; connected when first asked."""

    def __init__(self, kafka: KafkaConfig, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None

    async def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset kept, and the one after the last."""
        place = TopicPartition(self._topic, partition)

        async def ask(consumer: AIOKafkaConsumer) -> tuple[int, int]:
            begins = await consumer.beginning_offsets([place])
            return begins[place], (await consumer.end_offsets([place]))[place]

        return await self._asked(ask)

    async def read(self, partition: int, offset: int) -> tuple[list[Record], int]:
        """Records from the offset on, and the offset to read at next."""
        place = TopicPartition(self._topic, partition)

        async def ask(consumer: AIOKafkaConsumer) -> tuple[list[Record], int]:
            consumer.assign([place])
            consumer.seek(place, offset)
            found = await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=RECORDS_MAX)
            records = [
                record_of(self._topic, partition, message, message.timestamp)
                for message in found.get(place, ())
            ]
            return records, await consumer.position(place)

        return await self._asked(ask)

    async def close(self) -> None:
        """A later question connects again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.shield(_closed(consumer))

    async def _asked(self, ask: Callable[[AIOKafkaConsumer], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(READ_S):
                if self._consumer is None:
                    self._consumer = AIOKafkaConsumer(
                        **self._kafka.client_options(),
                        client_id="logfire-ingest-reader",
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",
                    )
                    await self._consumer.start()
                return await ask(self._consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise LogUnavailable(f"{self._topic} cannot be read: {error!r}") from error


async def _closed(consumer: AIOKafkaConsumer) -> None:
    try:
        await asyncio.wait_for(consumer.stop(), ANEW_S)
    except (KafkaError, OSError, TimeoutError) as error:
        _log.debug("a reader was not closed in order: %r", error)
