"""`Outflow`: what a producer has taken and not yet delivered; bounded, flushed, counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict
from uuid import uuid4

from streams.delivery import Delivery, Outbound
from streams.errors import LogUnavailable
from streams.events.batch import BYTES_MAX, Index, MetricBatch, split_batch
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.slices import SLICES_HEADER, Slice, encode_slices, numbered_key
from streams.events.topics import POINTS
from streams.ingest.outgoing import Columns, Outgoing, Partitioned, Series
from streams.ingest.series_limits import SOURCE_MAX
from streams.log.kafka_config import KafkaConfig
from streams.log.protocol import Message
from streams.log.wall_clock import wall_clock_ms

RECORD_POINTS: Final = 30_000
"""Points are sent once so many wait for each partition."""

INLINE_POINTS_MAX: Final = 20_000
"""More are encoded in a thread, so that the event loop goes on."""


class FlowOptions(TypedDict, total=False):
    """Keyword arguments of a producer: see `FlowLimits`."""

    linger_s: float
    points_in_flight_max: int
    bytes_in_flight_max: int
    delivery_timeout_s: float
    series_max: int


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How much is held and how long; see `streams.producer.MetricsProducer`."""

    linger_s: float = 0.25
    points_in_flight_max: int = 1_000_000
    bytes_in_flight_max: int = 64 << 20
    delivery_timeout_s: float = 120.0
    series_max: int = SOURCE_MAX


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Points since the start. ``sent``: taken; of them ``acked``, ``failed`` and, on their way,
    ``in_flight``. ``dropped``: not taken, since too much was on its way and it was told to."""

    sent: int
    acked: int
    failed: int
    dropped: int

    @property
    def in_flight(self) -> int:
        return self.sent - self.acked - self.failed


class Outflow:
    """Bound to the event loop of `start`; points are taken in any thread."""

    def __init__(self, kafka: KafkaConfig, source: str, limits: FlowLimits) -> None:
        self._limits = limits
        self._points_max, self._bytes_max = 0, 0  # nothing is taken until `start`
        self._source = source
        self.outgoing = Outgoing(source, limits.series_max)
        self._lock = threading.Lock()  # what is counted, and the points that wait
        self._in_flight = self._acked = self._failed = self._dropped = 0
        self._bytes = 0
        self.pressing = False
        """So much waits that the flusher was called: let the event loop go on."""
        self._open = False
        self._stream = f"producer/{uuid4().hex}"
        self._delivery = Delivery(
            kafka, POINTS, timeout_s=limits.delivery_timeout_s, settled=self._settled
        )
        self._group = 0
        self._unsettled: dict[int, int] = {}
        self._lost = 0
        self._error: LogUnavailable | None = None

    async def start(self) -> None:
        """Connects; `LogUnavailable` where the topic cannot be written."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._some = asyncio.Event()
        self._at_once = asyncio.Event()
        self._changed = asyncio.Event()
        self._handing_over = asyncio.Lock()
        partitions = await self._delivery.start()
        self._numbers = [0] * partitions
        self._partitioned = Partitioned(self.outgoing, partitions)
        self._full_at = min(
            RECORD_POINTS * partitions, max(1, self._limits.points_in_flight_max // 2)
        )
        self._flusher = asyncio.create_task(self._flush_regularly(), name="metrics-producer")
        self._points_max = self._limits.points_in_flight_max
        self._bytes_max = self._limits.bytes_in_flight_max
        self._open = True

    @property
    def stats(self) -> ProducerStats:
        """What was counted up to now."""
        with self._lock:
            sent = self._in_flight + self._acked + self._failed
            return ProducerStats(sent, self._acked, self._failed, self._dropped)

    def number(
        self, name: str, labels: Mapping[str, str] | None, metric_type: str, unit: str | None
    ) -> int:
        """The number of a series; `InputError` where it cannot be one."""
        with self._lock:
            return self.outgoing.number(name, labels, metric_type, unit)

    def series(
        self, name: str, labels: Mapping[str, str] | None, metric_type: str, unit: str | None
    ) -> Series:
        """A series by which points can be given; `InputError` where it cannot be one."""
        number = self.number(name, labels, metric_type, unit)
        return Series(self.outgoing.labels[number], number, self.outgoing)

    def numbers(self, series: Sequence[Series]) -> Index:
        """As `Outgoing.numbers`."""
        with self._lock:
            return self.outgoing.numbers(series)

    @property
    def piece_points_max(self) -> int:
        """The most points that `take_columns` can ever take."""
        return min(RECORD_POINTS, self._limits.points_in_flight_max)

    def take_point(self, number: int, at_ms: int, value: float) -> bool:
        """Takes a point, or says that there is no room for it."""
        with self._lock:  # written out: it is called for each point
            if self._in_flight >= self._points_max or self._bytes >= self._bytes_max:
                return self._has_room(1)
            self._in_flight += 1
            outgoing = self.outgoing
            outgoing.add(number, at_ms, value)
            waiting = outgoing.waiting
        if waiting == 1 or waiting >= self._full_at:
            self._took(1, waiting)
        return True

    def take_columns(self, columns: Columns) -> bool:
        """Takes all of them, or says that there is no room."""
        with self._lock:
            if not self._has_room(len(columns)):
                return False
            self._in_flight += len(columns)
            self.outgoing.extend(columns)
            waiting = self.outgoing.waiting
        self._took(len(columns), waiting)
        return True

    def drop(self, points: int) -> None:
        """Counts points that were not taken."""
        with self._lock:
            self._dropped += points

    async def room(self, points: int) -> None:
        """Returns when so many could be taken, or the producer was closed."""
        while self._open and not self._has_room(points):
            self._at_once.set()
            self._some.set()
            await self._changed.wait()

    async def flush(self) -> None:
        """Returns when all that was taken before is acknowledged.

        `LogUnavailable` where some was not, of all that was taken since the last time it was said.
        """
        if self._flusher.done():
            self._flusher.result()  # it ends of itself only by a bug: told here
        await self._hand_over()
        group = self._group
        while any(earlier <= group for earlier in self._unsettled):
            await self._changed.wait()
        lost, error = self._lost, self._error
        self._lost, self._error = 0, None
        if error is not None:
            raise LogUnavailable(
                f"{lost:,} points were not acknowledged; some of them may be in the log: {error}"
            ) from error

    async def close(self) -> None:
        """Takes no more, flushes and ends; what `flush` raises comes when all has ended."""
        if not self._open:
            return
        self._open = False
        self._points_max = 0
        self._change()
        try:
            await self.flush()
        finally:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            await self._delivery.stop()

    def _has_room(self, points: int) -> bool:
        if not self._open:
            raise LogUnavailable("the producer is not open: use it inside its `with` block")
        return self._in_flight + points <= self._points_max and self._bytes < self._bytes_max

    def _took(self, points: int, waiting: int) -> None:
        if waiting == points:
            self._call(self._some)
        if waiting >= self._full_at and not self.pressing:
            self.pressing = True
            self._call(self._at_once)

    def _call(self, event: asyncio.Event) -> None:
        if threading.get_ident() == self._thread:
            event.set()
        else:
            self._loop.call_soon_threadsafe(event.set)

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _flush_regularly(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                async with asyncio.timeout(self._limits.linger_s):
                    await self._at_once.wait()
            except TimeoutError:
                pass
            self._at_once.clear()
            await self._hand_over()

    async def _hand_over(self) -> None:
        async with self._handing_over:
            with self._lock:
                columns = self.outgoing.take()
                self.pressing = False
            if len(columns) > INLINE_POINTS_MAX:
                records = await asyncio.to_thread(self._records, columns)
            else:
                records = self._records(columns)
            if not records:
                return
            self._group += 1
            self._unsettled[self._group] = len(records)
            with self._lock:
                self._bytes += sum(record.size for record in records)
            for record in records:
                self._delivery.put(record)

    def _records(self, columns: Columns) -> list[Outbound]:
        now_ms = wall_clock_ms()
        return [
            Outbound(partition, self._numbered(partition, message, points), points, self._group + 1)
            for partition, batch in self._partitioned.batches(columns)
            for message, points in self._messages(batch, now_ms)
        ]

    def _messages(self, batch: MetricBatch, now_ms: int) -> Iterator[tuple[Message, int]]:
        envelope = Envelope(uuid4().hex, "producer", now_ms, actor=self._source)
        message = encode(Event(envelope, MetricsCollected(batch)))
        if len(message.body) <= BYTES_MAX:
            yield message, len(batch)
            return
        for half in split_batch(batch):
            yield from self._messages(half, now_ms)

    def _numbered(self, partition: int, message: Message, points: int) -> Message:
        number = self._numbers[partition]
        self._numbers[partition] += 1
        slices = encode_slices([Slice(numbered_key(self._stream, number), 0, points)])
        return Message({**message.headers, SLICES_HEADER: slices}, message.body)

    def _settled(self, record: Outbound, error: LogUnavailable | None) -> None:
        with self._lock:
            self._bytes -= record.size
            self._in_flight -= record.points
            if error is None:
                self._acked += record.points
            else:
                self._failed += record.points
        if error is not None:
            self._lost += record.points
            self._error = self._error or error
        self._unsettled[record.group] -= 1
        if not self._unsettled[record.group]:
            del self._unsettled[record.group]
        self._change()
