"""Reading records at any offset, from any thread, without asking the broker for what is at hand.

A fetch brings far more small records than one read returns. What is left over is kept, unread, for
the read that goes on there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from streams.errors import LogUnavailable, OffsetOutOfRange
from streams.log.kafka_batches import Batch, read_batch, split_batches
from streams.log.kafka_connection import Connection, Fetched, Place
from streams.log.kafka_ends import PartitionEnds
from streams.log.protocol import Record

T = TypeVar("T")

FETCH_BYTES = 1 << 20
LEFT_OVERS_MAX = 12
"""How many places in the log can be read on from without asking; each has `FETCH_BYTES`, or one
batch if that is larger."""

OFFSET_MAX = (1 << 63) - 1
_LOOK_UP_S = 0.5


class _LeftOver:
    """The records of one fetch from an offset on, decoded batch by batch."""

    def __init__(self, place: Place, offset: int, fetched: Fetched) -> None:
        self._place = place
        self._batches: Iterator[Batch] = split_batches(fetched.batches)
        self._records: deque[Record] = deque()
        self.offset = offset
        """The next one to read; it moves over markers, too."""

    def take(self, records_max: int, bytes_max: int) -> list[Record]:
        taken: list[Record] = []
        size = 0
        while len(taken) < records_max:
            if not self._records and not self._decode():
                break
            size += _size(self._records[0])
            if taken and size > bytes_max:
                break
            taken.append(self._records.popleft())
            self.offset = taken[-1].offset + 1
        return taken

    def is_used_up(self) -> bool:
        return not self._records and not self._decode()

    def _decode(self) -> bool:
        """The next batch with a record at or after the offset; False without any more."""
        for batch in self._batches:
            if batch.end <= self.offset:
                continue
            if batch.holds_records:
                records = read_batch(batch, *self._place)
                self._records.extend(r for r in records if r.offset >= self.offset)
            if self._records:
                return True
            self.offset = batch.end
        return False


class Reader:
    """`read` from any thread but the loop's own."""

    def __init__(
        self, connection: Connection, ends: PartitionEnds, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connection = connection
        self._ends = ends
        self._loop = loop
        self._left: OrderedDict[tuple[Place, int], _LeftOver] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self, place: Place, offset: int, *, records_max: int = 256, bytes_max: int = 8 << 20
    ) -> list[Record]:
        """At least one record if there is one. `OffsetOutOfRange`, `LogUnavailable`."""
        left = self._pop(place, offset)
        if not 0 <= offset <= OFFSET_MAX:
            raise self._out_of_range(place, offset)
        while True:
            if left is None:
                fetched = self._fetch(place, offset)
                left = _LeftOver(place, offset, fetched)
            if records := left.take(records_max, bytes_max):
                self._ends.saw(place, records[-1].offset + 1)
                self._keep(place, left)
                return records
            if left.offset == offset:
                return []
            offset, left = left.offset, None  # only markers up to here

    def _fetch(self, place: Place, offset: int) -> Fetched:
        fetching = self._connection.fetch(place, offset, bytes_max=FETCH_BYTES)
        try:
            fetched = self._wait(fetching)
        except OffsetOutOfRange:
            raise self._out_of_range(place, offset) from None
        # A leader that is new may not have heard yet how far the last one had come.
        if offset > fetched.high_watermark and offset > self._ends.now[place]:
            raise self._out_of_range(place, offset)
        return fetched

    def _out_of_range(self, place: Place, offset: int) -> OffsetOutOfRange:
        self._wait(self._ends.refresh(starts=True))
        start, end = self._ends.starts[place], self._ends.now[place]
        return OffsetOutOfRange(
            f"{place[0]}/{place[1]} has no offset {offset}: it holds {start} to {end} (exclusive)"
        )

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Every question is bounded by itself; the time here is for a loop that hangs or ends."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise LogUnavailable("the log is closed") from None
        deadline = time.monotonic() + self._connection.timeout_s + 5
        while True:
            try:
                return future.result(_LOOK_UP_S)
            except CancelledError:
                raise LogUnavailable("the log is closed") from None
            except TimeoutError:
                if not self._ends.committed.is_closed() and time.monotonic() < deadline:
                    continue
                future.cancel()
                raise LogUnavailable("the log's own thread does not answer") from None

    def _pop(self, place: Place, offset: int) -> _LeftOver | None:
        with self._lock:
            return self._left.pop((place, offset), None)

    def _keep(self, place: Place, left: _LeftOver) -> None:
        if left.is_used_up():
            return
        with self._lock:
            self._left[place, left.offset] = left
            while len(self._left) > LEFT_OVERS_MAX:
                self._left.popitem(last=False)


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers.items())
    return len(record.body) + headers
