"""Idempotency keys of all nodes: each writes those of its units to one topic, and all follow it.

A record there names the keys of one unit, their digests and where the unit's entries lie. It is
written after the entries. So a crash between the two, or two nodes at the same moment, can write a
request twice: readers that count drop the repeat.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from streams.errors import LogError, LogUnavailable
from streams.log.kafka_batches import read_batch, split_batches
from streams.log.kafka_connection import EARLIEST, LATEST, Connection, Place
from streams.log.kafka_topics import REQUESTS
from streams.log.protocol import DuplicateRequest, Known, Position, Receipt, RequestKey

KEYS_MAX = 200_000
"""Remembered at most; the oldest are forgotten before their time if more come within it."""

KEY_BYTES_A_RECORD = 400_000
"""Of one record's keys; a unit with more of them gets several records."""

ENTRIES_MAX = 10_000
"""Of a unit with idempotency keys: their positions have to fit into a record."""

PLACE: Place = (REQUESTS, 0)

_FETCH_BYTES = 1 << 20
_WAIT_MS = 1_000
_RETRY_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Remembered:
    at_ms: int
    digest: bytes
    positions: tuple[Position, ...]


class RequestKeys:
    """What is known of keys, by this node or another; for one event loop."""

    def __init__(self, connection: Connection, horizon_ms: int, clock: Callable[[], int]) -> None:
        self._connection = connection
        self._horizon_ms = horizon_ms
        self._clock = clock
        self._known: OrderedDict[str, _Remembered] = OrderedDict()
        self._pending: dict[str, asyncio.Event] = {}
        self._offset = 0
        self._moved = asyncio.Condition()
        self._end: asyncio.Task[int] | None = None

    async def load(self, timeout_s: float) -> None:
        """Reads what was written within the horizon."""
        since = max(0, self._clock() - self._horizon_ms)
        end = (await self._connection.offsets({PLACE: LATEST}, timeout_s))[PLACE]
        first = (await self._connection.offsets({PLACE: since}, timeout_s))[PLACE]
        self._offset = end if first < 0 else first
        while self._offset < end:
            await self._read_on(wait_ms=0)

    async def follow(self) -> None:
        """Reads what comes, until cancelled."""
        while True:
            try:
                await self._read_on(wait_ms=_WAIT_MS)
            except LogUnavailable as error:
                _log.warning("idempotency keys of other nodes are not followed: %s", error)
                await asyncio.sleep(_RETRY_S)
            except LogError as error:
                # Retention took what was to be read next: older than every horizon.
                _log.warning("reading idempotency keys goes on at the start: %s", error)
                await self._go_to_start()

    async def reserve(self, keys: Sequence[RequestKey]) -> None:
        """Returns when all of them are unknown and reserved: then `release` has to follow.

        `DuplicateRequest` for known ones, also where a unit with them was under way and succeeded.
        """
        while True:
            known = dict(self._find(keys))
            if known:
                raise DuplicateRequest(known)
            under_way = [self._pending[k.key] for k in keys if k.key in self._pending]
            if not under_way:
                break
            for released in under_way:
                await released.wait()
        released = asyncio.Event()
        for key in keys:
            self._pending[key.key] = released

    def release(self, keys: Sequence[RequestKey]) -> None:
        """The unit's outcome is known."""
        for key in keys:
            self._pending.pop(key.key).set()

    async def catch_up(self) -> None:
        """Returns when every key that any node had acknowledged before this call is known here."""
        end = await self._end_now()
        async with self._moved:
            await self._moved.wait_for(lambda: self._offset >= end)

    def remember(self, keys: Sequence[RequestKey], positions: tuple[Position, ...]) -> None:
        """This node's own: its entries are in the log."""
        at_ms = self._clock()
        for key in keys:
            self._add(key.key, _Remembered(at_ms, key.digest, positions))

    def _find(self, keys: Sequence[RequestKey]) -> Iterator[tuple[str, Known]]:
        oldest_ms = self._clock() - self._horizon_ms
        for key in keys:
            found = self._known.get(key.key)
            if found is not None and found.at_ms >= oldest_ms:
                yield key.key, Known(found.digest, Receipt(found.positions))

    async def _end_now(self) -> int:
        """The end as it is at some moment after the call; those who ask meanwhile share it."""
        if self._end is not None:
            asking = self._end
            await asyncio.wait([asking])  # begun too early for this call: only its end is awaited
        if self._end is None:
            self._end = asyncio.create_task(self._ask_end())
            self._end.add_done_callback(self._asked_end)
        return await asyncio.shield(self._end)

    async def _ask_end(self) -> int:
        return (await self._connection.offsets({PLACE: LATEST}))[PLACE]

    def _asked_end(self, task: asyncio.Task[int]) -> None:
        self._end = None
        if not task.cancelled():
            task.exception()  # seen by those who wait, if there still are any

    async def _read_on(self, *, wait_ms: int) -> None:
        fetched = await self._connection.fetch(
            PLACE, self._offset, bytes_max=_FETCH_BYTES, wait_ms=wait_ms
        )
        offset = self._offset
        for batch in split_batches(fetched.batches):
            if batch.holds_records:
                for record in read_batch(batch, *PLACE):
                    if record.offset >= offset:
                        self._absorb(record.body, record.at_ms)
            offset = max(offset, batch.end)
        self._prune()
        async with self._moved:
            self._offset = offset
            self._moved.notify_all()

    async def _go_to_start(self) -> None:
        try:
            start = (await self._connection.offsets({PLACE: EARLIEST}))[PLACE]
        except LogUnavailable:
            await asyncio.sleep(_RETRY_S)
            return
        self._offset = max(start, 0)

    def _absorb(self, body: bytes, at_ms: int) -> None:
        try:
            keys, positions = decode(body)
        except (ValueError, TypeError, KeyError) as error:
            _log.warning("a record of idempotency keys is not readable: %s", error)
            return
        for key in keys:
            self._add(key.key, _Remembered(at_ms, key.digest, positions))

    def _add(self, key: str, remembered: _Remembered) -> None:
        """Of two writings of one request, the first one stands until it is forgotten."""
        old = self._known.get(key)
        if old is None or old.at_ms < self._clock() - self._horizon_ms:
            self._known[key] = remembered
            self._known.move_to_end(key)
        while len(self._known) > KEYS_MAX:
            self._known.popitem(last=False)

    def _prune(self) -> None:
        oldest_ms = self._clock() - self._horizon_ms
        while self._known and next(iter(self._known.values())).at_ms < oldest_ms:
            self._known.popitem(last=False)


