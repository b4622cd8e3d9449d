"""`RecentRecords`: the newest records of each partition in memory, for a reader that keeps up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.log.protocol import Record

BYTES_MAX = 64 << 20
"""Of all partitions together; each has an equal share."""

RECORD_BYTES = 512
"""What a record takes beside its body."""

Partition = tuple[str, int]


@dataclass(slots=True)
class _Held:
    """Records without a gap, up to ``end`` (exclusive); ``read``: where the reader asked last;
    ``told``: behind the newest record offered."""

    records: deque[Record] = field(default_factory=deque)
    size: int = 0
    end: int = 0
    read: int = 0
    told: int = 0


class RecentRecords:
    """A buffer between whoever is told of records and whoever reads them by offset; thread-safe.

    It only ever answers with records that follow each other by offset, so a reader misses none
    whatever was told twice, out of order or not at all: what it lacks is to be read in the log.
    ``offer`` never waits: a full share drops its oldest.
    """

    def __init__(self, partitions: Mapping[str, int], *, bytes_max: int = BYTES_MAX) -> None:
        """``partitions``: how many each topic has."""
        places = [(topic, number) for topic, count in partitions.items() for number in range(count)]
        self._share = bytes_max // len(places)
        self._held = {place: _Held() for place in places}
        self._lock = threading.Lock()
        self._dropped = 0
        self._told = 0

    def offer(self, record: Record) -> bool:
        """Takes the record, unless it was read before; whether the partition's end moved."""
        with self._lock:
            self._told += 1
            held = self._held[record.topic, record.partition]
            held.told = max(held.told, record.offset + 1)
            if record.offset < held.end or record.offset < held.read:
                return False
            if record.offset != held.end:
                self._drop(held, len(held.records))
            held.records.append(record)
            held.size += _size(record)
            held.end = record.offset + 1
            while held.size > self._share:
                self._drop(held, 1)
            return True

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int
    ) -> list[Record] | None:
        """The records from ``offset`` on, at least one; None where they are not here.

        What lies before ``offset`` is let go: the reader has it.
        """
        with self._lock:
            held = self._held[topic, partition]
            held.read = offset
            while held.records and held.records[0].offset < offset:
                held.size -= _size(held.records.popleft())
            if not held.records or held.records[0].offset != offset:
                return None
            found: list[Record] = []
            size = 0
            for record in held.records:
                size += len(record.body)
                if found and (len(found) >= records_max or size > bytes_max):
                    break
                found.append(record)
            return found

    def ends(self) -> dict[Partition, int]:
        """Behind the newest record told of each partition; 0 where there was none."""
        with self._lock:
            return {place: held.told for place, held in self._held.items()}

    @property
    def dropped(self) -> int:
        """Records let go before they were read."""
        return self._dropped

    @property
    def told(self) -> int:
        """Records offered, whatever became of them."""
        return self._told

    @property
    def held_bytes(self) -> int:
        """What the records here take in memory, about."""
        with self._lock:
            return sum(held.size for held in self._held.values())

    def _drop(self, held: _Held, count: int) -> None:
        for _ in range(count):
            held.size -= _size(held.records.popleft())
            self._dropped += 1


def _size(record: Record) -> int:
    return len(record.body) + RECORD_BYTES
