"""Kafka's record batches (message format 2) as `Record`s.

https://kafka.apache.org/documentation/#recordbatch. What others wrote may have any header names and
values, and no value at all: none of that may stop a reader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka import codec
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint

from streams.errors import LogDamaged
from streams.log.protocol import Record

_HEAD = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and
largest timestamp, producer id and epoch, base sequence, number of records."""

_BEFORE_LENGTH = 12
_CODEC, _APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20
_DECODE = {
    0: bytes,
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as it lies on the broker: ``first`` to ``end`` (exclusive) are its offsets.

    ``holds_records``: False for the markers of transactions.
    """

    data: memoryview
    first: int
    end: int
    holds_records: bool


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """With the names of aiokafka's own records. ``timestamp_type``: 1 for the broker's time."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @property
    def checksum(self) -> None:
        """The batch's, since message format 2."""


def split_batches(data: bytes) -> Iterator[Batch]:
    """The whole batches in a fetch's answer; a cut off one at the end is left out."""
    view, at = memoryview(data), 0
    while len(view) - at >= _HEAD.size:
        first, length, _, magic, _, attributes, last, *_ = _HEAD.unpack_from(view, at)
        after = at + _BEFORE_LENGTH + length
        if after > len(view):
            return
        if magic != 2:
            raise LogDamaged(f"a batch at offset {first} has Kafka's message format {magic}, not 2")
        control = bool(attributes & _CONTROL)
        yield Batch(view[at:after], first, first + last + 1, not control)
        at = after


def read_batch(batch: Batch, topic: str, partition: int) -> list[Record]:
    """Its records. `LogDamaged` where the batch is not what its checksum says."""
    found: Iterable[Any]
    try:
        raw = DefaultRecordBatch(batch.data)
        if not raw.validate_crc():
            raise CorruptRecordException("its checksum does not match")
        found = list(raw)
    except UnicodeDecodeError:
        found = read_tolerantly(batch.data)
    except (KafkaError, ValueError, RuntimeError) as error:
        raise LogDamaged(f"{topic}/{partition}, batch at offset {batch.first}: {error}") from error
    return [record_of(topic, partition, message, message.timestamp) for message in found]


def record_of(topic: str, partition: int, message: Any, at_ms: int) -> Record:
    """Any client's message as a record: what is not UTF-8 in headers is replaced, and no value
    is b"", so that nobody can write what stops a reader."""
    headers = message.headers or ()
    return Record(
        topic,
        partition,
        message.offset,
        at_ms,
        {name: (value or b"").decode(errors="replace") for name, value in headers},
        message.value or b"",
    )


def read_tolerantly(batch: memoryview) -> Iterator[ForeignRecord]:
    """As aiokafka reads, but header names need not be UTF-8."""
    head = _HEAD.unpack_from(batch)
    first, attributes, first_ms, largest_ms, count = head[0], head[5], head[7], head[8], head[12]
    data = bytearray(_DECODE[attributes & _CODEC](bytes(batch[_HEAD.size :])))
    at = 0

    def number() -> int:
        nonlocal at
        value, at = decode_varint(data, at)
        return int(value)

    def bytes_or_none() -> bytes | None:
        nonlocal at
        size = number()
        if size < 0:
            return None
        at += size
        return bytes(data[at - size : at])

    appended = bool(attributes & _APPEND_TIME)
    for _ in range(count):
        number()  # the record's length
        at += 1  # its attributes, unused
        later_ms, delta = number(), number()
        key, value = bytes_or_none(), bytes_or_none()
        headers = [
            ((bytes_or_none() or b"").decode(errors="replace"), bytes_or_none())
            for _ in range(number())
        ]
        at_ms = largest_ms if appended else first_ms + later_ms
        yield ForeignRecord(first + delta, at_ms, int(appended), key, value, headers)