def encode(keys: Sequence[RequestKey], positions: Sequence[Position]) -> list[bytes]:
    """The bodies of the records that tell of a unit's keys.

    >>> encode([RequestKey("a", b"1")], [Position("t", 0, 7), Position("t", 0, 8)])
    [b'{"keys":[["a","31"]],"positions":[["t",0,7,2]]}']
    """
    runs: list[list[str | int]] = []
    for position in positions:
        if runs and runs[-1][:2] == [position.topic, position.partition]:
            first, count = int(runs[-1][2]), int(runs[-1][3])
            if position.offset == first + count:
                runs[-1][3] = count + 1
                continue
        runs.append([position.topic, position.partition, position.offset, 1])
    bodies = []
    rest = list(keys)
    while rest:
        size, count = 0, 0
        while count < len(rest) and (count == 0 or size < KEY_BYTES_A_RECORD):
            size += len(rest[count].key.encode()) + 2 * len(rest[count].digest)
            count += 1
        named = [[key.key, key.digest.hex()] for key in rest[:count]]
        told = {"keys": named, "positions": runs}
        bodies.append(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())
        rest = rest[count:]
    return bodies


def decode(body: bytes) -> tuple[list[RequestKey], tuple[Position, ...]]:
    """The reverse of `encode`, for one body. Raises `ValueError`, `TypeError`, `KeyError`."""
    told = json.loads(body)
    keys = [RequestKey(str(key), bytes.fromhex(digest)) for key, digest in told["keys"]]
    positions = tuple(
        Position(topic, partition, offset)
        for topic, partition, first, count in told["positions"]
        for offset in range(first, first + min(count, ENTRIES_MAX))
    )
    return keys, positions
