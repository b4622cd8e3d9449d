"""Units of writing on Kafka: bounded in bytes, their idempotency keys looked up and recorded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from streams.errors import LogError, LogUnavailable, Overloaded, TooLarge
from streams.log.kafka_connection import Place
from streams.log.kafka_ends import PartitionEnds
from streams.log.kafka_keys import ENTRIES_MAX, PLACE, RequestKeys, encode
from streams.log.kafka_producer import Payload, Producer
from streams.log.limits import check_keys, encoded_headers, require_partition
from streams.log.protocol import (
    Append,
    DuplicateRequest,
    Position,
    Receipt,
    RequestKey,
    WriterStats,
)

WRITE_TIMEOUT_S = 20.0
"""Every unit is answered within this; brokers name a new leader for a lost one in about ten."""

_OVERHEAD_BYTES = 512
"""What a waiting entry or key costs beside its bytes, roughly."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    entries: tuple[tuple[Place, Payload], ...]
    keys: tuple[RequestKey, ...]
    size: int
    future: Future[Receipt]


class Writer:
    """`submit` may be called from any thread."""

    def __init__(
        self,
        topics: Mapping[str, int],
        producer: Producer,
        keys: RequestKeys,
        ends: PartitionEnds,
        *,
        queue_bytes_max: int,
        timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._topics = topics
        self._producer = producer
        self._keys = keys
        self._ends = ends
        self._queue_bytes_max = queue_bytes_max
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._waiting = self._bytes = 0
        self._units = self._refused = self._failed = 0
        self._failure = ""

    def submit(self, append: Append) -> Future[Receipt]:
        """Raised at once: `InputError`, `TooLarge`, `Overloaded`; by the future `DuplicateRequest`
        and, within ``timeout_s``, `LogUnavailable`."""
        unit = self._prepared(append)
        with self._lock:
            if self._closed:
                raise LogUnavailable("the log is closed")
            if self._bytes + unit.size > self._queue_bytes_max:
                self._refused += 1
                raise Overloaded(
                    f"{self._bytes} bytes wait to be written, at most {self._queue_bytes_max} may; "
                    "send it again in a second"
                )
            self._bytes += unit.size
            self._waiting += 1
        self._loop.call_soon_threadsafe(self._start, unit)
        return unit.future

    def stats(self) -> WriterStats:
        with self._lock:
            return WriterStats(
                waiting_units=self._waiting,
                waiting_bytes=self._bytes,
                groups=self._producer.batches,
                units=self._units,
                refused=self._refused,
                failed=self._failed,
                failure=self._failure,
            )

    async def close(self, timeout_s: float) -> None:
        """Writes what waits, for a while; what is not written then fails."""
        with self._lock:
            self._closed = True
        await asyncio.sleep(0)  # what was submitted before is started now
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _prepared(self, append: Append) -> _Unit:
        entries = []
        size = _OVERHEAD_BYTES * (1 + len(append.entries) + len(append.keys))
        for entry in append.entries:
            require_partition(self._topics, entry.topic, entry.partition)
            headers = encoded_headers(entry.message)
            entries.append(((entry.topic, entry.partition), (headers, entry.message.body)))
            size += len(entry.message.body) + sum(len(k) + len(v) for k, v in headers)
        check_keys(append.keys)
        if append.keys and len(entries) > ENTRIES_MAX:
            raise TooLarge(
                f"a unit of {len(entries)} entries; with idempotency keys at most {ENTRIES_MAX}"
            )
        if size > self._queue_bytes_max:
            raise TooLarge(f"a unit of {size} bytes; at most {self._queue_bytes_max} can wait")
        return _Unit(tuple(entries), append.keys, size, Future())

    def _start(self, unit: _Unit) -> None:
        task = self._loop.create_task(self._run(unit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, unit: _Unit) -> None:
        """Whatever happens, the unit is answered."""
        answer: Receipt | BaseException
        try:
            if not unit.future.set_running_or_notify_cancel():
                self._count(unit, None)
                return
            deadline = self._loop.time() + self._timeout_s
            answer = await (self._write_keyed if unit.keys else self._write)(unit, deadline)
        except asyncio.CancelledError:
            answer = LogUnavailable("the log was closed before Kafka acknowledged a write")
        except (LogError, DuplicateRequest) as error:
            answer = error
        except Exception as error:  # noqa: BLE001  nobody may wait for ever, whatever it was
            answer = LogUnavailable(f"the log could not write: {error!r}")
        self._count(unit, answer)
        if isinstance(answer, BaseException):
            unit.future.set_exception(answer)
        else:
            unit.future.set_result(answer)

    async def _write(self, unit: _Unit, deadline: float) -> Receipt:
        """All entries go out together; the receipt once each is acknowledged."""
        offsets = await _all(
            [self._producer.append(place, payload, deadline) for place, payload in unit.entries]
        )
        ends: dict[Place, int] = {}
        positions = []
        for (place, _), offset in zip(unit.entries, offsets, strict=True):
            positions.append(Position(*place, offset))
            ends[place] = max(ends.get(place, 0), offset + 1)
        self._ends.committed.advance(ends)
        return Receipt(tuple(positions))

    async def _write_keyed(self, unit: _Unit, deadline: float) -> Receipt:
        try:
            async with asyncio.timeout_at(deadline):
                await self._keys.catch_up()
                await self._keys.reserve(unit.keys)
        except TimeoutError:
            raise LogUnavailable("Kafka did not tell in time which keys are known") from None
        try:
            receipt = await self._write(unit, deadline)
            # From here on a retry at this node is known as one, whatever comes.
            self._keys.remember(unit.keys, receipt.positions)
            bodies = encode(unit.keys, receipt.positions)
            await _all([self._producer.append(PLACE, ([], body), deadline) for body in bodies])
        finally:
            self._keys.release(unit.keys)
        return receipt

    def _count(self, unit: _Unit, answer: Receipt | BaseException | None) -> None:
        failure = str(answer) if isinstance(answer, LogError) else ""
        with self._lock:
            self._waiting -= 1
            self._bytes -= unit.size
            if isinstance(answer, Receipt):
                self._units += 1
                self._failure = ""
            if not failure:
                return
            self._failed += 1
            told, self._failure = bool(self._failure), failure
        if not told:  # once, not for every unit while the brokers are away
            _log.error("a unit was not stored: %s", failure)


async def _all(futures: Sequence[asyncio.Future[int]]) -> list[int]:
    """Each one's result once every one has one or an error; then the first error, if any."""
    if futures:
        await asyncio.wait(futures)
    errors = [future.exception() for future in futures]  # all are asked, or asyncio complains
    for error in errors:
        if error is not None:
            raise error
    return [future.result() for future in futures]
