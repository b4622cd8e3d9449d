"""Requests to log entries: as few records as possible, and who lies where in them.

Requests of one actor share records; a record holds one partition, at most 50,000 points and 1 MiB.
Where a request has an idempotency key, the header ``slices`` tells its rows in the record
(`streams.events.slices`), for readers of logs that cannot tell repeats themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from streams.events.batch import BYTES_MAX, POINTS_MAX, Index, Ints, MetricBatch, take
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.labels import series_partition
from streams.events.slices import SLICES_HEADER, Slice, encode_slices, numbered
from streams.events.topics import POINTS
from streams.log.protocol import Entry, Message

SLICES_BYTES_MAX: Final = 8_192
PARTITIONS_CACHED_MAX: Final = 1_000_000
_SLICE_NUMBERS_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What one caller wants written. ``key``: its idempotency key, unique among all callers."""

    batch: MetricBatch
    actor: str
    source: str
    time_ms: int
    key: str | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An entry, and the numbers of the requests that have rows in it."""

    entry: Entry
    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of several requests. ``owner[i]``: the number of row i's request, never falling;
    ``place[i]``: how many rows of that request lie before it in its partition."""

    batch: MetricBatch
    owner: Index
    place: Ints

    def pick(self, rows: npt.NDArray[np.intp]) -> _Rows:
        return _Rows(take(self.batch, rows), self.owner[rows], self.place[rows])


LARGE_DICTIONARY: Final = 500
"""From this many series on, a dictionary is worth a record of its own."""

LARGE_KEPT_MAX: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Union:
    """The dictionary of several batches as one. ``places``: by the identity of each one's labels,
    where its series are; ``held`` keeps these identities from being given to others."""

    labels: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    places: Mapping[int, Index] = field(default_factory=dict)
    held: tuple[tuple[str, ...], ...] = ()

    def agreed(self, batches: Sequence[MetricBatch]) -> bool:
        """Whether all state types and units as it does."""
        types, units = np.array(self.types, object), np.array(self.units, object)
        return all(
            tuple(types[self.places[id(batch.labels)]]) == batch.types
            and tuple(units[self.places[id(batch.labels)]]) == batch.units
            for batch in batches
        )

    def covers(self, batches: Sequence[MetricBatch]) -> bool:
        """Whether it holds all their series, and not twice as many as they have."""
        distinct = {id(batch.labels): len(batch.labels) for batch in batches}
        enough = 2 * sum(distinct.values()) >= len(self.labels)
        return enough and all(labels in self.places for labels in distinct)


class Merger:
    """Makes the entries of a group of requests, with a series' partition computed once."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._partition_of: dict[str, int] = {}
        self._union = _Union()
        self._large: dict[int, tuple[str, ...]] = {}

    def entries(self, requests: Sequence[Request]) -> list[Written]:
        """The group's records. Takes some 0.1 µs a point; requests without points have none."""
        written: list[Written] = []
        for numbers in _sharing(requests):
            rows = self._merged([requests[number].batch for number in numbers], numbers)
            for partition, part in self._by_partition(rows):
                for start in range(0, len(part.batch), POINTS_MAX):
                    stop = min(start + POINTS_MAX, len(part.batch))
                    whole = stop - start == len(part.batch)
                    piece = part if whole else part.pick(np.arange(start, stop))
                    written += _records(requests, partition, piece)
        return written

    def _merged(self, batches: Sequence[MetricBatch], numbers: Sequence[int]) -> _Rows:
        """One batch of several.

        Small producers send again and again, in ever other groups. While a group has dictionaries
        of the last union only, it takes that whole: then each record repeats it, and every reader
        knows it. Where series were stated otherwise since, it holds no more.
        """
        owner = np.repeat(np.array(numbers, np.int32), [len(batch) for batch in batches])
        if len(batches) == 1 and len(batches[0].labels) >= LARGE_DICTIONARY:
            self._note_large(batches[0].labels)
            return _Rows(batches[0], owner, _places(owner))
        union = self._union
        if not union.covers(batches):
            union = _union(batches)
            self._union = union if union.agreed(batches) else _Union()
        merged = MetricBatch(
            union.labels,
            union.types,
            union.units,
            np.concatenate([union.places[id(batch.labels)][batch.series] for batch in batches]),
            np.concatenate([batch.at_ms for batch in batches]),
            np.concatenate([batch.value for batch in batches]),
        )
        return _Rows(merged, owner, _places(owner))

    def _note_large(self, labels: tuple[str, ...]) -> None:
        """A new one may state series of the union otherwise."""
        if id(labels) in self._large:
            return
        if len(self._large) >= LARGE_KEPT_MAX:
            self._large.clear()
        self._large[id(labels)] = labels
        self._union = _Union()

    def _by_partition(self, rows: _Rows) -> Iterator[tuple[int, _Rows]]:
        if self._partitions == 1:
            yield 0, rows
            return
        of_series = np.array([self._partition(text) for text in rows.batch.labels], np.int32)
        of_row = of_series[rows.batch.series]
        for partition in np.unique(of_row):
            its = np.flatnonzero(of_row == partition)
            owner = rows.owner[its]
            yield int(partition), _Rows(take(rows.batch, its), owner, _places(owner))

    def _partition(self, text: str) -> int:
        partition = self._partition_of.get(text)
        if partition is None:
            if len(self._partition_of) >= PARTITIONS_CACHED_MAX:
                self._partition_of.clear()
            partition = self._partition_of[text] = series_partition(text, self._partitions)
        return partition


