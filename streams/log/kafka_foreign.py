"""Consumers that any record passes through, for those who read by aiokafka's own consumer.

aiokafka 0.14 takes every header name for UTF-8. A record with another one, which any client in C
may write, raises in its consumer, is fetched again, and raises again, for ever: nothing behind it
in its partition is read any more, and skipping it is no choice of the consumer's user.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from streams.log.kafka_batches import ForeignRecord, read_tolerantly

_LENGTH_AT, _BEFORE_LENGTH, _MAGIC_AT = 8, 12, 16


def read_foreign_headers() -> None:
    """From now on the consumers of this process read such names with replacement signs.

    A second call is fine. To be called before the first consumer starts.
    """
    fetcher.MemoryRecords = _Batches


class _Batches:
    """`MemoryRecords`, with batches of format 2 that read on where aiokafka's would raise."""

    def __init__(self, data: bytes) -> None:
        self._own = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return bool(self._own.has_next())

    def next_batch(self) -> Any:
        at = self._at
        (length,) = struct.unpack_from(">i", self._data, at + _LENGTH_AT)
        self._at = at + _BEFORE_LENGTH + length
        batch = self._own.next_batch()
        if self._data[at + _MAGIC_AT] < 2:
            return batch
        return _Batch(batch, self._data[at : self._at])


class _Batch:
    """aiokafka's batch in all but the reading of its records."""

    def __init__(self, own: Any, data: memoryview) -> None:
        self._own = own
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __next__(self) -> Any:
        return next(self._own)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._own:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from self._rest(read)

    def _rest(self, read: int) -> Iterator[ForeignRecord]:
        for i, record in enumerate(read_tolerantly(self._data)):
            if i >= read:
                yield record
