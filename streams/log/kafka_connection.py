"""Asking the brokers: batches from any offset, and where partitions begin and end.

aiokafka's consumer knows one position a partition and waits for more on the connection that others
would use; a log is read at many offsets by many. So this speaks to its client directly.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError, LeaderNotAvailableError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from streams.errors import LogUnavailable, OffsetOutOfRange
from streams.log.kafka_config import KafkaConfig

T = TypeVar("T")
Place = tuple[str, int]
"""Our name of a topic, and a partition of it."""

READ_TIMEOUT_S = 15.0
"""A read is answered or refused within this: longer than brokers take to name a new leader."""

REQUEST_MS = 5_000
"""A broker that stands still for this long is asked no more on that connection."""

METADATA_MS = 60_000
EARLIEST, LATEST = -2, -1

_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Fetched:
    """Whole record batches, the first of which may begin before the offset asked for.

    ``high_watermark``: the offset after the last one that consumers may read.
    """

    batches: bytes
    high_watermark: int


class Connection:
    """One connection a broker, and one more for waiting fetches; for one event loop."""

    def __init__(
        self, config: KafkaConfig, topics: Iterable[str], *, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        """``timeout_s``: how long a question may take that names no time of its own."""
        self.timeout_s = timeout_s
        self._config = config
        self._client = AIOKafkaClient(
            **config.client_options(),
            client_id="logfire-log-reader",
            request_timeout_ms=REQUEST_MS,
            retry_backoff_ms=int(_RETRY_S * 1000),
            metadata_max_age_ms=METADATA_MS,
        )
        self._topics = [config.topic(topic) for topic in topics]

    async def start(self, timeout_s: float) -> None:
        """`LogUnavailable` where no broker answers in time."""

        async def bootstrap() -> None:
            await self._client.bootstrap()
            await self._client.set_topics(self._topics)

        await self._answered(bootstrap, timeout_s)

    def partitions(self, topic: str) -> int:
        """How many a topic of `start` has, as the brokers said last; 0 where it is not there."""
        return len(self._client.cluster.partitions_for_topic(self._config.topic(topic)) or ())

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.close()

    async def fetch(
        self,
        place: Place,
        offset: int,
        *,
        bytes_max: int,
        wait_ms: int = 0,
        timeout_s: float | None = None,
    ) -> Fetched:
        """Batches from ``offset`` on, about ``bytes_max``, at least one if there is one.

        ``wait_ms``: how long the broker waits for a first one. `OffsetOutOfRange`,
        `LogUnavailable` after ``timeout_s``.
        """
        topic = self._config.topic(place[0])
        request = FetchRequest(wait_ms, 1, bytes_max, 0, [(topic, [(place[1], offset, bytes_max)])])
        group = ConnectionGroup.COORDINATION if wait_ms else ConnectionGroup.DEFAULT

        async def ask() -> Fetched:
            response = await self._client.send(self._leader(place), request, group=group)
            ((_, ((_, code, high_watermark, *data),)),) = response.topics
            _check(code)
            return Fetched(data[-1], high_watermark)

        return await self._answered(ask, timeout_s)

    async def offsets(
        self, asked: Mapping[Place, int], timeout_s: float | None = None
    ) -> dict[Place, int]:
        """For each place its end (`LATEST`), its start (`EARLIEST`) or the first offset appended at
        that time or later (Unix ms; -1 if there is none). `LogUnavailable` after ``timeout_s``."""
        found: dict[Place, int] = {}

        async def ask() -> dict[Place, int]:
            left = {place: at for place, at in asked.items() if place not in found}
            found.update(await self.offsets_at_hand(left))
            if len(found) < len(asked):
                raise LeaderNotAvailableError("some partitions have no leader that answers")
            return found

        return await self._answered(ask, timeout_s)

    async def offsets_at_hand(self, asked: Mapping[Place, int]) -> dict[Place, int]:
        """`offsets` of those partitions whose leaders answer at the first attempt."""
        by_leader: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        names = {self._config.topic(topic): topic for topic, _ in asked}
        for place, at in asked.items():
            try:
                leader = self._leader(place)
            except LeaderNotAvailableError:
                self._client.force_metadata_update()
                continue
            by_leader[leader][self._config.topic(place[0])].append((place[1], at))

        async def ask(leader: int, topics: Mapping[str, list[tuple[int, int]]]) -> dict[Place, int]:
            request = OffsetRequest(-1, 0, list(topics.items()))
            try:
                response = await self._client.send(leader, request)
            except (KafkaError, OSError, KeyError):
                self._client.force_metadata_update()
                return {}
            answered = {}
            for topic, partitions in response.topics:
                for partition, code, _, offset in partitions:
                    if code:
                        self._client.force_metadata_update()
                    else:
                        answered[names[topic], partition] = offset
            return answered

        found: dict[Place, int] = {}
        for answer in await asyncio.gather(*(ask(*each) for each in by_leader.items())):
            found |= answer
        return found

    def _leader(self, place: Place) -> int:
        partition = TopicPartition(self._config.topic(place[0]), place[1])
        leader = self._client.cluster.leader_for_partition(partition)
        if leader is None or leader == -1:
            raise LeaderNotAvailableError(f"{partition.topic}/{place[1]} has no leader")
        return int(leader)

    async def _answered(self, ask: Callable[[], Awaitable[T]], timeout_s: float | None) -> T:
        """Asks until there is an answer: brokers come back, leaders move."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        last: Exception | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        return await ask()
                    except OffsetOutOfRangeError as error:
                        raise OffsetOutOfRange(str(error)) from error
                    except (KafkaError, OSError, KeyError) as error:
                        # A KeyError is aiokafka's when two requests time out on one connection.
                        last = error
                        if isinstance(error, KafkaError) and not error.retriable:
                            raise self._unavailable(error, timeout_s) from error
                    self._client.force_metadata_update()
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            raise self._unavailable(last, timeout_s) from last

    def _unavailable(self, error: Exception | None, timeout_s: float) -> LogUnavailable:
        servers = ", ".join(self._config.bootstrap_servers)
        why = f": {error}" if error is not None else ""
        return LogUnavailable(f"Kafka at {servers} gave no answer within {timeout_s:g} s{why}")


def _check(code: int) -> None:
    if code:
        error = for_code(code)
        raise error(error.description)