def _sharing(requests: Sequence[Request]) -> Iterator[list[int]]:
    """The numbers of the requests that share records: one actor, slices that fit a header.

    A large dictionary is not mixed with others: it comes again with the producer's next request,
    and then every reader of the log knows it as a whole instead of reading it series by series.
    Requests of one numbered stream stay in their order: who drops repeats relies on it.
    """
    groups: list[list[int]] = []
    newest: dict[tuple[str, str, int], int] = {}
    last_of_stream: dict[str, int] = {}
    for number, request in enumerate(requests):
        if not len(request.batch):
            continue
        labels = request.batch.labels
        alone = id(labels) if len(labels) >= LARGE_DICTIONARY else 0
        kind = (request.actor, request.source, alone)
        stream = None if request.key is None else numbered(request.key)
        at_least = 0 if stream is None else last_of_stream.get(stream[0], 0)
        group = newest.get(kind, -1)
        if group < at_least:  # there is none, or it would come before the stream's last request
            group = newest[kind] = len(groups)
            groups.append([])
        groups[group].append(number)
        if stream is not None:
            last_of_stream[stream[0]] = group
    for numbers in groups:
        shared: list[int] = []
        size = 2
        for number in numbers:
            key = requests[number].key
            more = 0 if key is None else len(json.dumps(key)) + _SLICE_NUMBERS_BYTES
            if shared and size + more > SLICES_BYTES_MAX:
                yield shared
                shared, size = [], 2
            shared.append(number)
            size += more
        yield shared


def _union(batches: Sequence[MetricBatch]) -> _Union:
    """A series' type and unit are those that were stated last."""
    # Repeats of one sequence share their dictionary (see `series_cache`): each is taken once, in
    # the order in which they were used last.
    distinct: dict[int, MetricBatch] = {}
    for batch in batches:
        distinct.pop(id(batch.labels), None)
        distinct[id(batch.labels)] = batch
    last: dict[str, tuple[str, str]] = {}
    for batch in distinct.values():
        last.update(zip(batch.labels, zip(batch.types, batch.units, strict=True), strict=True))
    place = dict(zip(last, range(len(last)), strict=True))
    return _Union(
        tuple(last),
        tuple([kind for kind, _ in last.values()]),
        tuple([unit for _, unit in last.values()]),
        {
            number: np.array([place[text] for text in batch.labels], np.int32)
            for number, batch in distinct.items()
        },
        tuple(batch.labels for batch in distinct.values()),
    )


def _places(owner: Index) -> Ints:
    """How many earlier rows each row's owner has."""
    rows = np.arange(len(owner), dtype=np.int64)
    if not len(owner) or owner[0] == owner[-1]:
        return rows
    firsts = np.flatnonzero(np.r_[True, np.diff(owner) != 0])
    return rows - np.repeat(firsts, np.diff(firsts, append=len(owner)))


def _records(requests: Sequence[Request], partition: int, rows: _Rows) -> Iterator[Written]:
    """One record, or halves of it if it is too large: half the points with their series."""
    owners, firsts, counts = np.unique(rows.owner, return_index=True, return_counts=True)
    numbers = tuple(int(owner) for owner in owners)
    request = requests[numbers[-1]]
    envelope = Envelope(
        id=uuid4().hex,
        source=request.source,
        time_ms=request.time_ms,
        actor=request.actor,
        traceparent=next((found for n in numbers if (found := requests[n].traceparent)), ""),
    )
    message = encode(Event(envelope, MetricsCollected(rows.batch)))
    if len(message.body) > BYTES_MAX:
        middle = len(rows.batch) // 2
        yield from _records(requests, partition, rows.pick(np.arange(middle)))
        yield from _records(requests, partition, rows.pick(np.arange(middle, len(rows.batch))))
        return
    slices: list[Slice] = []
    for number, first, count in zip(numbers, firsts.tolist(), counts.tolist(), strict=True):
        key = requests[number].key
        if key is not None:
            slices.append(Slice(key, first, count, int(rows.place[first])))
    if slices:
        message = Message({**message.headers, SLICES_HEADER: encode_slices(slices)}, message.body)
    yield Written(Entry(POINTS, partition, message), numbers)
