"""Writing: one batch in flight a partition, everything that waits for it goes into the next one.

aiokafka's idempotent producer numbers its batches and sends one until the broker has it, for ever.
A batch that it, or we, gave up leaves a hole in the numbers, and the broker refuses all that
follows in that partition. So after any failure the producer is replaced by a fresh one, whose
numbers begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from streams.errors import LogUnavailable
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_connection import METADATA_MS, REQUEST_MS, Place

BATCH_BYTES_MAX = 1 << 20
"""Of more than one record; a larger record is a batch of its own."""

_RETRY_S = 0.5
_START_S = 2 * REQUEST_MS / 1000
_CLOSE_S = 1.0

_log = logging.getLogger(__name__)

Payload = tuple[list[tuple[str, bytes]], bytes]
"""Headers and body as they are sent."""


@dataclass(slots=True)
class _Waiting:
    payload: Payload
    deadline: float
    offset: asyncio.Future[int]


@dataclass(slots=True)
class _Lane:
    """What waits for one partition, and the task that sends it while there is something."""

    topic: str
    partition: int
    waiting: deque[_Waiting] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class _Numbering:
    """One producer id: an aiokafka producer and how many batches wait for its answer."""

    producer: AIOKafkaProducer
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Producer:
    """Appends to partitions; for one event loop."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._options = config.client_options()
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Place, _Lane] = {}
        self._fresh: asyncio.Future[_Numbering] = self._loop.create_future()
        self._living: set[_Numbering] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.batches = 0
        """Acknowledged since the start."""
        self._spawn(self._renew())

    def append(self, place: Place, payload: Payload, deadline: float) -> asyncio.Future[int]:
        """The offset, once all in-sync replicas have the record; in the order of the calls.

        `LogUnavailable` at ``deadline`` (the loop's time) or where the broker refuses it. Unless it
        was told so, the record may be in the log all the same, or arrive there later.
        """
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = _Lane(self._config.topic(place[0]), place[1])
        offset: asyncio.Future[int] = self._loop.create_future()
        lane.waiting.append(_Waiting(payload, deadline, offset))
        if lane.task is None:
            lane.task = self._spawn(self._drain(lane))
        return offset

    async def close(self) -> None:
        """What is not written by now fails."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            _fail(lane.waiting, LogUnavailable("the log was closed"))
        await asyncio.gather(*(_end(each.producer, _CLOSE_S) for each in self._living))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drain(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._send(lane)
        finally:
            lane.task = None

    async def _send(self, lane: _Lane) -> None:
        """One batch, to its answer or its deadline."""
        try:
            async with asyncio.timeout_at(lane.waiting[0].deadline):
                numbering = await asyncio.shield(self._fresh)
        except TimeoutError:
            told = LogUnavailable(f"Kafka took no write to {lane.topic} in time: no broker answers")
            _fail(_expired(lane, self._loop.time()), told)
            return
        if not self._is_current(numbering):
            return
        builder = numbering.producer.create_batch()
        batch = [lane.waiting.popleft()]
        _add(builder, batch[0].payload)
        while lane.waiting and _add(builder, lane.waiting[0].payload):
            batch.append(lane.waiting.popleft())
        numbering.in_flight += 1
        try:
            async with asyncio.timeout_at(min(waiting.deadline for waiting in batch)):
                sent = await numbering.producer.send_batch(
                    builder, lane.topic, partition=lane.partition
                )
                first = (await sent).offset
            if first < 0:
                raise ProducerClosed("the broker has the batch, but knows no more where")
        except Exception as error:  # noqa: BLE001  nobody may wait for ever, whatever it was
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            told = LogUnavailable(
                f"Kafka did not acknowledge a write to {lane.topic}/{lane.partition} in time "
                f"({why}); it may be in the log all the same"
            )
            _fail(batch, told)
            self._replace(numbering)
        except BaseException:
            _fail(batch, LogUnavailable("the log was closed before Kafka acknowledged a write"))
            raise
        else:
            self.batches += 1
            for i, waiting in enumerate(batch):
                if not waiting.offset.done():
                    waiting.offset.set_result(first + i)
        finally:
            numbering.in_flight -= 1
            if numbering.in_flight == 0:
                numbering.idle.set()

    def _is_current(self, numbering: _Numbering) -> bool:
        return self._fresh.done() and self._fresh.result() is numbering

    def _replace(self, numbering: _Numbering) -> None:
        """No batch goes to this one any more."""
        if self._closed or not self._is_current(numbering):
            return
        self._fresh = self._loop.create_future()
        self._spawn(self._retire(numbering))
        self._spawn(self._renew())

    async def _retire(self, numbering: _Numbering) -> None:
        """Ends it once nobody waits for it: each batch has its own deadline."""
        while numbering.in_flight:
            numbering.idle.clear()
            await numbering.idle.wait()
        self._living.discard(numbering)
        await _end(numbering.producer, _START_S)

    async def _renew(self) -> None:
        """A producer with an id from the brokers, however long that takes."""
        told = False
        while True:
            producer = AIOKafkaProducer(
                **self._options,
                client_id="logfire-log-writer",
                acks="all",
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES_MAX,
                request_timeout_ms=REQUEST_MS,
                metadata_max_age_ms=METADATA_MS,
            )
            try:
                async with asyncio.timeout(_START_S):
                    await producer.start()
            except Exception as error:  # noqa: BLE001  without a producer everything stands still
                if not told:
                    _log.warning("Kafka gives no producer id: %s", error or type(error).__name__)
                told = True
                await _end(producer, _START_S)
                await asyncio.sleep(_RETRY_S)
            except BaseException:
                await asyncio.shield(_end(producer, _CLOSE_S))
                raise
            else:
                numbering = _Numbering(producer)
                self._living.add(numbering)
                self._fresh.set_result(numbering)
                return


def _add(builder: Any, payload: Payload) -> bool:
    """False where it is full; an empty one takes anything."""
    headers, body = payload
    return builder.append(timestamp=None, key=None, value=body, headers=headers) is not None


def _expired(lane: _Lane, now: float) -> list[_Waiting]:
    """Taken out of the lane: what nobody waits for any more."""
    expired = []
    while lane.waiting and lane.waiting[0].deadline <= now:
        expired.append(lane.waiting.popleft())
    return expired


def _fail(batch: Sequence[_Waiting] | deque[_Waiting], error: LogUnavailable) -> None:
    for waiting in batch:
        if not waiting.offset.done():  # an instance each: tracebacks grow where they are raised
            waiting.offset.set_exception(LogUnavailable(str(error)))


async def _end(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """aiokafka's `stop` would wait for ever for a batch that cannot be sent, so only what it does
    after that is done here; whatever is raised then is of no use to anybody."""
    with suppress(Exception):
        await asyncio.wait_for(producer._sender.close(), timeout_s)
    producer._closed = True
    with suppress(Exception):
        await asyncio.wait_for(producer.client.close(), timeout_s)
