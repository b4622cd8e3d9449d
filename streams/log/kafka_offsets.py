"""`KafkaOffsets`: positions kept on Kafka, as committed offsets of a group that nobody joins.

They outlive whoever wrote them and are there for whoever has the partition next. Kafka forgets a
group's offsets when nothing was committed for ``offsets.retention.minutes`` (a week by default).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from streams.errors import LogUnavailable
from streams.log.kafka_config import KafkaConfig

Place = tuple[str, int]

REQUEST_MS: Final = 5_000
ASK_S: Final = 15.0
_RETRY_S = 0.2
_NOBODY = ""
_NOT_COMMITTED = -1


class KafkaOffsets:
    """Blocks; for one thread. `LogUnavailable` where the brokers do not answer in time."""

    def __init__(self, config: KafkaConfig, group: str) -> None:
        """``group``: of no consumer."""
        self._config = config
        self._group = group
        self._loop = asyncio.Runner()
        self._client: AIOKafkaClient | None = None
        self._coordinator: Any = None

    def load(self, places: Collection[Place]) -> dict[Place, int]:
        """Those that were committed."""
        names = {self._config.topic(topic): topic for topic, _ in places}
        request = OffsetFetchRequest(self._group, self._by_topic(dict.fromkeys(places)))
        found: dict[Place, int] = {}

        def read(response: Any) -> None:
            for topic, partitions in response.topics:
                for number, offset, _, code in partitions:
                    _check(code)
                    if offset != _NOT_COMMITTED:
                        found[names[topic], number] = offset

        if places:
            self._answered(request, read)
        return found

    def save(self, positions: Mapping[Place, int]) -> None:
        """Replicated as the brokers keep their offsets when it returns."""
        told = {place: (at, "") for place, at in positions.items()}
        request = OffsetCommitRequest(
            self._group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            _NOBODY,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            self._by_topic(told),
        )

        def read(response: Any) -> None:
            for _, partitions in response.topics:
                for _, code in partitions:
                    _check(code)

        self._answered(request, read)

    def close(self) -> None:
        """Never raises."""
        with suppress(KafkaError, OSError, RuntimeError):
            if self._client is not None:
                self._loop.run(self._client.close())
        self._loop.close()

    def _by_topic(self, told: Mapping[Place, Any]) -> list[tuple[str, list[Any]]]:
        topics: dict[str, list[Any]] = {}
        for (topic, number), value in sorted(told.items()):
            entry = number if value is None else (number, *value)
            topics.setdefault(self._config.topic(topic), []).append(entry)
        return list(topics.items())

    def _answered(self, request: Any, read: Callable[[Any], None]) -> None:
        self._loop.run(self._ask(request, read))

    async def _ask(self, request: Any, read: Callable[[Any], None]) -> None:
        last: Exception | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_S):
                while True:
                    try:
                        read(await self._sent(request))
                        return
                    except (KafkaError, OSError, KeyError) as error:
                        last, self._coordinator = error, None
                        await asyncio.sleep(_RETRY_S)
        raise LogUnavailable(f"Kafka took no answer about {self._group}: {last!r}")

    async def _sent(self, request: Any) -> Any:
        if self._client is None:
            client = AIOKafkaClient(
                **self._config.client_options(),
                client_id="logfire-sink",
                request_timeout_ms=REQUEST_MS,
            )
            await client.bootstrap()
            self._client = client
        if self._coordinator is None:
            self._coordinator = await self._client.coordinator_lookup(
                CoordinationType.GROUP, self._group
            )
        return await self._client.send(
            self._coordinator, request, group=ConnectionGroup.COORDINATION
        )


def _check(code: int) -> None:
    if code:
        raise for_code(code)()
