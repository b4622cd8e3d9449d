"""`HostedTable`: a Faust table as the processors' runners see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.errors import LogUnavailable

VALUE_BYTES_MAX: Final = 2 << 20
"""Of one value and its key."""
WRITE_TIMEOUT_S: Final = 20.0

Send = Callable[[str, int, bytes, bytes | None], Awaitable[Awaitable[Any]]]
"""Topic, partition, key, value: returns, once it is on its way, what ends when acknowledged."""


class HostedTable:
    """String keys to byte values, by partition of the source topic, in a compacted topic.

    Values are not empty and at most `VALUE_BYTES_MAX`. What another owner of the partition wrote
    is there after the next assignment, up to where the topic ended then.
    """

    def __init__(self, topic: str, name: str, partitions: int, send: Send) -> None:
        """Use `FaustHost.table`."""
        self.topic = topic
        self._name = name
        self._partitions = partitions
        self._send = send
        self._table: Any = None

    def values(self, partition: int) -> dict[str, bytes]:
        """All values of a partition, as far as they were read or written here."""
        prefix = f"{partition}/".encode()
        return {
            key[len(prefix) :].decode(): value
            for key, value in list(self._table.data.items())
            if key.startswith(prefix) and value
        }

    async def write(self, partition: int, changes: Mapping[str, bytes | None]) -> None:
        """Writes the values (None deletes), in any order; returns when all are acknowledged.

        Only by the partition's owner, in the host's loop. `LogUnavailable` where one was not
        acknowledged in time; which of them were written is unknown then.
        """
        raw = {f"{partition}/{key}".encode(): value for key, value in changes.items()}
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                sent = [
                    await self._send(self.topic, partition, key, value)
                    for key, value in raw.items()
                ]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(f"{self.topic} cannot be written: {error!r}") from error
        for key, value in raw.items():
            if value is None:
                self._table.data.pop(key, None)
            else:
                self._table.data[key] = value

    def attach(self, app: Any) -> None:
        """For the host: makes Faust's table."""
        raw = {
            "key_type": bytes,
            "value_type": bytes,
        }
        topic = app.topic(
            self.topic,
            key_serializer="raw",
            value_serializer="raw",
            partitions=self._partitions,
            acks=False,
            internal=True,
            allow_empty=True,
            **raw,
        )
        self._table = app.Table(
            self._name, partitions=self._partitions, changelog_topic=topic, **raw
        )
