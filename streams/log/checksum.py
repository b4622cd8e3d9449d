"""Checksums of what the embedded log stores: 64-bit BLAKE2b, as SQLite's signed integers.

Each record's checksum covers the one before it in its partition, so a row that vanished, was
swapped or came from another log breaks the chain. The first link is made from the log's id.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

_RECORD = struct.Struct("<qqqI")
_LENGTH = struct.Struct("<q")

_WRAP = 1 << 64


def first_link(log_id: str, topic: str, partition: int) -> int:
    """What the first record of a partition takes as its predecessor's checksum."""
    return row_checksum("first", log_id, topic, partition)


def record_checksum(previous: int, offset: int, at_ms: int, headers: bytes, body: bytes) -> int:
    """The link of one record; ``headers`` is their stored JSON."""
    state = blake2b(_RECORD.pack(previous, offset, at_ms, len(headers)), digest_size=8)
    state.update(headers)
    state.update(body)
    return int.from_bytes(state.digest(), "little", signed=True)


def row_checksum(*values: int | str | bytes) -> int:
    """Of any other row; the lengths are covered, so values cannot flow into each other."""
    state = blake2b(digest_size=8)
    for value in values:
        if isinstance(value, int):
            state.update(b"i" + _LENGTH.pack(value))
            continue
        data = value.encode() if isinstance(value, str) else value
        state.update(b"b" + _LENGTH.pack(len(data)))
        state.update(data)
    return int.from_bytes(state.digest(), "little", signed=True)


def add(total: int, checksum: int) -> int:
    """A sum of checksums that rows may enter and leave in any order (``add(total, -checksum)``).

    >>> add(add(5, -(2**63)), 2**63)
    5
    """
    return (total + checksum + _WRAP // 2) % _WRAP - _WRAP // 2
