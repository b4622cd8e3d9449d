"""What `evaluate` holds in memory, all of it made again from its log: the samples of the look-back,
and the inputs that wait until every partition of the points has ticked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from streams.errors import PoisonError
from streams.events.alerting import SamplesRouted, TickRouted
from streams.events.codec import decode
from streams.log.protocol import Record
from streams.processors.hot_store import HotStore
from streams.processors.seam import ReadBack
from streams.tracing import traceparent_of

TRACED_MAX: Final = 64

Input = SamplesRouted | TickRouted


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that waits; None: it is to be read again. ``held_bytes``: of its body, while it is
    held."""

    offset: int
    held: tuple[Record, Input] | None
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A record of which samples are in the store, with the times of its first and last. Where a
    traced call brought them: its traceparent, and the series."""

    offset: int
    first_ms: int
    last_ms: int
    traceparent: str
    labels: tuple[str, ...]


class Inputs:
    """The store, and a queue for each source. Changed in place: a state says by `stamp` whether it
    is as that state left it. Of records that wait ``waiting_bytes_max`` are held, of more than that
    the offsets only."""

    def __init__(self, sources: int, waiting_bytes_max: int) -> None:
        self._waiting_bytes_max = waiting_bytes_max
        self.store = HotStore()
        self.stamp = object()
        self._queues: tuple[deque[Waiting], ...] = tuple(deque() for _ in range(sources))
        self._ticks: tuple[deque[int], ...] = tuple(deque() for _ in range(sources))
        self._held_bytes = 0
        self._needed: tuple[deque[Kept], ...] = tuple(deque() for _ in range(sources))

    def wait(self, record: Record, data: Input) -> None:
        """Puts an input into the queue of its source."""
        size = len(record.body)
        if self._held_bytes + size <= self._waiting_bytes_max:
            self._held_bytes += size
            each = Waiting(record.offset, (record, data), size)
        else:
            each = Waiting(record.offset, None, 0)
        self._queues[data.source].append(each)
        if isinstance(data, TickRouted):
            self._ticks[data.source].append(data.at_ms)

    def newest_tick_ms(self, source: int) -> int | None:
        """Of the markers of a source that wait."""
        return self._ticks[source][-1] if self._ticks[source] else None

    def ticks_waiting(self, source: int) -> int:
        """How many markers of a source wait."""
        return len(self._ticks[source])

    def next_tick_ms(self) -> int | None:
        """The next tick to run, which is the earliest that waits; None while a source has none."""
        if not all(self._ticks):
            return None
        return min(ticks[0] for ticks in self._ticks)

    def of_tick(self, at_ms: int, read_back: ReadBack) -> Iterator[tuple[Record, Input]]:
        """Takes what belongs to a tick out of the queues, by source and offset."""
        for source, ticks in enumerate(self._ticks):
            if ticks[0] == at_ms:
                ticks.popleft()
                yield from self._until_marker(source, read_back)

    def _until_marker(self, source: int, read_back: ReadBack) -> Iterator[tuple[Record, Input]]:
        while True:
            each = self._queues[source].popleft()
            self._held_bytes -= each.held_bytes
            record, data = each.held or _again(each.offset, read_back)
            yield record, data
            if isinstance(data, TickRouted):
                return

    def keep(self, record: Record, data: SamplesRouted, now_ms: int) -> None:
        """Adds samples to the store."""
        if len(data.batch):
            self.store.add(data.batch, now_ms)
            first_ms, last_ms = int(data.batch.at_ms.min()), int(data.batch.at_ms.max())
            trace = traceparent_of(record)
            labels = data.batch.labels if trace else ()
            self._needed[data.source].append(Kept(record.offset, first_ms, last_ms, trace, labels))

    def first_needed(self, source: int, since_ms: int) -> int | None:
        """The offset of the first record of a source with samples after a time, as far as they come
        in order; None: there is none."""
        needed = self._needed[source]
        while needed and needed[0].last_ms <= since_ms:
            needed.popleft()
        return needed[0].offset if needed else None

    def traced(self, at_ms: int) -> list[Kept]:
        """What traced calls brought before that time, the newest first; of each source among the
        last 64 records."""
        found = [
            kept
            for needed in self._needed
            for kept in islice(reversed(needed), TRACED_MAX)
            if kept.traceparent and kept.first_ms <= at_ms
        ]
        return sorted(found, key=lambda kept: kept.last_ms, reverse=True)


def input_of(record: Record) -> Input | None:
    """None for what is none."""
    try:
        data = decode(record.headers, record.body).data
    except PoisonError:
        return None
    return data if isinstance(data, SamplesRouted | TickRouted) else None


def _again(offset: int, read_back: ReadBack) -> tuple[Record, Input]:
    (record,) = read_back(offset, offset + 1)
    data = input_of(record)
    assert data is not None  # only inputs are put into queues
    return record, data
