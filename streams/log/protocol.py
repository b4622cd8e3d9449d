"""The event log's interface: topics of numbered, totally ordered partitions of messages.

Every implementation passes one contract suite, ``tests/contract/test_event_log.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

HEADER_BYTES_MAX = 16_384
"""All header names and values of one message, UTF-8."""

BODY_BYTES_MAX = 1_048_576
"""One message's body (Kafka's default ``message.max.bytes`` leaves room for the headers)."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer writes: CloudEvents attributes as headers (binary mode), data as body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One message and where it goes."""

    topic: str
    partition: int
    message: Message


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where one message lies; ``offset`` counts from 0 in its partition."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A stored message. ``at_ms``: when it was appended (Unix ms), never falling in a partition.

    On Kafka it is the time of the broker that led the partition then: it may fall where leaders
    with differing clocks follow each other, by as much as they differ.
    """

    topic: str
    partition: int
    offset: int
    at_ms: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An idempotency key: unique in the log for its horizon; ``digest`` is the request's.

    The digest tells a retry (the same: the first answer stands) from a key used by mistake.
    """

    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an acknowledged unit got: one position an entry, in their order."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """A unit of writing. Embedded: durable as a whole or not at all.

    ``keys``: if any of them is known already, nothing is written and `append` raises
    `DuplicateRequest` with what is known of each.
    """

    entries: tuple[Entry, ...]
    keys: tuple[RequestKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the log remembers of an idempotency key: the digest and the unit's positions."""

    digest: bytes
    receipt: Receipt


@dataclass(slots=True)
class DuplicateRequest(Exception):
    """Some keys of a unit are in the log already; nothing of the unit was written."""

    known: Mapping[str, Known] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"already in the log: {', '.join(sorted(self.known))}"


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Counts since the start, and what waits now. ``failure``: why the last group failed, or ""."""

    waiting_units: int
    waiting_bytes: int
    groups: int
    units: int
    refused: int
    failed: int
    failure: str


class EventLog(Protocol):
    """Append-only, durable before it acknowledges, readable while it is written.

    Errors: `LogUnavailable` where the log cannot be written or read now (embedded: nothing of the
    unit is durable; on Kafka it may be: send it again with the same keys), `Overloaded` where too
    much waits already, `OffsetOutOfRange` for reads outside the log, `LogDamaged` where stored
    bytes fail their checksum.
    """

    @property
    def gapless(self) -> bool:
        """Whether every offset from a partition's start to its end holds a record.

        False on Kafka: markers of outsiders' transactions take offsets of their own, so the next
        offset to read is the last record's plus one, never a count.
        """
        ...

    @property
    def log_id(self) -> str:
        """Made once when the log is made: read models refuse another log's positions."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, fixed when the log is made."""
        ...

    async def append(self, unit: Append) -> Receipt:
        """Returns when every entry is durable (fsynced; on Kafka on all in-sync replicas)."""
        ...

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8_388_608,
    ) -> Sequence[Record]:
        """The records from ``offset`` on, in order; at least one if there is one, else empty."""
        ...

    def follow(self, topic: str, partition: int, offset: int) -> AsyncIterator[Record]:
        """All records from ``offset`` on, then waits for more, until closed or cancelled."""
        ...

    async def start_positions(self, topic: str) -> Mapping[int, int]:
        """The first offset kept in each partition."""
        ...

    async def end_positions(self, topic: str) -> Mapping[int, int]:
        """The offset that the next record of each partition will get."""
        ...

    async def offsets_for_time(self, topic: str, at_ms: int) -> Mapping[int, int]:
        """The first offset in each partition appended at or after ``at_ms`` (its end if none)."""
        ...


class LocalLog(EventLog, Protocol):
    """An `EventLog` as its host has it: the same for threads, without waiting for a loop.

    All of it may be called from any thread.
    """

    def submit(self, unit: Append) -> Future[Receipt]:
        """Takes a unit; the future has its receipt once it is durable.

        Raised at once: `InputError`, `TooLarge`, `Overloaded`. By the future: `DuplicateRequest`,
        `LogUnavailable`, `LogDamaged`.
        """
        ...

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8_388_608,
    ) -> list[Record]:
        """`read` for threads."""
        ...

    def ends(self) -> Mapping[tuple[str, int], int]:
        """The offset after the last record of each partition; a snapshot, cheap to ask for."""
        ...

    def starts(self) -> Mapping[tuple[str, int], int]:
        """The first offset kept in each partition."""
        ...

    def wait_for(self, wanted: Mapping[tuple[str, int], int], timeout_s: float) -> bool:
        """Blocks until the end of any partition given is above its offset (True), or the time is
        over or the log closed (False)."""
        ...

    def stats(self) -> WriterStats | None:
        """What the writer does; None for a log that was opened for reading only."""
        ...

    def close(self) -> None:
        """Writes what waits, for a second at most, and lets go. A second call is fine."""
        ...
