"""`KafkaLog`: the event log on Apache Kafka 3 and 4, for any number of nodes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

from streams.errors import LogUnavailable
from streams.events.topics import TOPICS, partitions_of
from streams.log.ends import Ends
from streams.log.kafka_batches import read_batch, split_batches
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_connection import EARLIEST, READ_TIMEOUT_S, Connection, Place
from streams.log.kafka_ends import PartitionEnds
from streams.log.kafka_keys import RequestKeys
from streams.log.kafka_producer import Producer
from streams.log.kafka_reader import Reader
from streams.log.kafka_topics import META, REQUESTS, Copies, declare_topics, log_topics
from streams.log.kafka_writer import WRITE_TIMEOUT_S, Writer
from streams.log.limits import require_partition
from streams.log.protocol import Append, Receipt, Record, WriterStats
from streams.log.wall_clock import wall_clock_ms

T = TypeVar("T")

OPEN_TIMEOUT_S = 60.0

_CLOSE_S = 1.0
_ENDED_S = 5.0
_COLD_S = 1.0
_READERS = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Limits:
    """See `KafkaLog.open`."""

    queue_bytes_max: int
    open_s: float
    write_s: float
    read_s: float
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What lives in the loop of the log's thread."""

    log_id: str
    copies: Copies
    connection: Connection
    ends: PartitionEnds
    writer: Writer
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class KafkaLog:
    """An `EventLog`; every method may be called from any thread and, where it waits, any loop.

    Any number of nodes may open it. Reads are answered or refused with `LogUnavailable` within 15 s
    and writes within 20 s, usually; once brokers are there again everything goes on by itself.
    """

    gapless = False
    """Transaction markers take offsets, too."""

    def __init__(self, config: KafkaConfig, thread: threading.Thread, parts: _Parts) -> None:
        """Use `open`."""
        self.config = config
        self._thread = thread
        self._loop = parts.loop
        self._parts = parts
        self._topics = _topics(config)
        self._ends = parts.ends
        self._reader = Reader(parts.connection, parts.ends, parts.loop)
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader")
        self._closing = threading.Lock()

    @classmethod
    def open(
        cls,
        config: KafkaConfig,
        *,
        queue_bytes_max: int = 64 << 20,
        timeout_s: float = OPEN_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> Self:
        """Connects, and makes the topics that are not there.

        ``queue_bytes_max``: how much may wait to be acknowledged before `Overloaded`.
        ``write_timeout_s``, ``read_timeout_s``: after which `LogUnavailable`; brokers take about
        ten seconds to give a lost one's partitions a new leader.

        Raises `LogUnavailable` (no broker answers in time), `ConfigError` (a topic differs from the
        configuration; certificates cannot be read).
        """
        opened: Future[_Parts] = Future()
        limits = _Limits(queue_bytes_max, timeout_s, write_timeout_s, read_timeout_s, clock)
        host = _host(config, opened, limits)
        thread = threading.Thread(target=asyncio.run, args=(host,), name="kafka-log", daemon=True)
        thread.start()
        parts = opened.result()
        if not parts.copies.durable:
            _log.warning(
                "Kafka acknowledges with %d copy of each record: what is acknowledged is lost with "
                "its broker's disk. Three brokers with KAFKA_REPLICATION=3 keep it",
                parts.copies.min_insync,
            )
        return cls(config, thread, parts)

    @property
    def log_id(self) -> str:
        return self._parts.log_id

    @property
    def durable(self) -> bool:
        """Whether what is acknowledged outlives the loss of any one broker."""
        return self._parts.copies.durable

    def partitions(self, topic: str) -> int:
        """`InputError` for a topic that the log does not have."""
        require_partition(self._topics, topic, 0)
        return self._topics[topic]

    def submit(self, unit: Append) -> Future[Receipt]:
        """Takes a unit; the future has its receipt once all in-sync replicas have all of it.

        Raised at once: `InputError`, `TooLarge`, `Overloaded`. By the future: `DuplicateRequest`;
        `LogUnavailable`, in time, and then any part of the unit may be in the log or still
        arrive there.
        """
        self._require_open()
        return self._parts.writer.submit(unit)

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        """`read` for threads."""
        require_partition(self._topics, topic, partition)
        self._require_open()
        return self._reader.read(
            (topic, partition), offset, records_max=records_max, bytes_max=bytes_max
        )

    def ends(self) -> Ends:
        """The offset after the last record of each partition; a snapshot.

        What others wrote counts within about 0.1 s. The first question after a while asks the
        brokers, for a second at most; then this never waits.
        """
        if not self._ends.ask() and not self._ends.committed.is_closed():
            with suppress(LogUnavailable):
                self._wait(self._ends.refresh(), _COLD_S)
        return self._ends.now

    def starts(self) -> Ends:
        """The first offset kept in each partition, as it was at most half a minute ago while the
        ends are asked for."""
        return self._ends.starts

    def wait_for(self, wanted: Ends, timeout_s: float) -> bool:
        """Blocks until the end of any partition given is above its offset (True), or the time is
        over or the log closed (False)."""
        with self._ends.watching():
            return self._ends.committed.wait_for(wanted, timeout_s)

    def stats(self) -> WriterStats:
        """What the writer does; its groups are batches on the wire."""
        return self._parts.writer.stats()

    def close(self) -> None:
        """Writes what waits, for a second at most, and disconnects. A second call is fine."""
        with self._closing:
            if self._ends.committed.is_closed():
                return
            self._ends.committed.close()
        self._loop.call_soon_threadsafe(self._parts.stop.set)
        self._thread.join(_CLOSE_S + _ENDED_S)
        self._threads.shutdown(wait=False)

    async def append(self, unit: Append) -> Receipt:
        return await asyncio.wrap_future(self.submit(unit))

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        def work() -> list[Record]:
            return self.read_now(
                topic, partition, offset, records_max=records_max, bytes_max=bytes_max
            )

        self._require_open()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError:
            self._require_open()  # closed a moment ago, and its threads have ended
            raise

    async def follow(self, topic: str, partition: int, offset: int) -> AsyncIterator[Record]:
        require_partition(self._topics, topic, partition)
        committed = self._ends.committed
        with self._ends.watching(), committed.waking() as moved:
            while not committed.is_closed():
                moved.clear()
                try:
                    records = await self.read(topic, partition, offset)
                except LogUnavailable:
                    if committed.is_closed():
                        return
                    raise
                for record in records:
                    yield record
                    offset = record.offset + 1
                if offset >= committed.now[topic, partition]:
                    await moved.wait()

    async def start_positions(self, topic: str) -> dict[int, int]:
        count = self.partitions(topic)
        found = await self._ask(dict.fromkeys(((topic, i) for i in range(count)), EARLIEST))
        return {i: found[topic, i] for i in range(count)}

    async def end_positions(self, topic: str) -> dict[int, int]:
        count = self.partitions(topic)
        await self._in_loop(self._ends.refresh_all(self._parts.connection.timeout_s))
        return {i: self._ends.now[topic, i] for i in range(count)}

    async def offsets_for_time(self, topic: str, at_ms: int) -> dict[int, int]:
        ends = await self.end_positions(topic)
        found = await self._ask(dict.fromkeys(((topic, i) for i in ends), max(0, at_ms)))
        return {
            i: min(found[topic, i], end) if found[topic, i] >= 0 else end for i, end in ends.items()
        }

    async def _ask(self, asked: dict[Place, int]) -> dict[Place, int]:
        return await self._in_loop(self._parts.connection.offsets(asked))

    async def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        if self._ends.committed.is_closed():
            work.close()
            raise LogUnavailable("the log is closed")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except (TimeoutError, CancelledError):
            future.cancel()
            raise LogUnavailable("Kafka did not answer in time") from None

    def _require_open(self) -> None:
        if self._ends.committed.is_closed():
            raise LogUnavailable("the log is closed")


async def _host(config: KafkaConfig, opened: Future[_Parts], limits: _Limits) -> None:
    """The log's thread: opens everything, tells it, and closes it when told to stop."""
    deadline = time.monotonic() + limits.open_s
    connection: Connection | None = None
    producer: Producer | None = None
    tasks: list[asyncio.Task[None]] = []
    try:
        copies = await declare_topics(config, log_topics(config), timeout_s=limits.open_s)
        connection = Connection(config, [*TOPICS, META, REQUESTS], timeout_s=limits.read_s)
        await connection.start(_left(deadline))
        places = [(topic, i) for topic, count in _topics(config).items() for i in range(count)]
        ends = PartitionEnds(connection, places)
        await ends.refresh(starts=True)
        await ends.refresh_all(_left(deadline))
        producer = Producer(config)
        log_id = await _log_id(connection, producer)
        keys = RequestKeys(connection, config.key_horizon_ms, limits.clock)
        await keys.load(_left(deadline))
        topics = _topics(config)
        writer = Writer(
            topics,
            producer,
            keys,
            ends,
            queue_bytes_max=limits.queue_bytes_max,
            timeout_s=limits.write_s,
        )
        for work in (ends.keep_up_to_date(), keys.follow()):
            tasks.append(asyncio.create_task(work))
            tasks[-1].add_done_callback(partial(_tell_death, ends))
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        opened.set_result(_Parts(log_id, copies, connection, ends, writer, loop, stop))
        await stop.wait()
        await writer.close(_CLOSE_S)
    except BaseException as error:
        if opened.done():
            raise
        opened.set_exception(error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if producer is not None:
            await producer.close()
        if connection is not None:
            await connection.close()


def _tell_death(ends: PartitionEnds, task: asyncio.Task[None]) -> None:
    """A task that ends by itself is a bug: those who wait for the log must not wait for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the log's upkeep has ended", exc_info=error)
        ends.committed.fail(LogUnavailable(f"the log's upkeep has ended: {error!r}"))


async def _log_id(connection: Connection, producer: Producer) -> str:
    """What the first record of `META` says; of several nodes that write one, the first wins."""
    place = (META, 0)
    while True:
        start = (await connection.offsets({place: EARLIEST}))[place]
        fetched = await connection.fetch(place, start, bytes_max=1)
        for batch in split_batches(fetched.batches):
            if batch.holds_records:
                return read_batch(batch, *place)[0].body.decode(errors="replace")
        headers = [("ce_type", b"log.created.v1")]
        deadline = asyncio.get_running_loop().time() + WRITE_TIMEOUT_S
        await producer.append(place, (headers, uuid.uuid4().hex.encode()), deadline)


def _left(deadline: float) -> float:
    return max(1.0, deadline - time.monotonic())


def _topics(config: KafkaConfig) -> dict[str, int]:
    return {topic: partitions_of(topic, config.partitions) for topic in TOPICS}
