"""`Delivery`: records to one topic, in order by partition, each acknowledged or told lost.

A record whose fate is unknown is sent again until its time is over. Repeats carry the same number
(`streams.events.slices`), so readers count them once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streams.errors import LogUnavailable
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_connection import Connection
from streams.log.kafka_producer import Producer
from streams.log.protocol import Message

_log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 30.0
ATTEMPT_S: Final = 20.0
"""After so long without an answer a record is sent again, by a client with a new number."""

PAUSE_S: Final = 0.5


@dataclass(slots=True)
class Outbound:
    """One record on its way. ``group``: records that were handed over together share it."""

    partition: int
    message: Message
    points: int
    group: int
    deadline: float = field(default=0.0)

    @property
    def size(self) -> int:
        return len(self.message.body)


class Delivery:
    """For one event loop. ``settled`` is called once for each record, with why it failed or None.

    How much is on its way is the caller's to bound. Records of one partition go one at a time, so
    none can overtake another; each has ``timeout_s`` from `put` on.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        topic: str,
        *,
        timeout_s: float,
        settled: Callable[[Outbound, LogUnavailable | None], None],
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._timeout_s = timeout_s
        self._settled = settled
        self._producer: Producer | None = None
        self._queues: list[asyncio.Queue[Outbound]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Connects; how many partitions the topic has. `LogUnavailable` where that fails."""
        self._loop = asyncio.get_running_loop()
        connection = Connection(self._kafka, [self._topic])
        try:
            await connection.start(START_TIMEOUT_S)
            partitions = connection.partitions(self._topic)
        finally:
            await connection.close()
        if not partitions:
            raise LogUnavailable(
                f"there is no topic {self._kafka.topic(self._topic)} at "
                f"{', '.join(self._kafka.bootstrap_servers)}: a worker or a server makes it"
            )
        self._producer = Producer(self._kafka)
        self._queues = [asyncio.Queue() for _ in range(partitions)]
        self._tasks = [
            asyncio.create_task(self._deliver(self._producer, queue)) for queue in self._queues
        ]
        return partitions

    def put(self, record: Outbound) -> None:
        """Takes a record; returns at once."""
        record.deadline = self._loop.time() + self._timeout_s
        self._queues[record.partition].put_nowait(record)

    async def stop(self) -> None:
        """Ends; what is not settled by now never is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await self._producer.close()

    async def _deliver(self, producer: Producer, queue: asyncio.Queue[Outbound]) -> None:
        while True:
            record = await queue.get()
            self._settled(record, await self._until_acknowledged(producer, record))

    async def _until_acknowledged(
        self, producer: Producer, record: Outbound
    ) -> LogUnavailable | None:
        """None, or why it was not by its deadline."""
        headers = [(name, text.encode()) for name, text in record.message.headers.items()]
        payload = (headers, record.message.body)
        while True:
            attempt = min(record.deadline, self._loop.time() + ATTEMPT_S)
            try:
                await producer.append((self._topic, record.partition), payload, attempt)
            except LogUnavailable as error:
                if self._loop.time() + PAUSE_S >= record.deadline:
                    return error
                _log.warning("%s; sending it again", error)
            else:
                return None
            await asyncio.sleep(PAUSE_S)
