"""`Outgoing`: a producer's points as columns until they are sent, and the series that they are of.

Names and limits are those of `collect_metrics`: a series that it would refuse is refused here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.errors import InputError
from streams.events.batch import POINTS_MAX, Floats, Index, Ints, MetricBatch
from streams.events.labels import series_partition
from streams.ingest.one_point import read_series
from streams.ingest.series_limits import SOURCE_MAX

PREPARED_MAX: Final = 4
"""Tuples of series whose numbers are remembered."""

ANOTHERS: Final = "a series was made by another producer; make it by this one's series"

Dictionary = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A series of one producer, checked once; made by its ``series``."""

    text: str
    number: int
    outgoing: Outgoing = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Points in the order in which they came; ``series``: numbers of `Outgoing`."""

    series: Index
    at_ms: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.series)


def series_key(
    name: str, labels: Mapping[str, str] | None, metric_type: str, unit: str | None
) -> Key:
    """What `Outgoing.known` knows a series by; labels first, then their values, in their order."""
    if not labels:
        return (name, metric_type, unit)
    return (name, metric_type, unit, *labels, *labels.values())


class Outgoing:
    """For one source. At most ``series_max`` series; callers see to threads (one at a time).

    A series stated with two types or units is sent with those that its point was stated with.
    """

    def __init__(self, source: str, series_max: int = SOURCE_MAX) -> None:
        self._source = source
        self._series_max = series_max
        self._number_of: dict[Key, int] = {}
        self.known = self._number_of.get
        """The number of a `Key` that `number` made; any thread may ask."""
        self._kinds: dict[tuple[str, str, str], int] = {}
        self.labels: list[str] = []
        self.types: list[str] = []
        self.units: list[str] = []
        self._texts: set[str] = set()
        self._series = array("i")
        self._at_ms = array("q")
        self._value = array("d")
        self._pieces: list[Columns] = []
        self.waiting = 0
        """How many points `take` would give."""
        self._prepared: dict[int, tuple[tuple[Series, ...], Index]] = {}

    @property
    def stated_twice(self) -> bool:
        """Whether some series was stated with two types or units."""
        return len(self._texts) < len(self.labels)

    def number(
        self, name: str, labels: Mapping[str, str] | None, metric_type: str, unit: str | None
    ) -> int:
        """The number of a series; `InputError` with the reason where it cannot be one."""
        try:
            entry = read_series(self._source, name, labels, metric_type, unit)
        except ValueError as error:
            raise InputError(str(error)) from error
        if entry.text not in self._texts and len(self._texts) >= self._series_max:
            raise InputError(
                f"this producer has {self._series_max} series already and may have no new ones; "
                "series_max is the limit"
            )
        kind = (entry.text, entry.type, entry.unit)
        number = self._kinds.setdefault(kind, len(self.labels))
        if number == len(self.labels):
            self._texts.add(entry.text)
            self.labels.append(entry.text)
            self.types.append(entry.type)
            self.units.append(entry.unit)
        if len(self._number_of) >= 4 * self._series_max:  # one may be stated in many orders
            self._number_of.clear()
        self._number_of[series_key(name, labels, metric_type, unit)] = number
        return number

    def add(self, number: int, at_ms: int, value: float) -> None:
        """Takes one point."""
        self._series.append(number)
        self._at_ms.append(at_ms)
        self._value.append(value)
        self.waiting += 1

    def extend(self, columns: Columns) -> None:
        """Takes points that the caller does not change any more."""
        self._seal()
        self._pieces.append(columns)
        self.waiting += len(columns)

    def numbers(self, series: Sequence[Series]) -> Index:
        """Their numbers; quick for a tuple that came before. `InputError` for another's series."""
        known = self._prepared.get(id(series))
        if known is not None:  # the tuple is kept, so its id is nobody else's
            return known[1]
        if any(one.outgoing is not self for one in series):
            raise InputError(ANOTHERS)
        numbers = np.array([one.number for one in series], np.int32)
        if isinstance(series, tuple):
            while len(self._prepared) >= PREPARED_MAX:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[id(series)] = (series, numbers)
        return numbers

    def take(self) -> Columns:
        """All points that wait; none are left."""
        self._seal()
        pieces, self._pieces, self.waiting = self._pieces, [], 0
        if len(pieces) == 1:
            return pieces[0]
        return Columns(
            np.concatenate([np.empty(0, np.int32), *(piece.series for piece in pieces)]),
            np.concatenate([np.empty(0, np.int64), *(piece.at_ms for piece in pieces)]),
            np.concatenate([np.empty(0, np.float64), *(piece.value for piece in pieces)]),
        )

    def _seal(self) -> None:
        if not self._series:
            return
        self._pieces.append(
            Columns(
                np.frombuffer(self._series, np.int32),
                np.frombuffer(self._at_ms, np.int64),
                np.frombuffer(self._value, np.float64),
            )
        )
        self._series, self._at_ms, self._value = array("i"), array("q"), array("d")


class Partitioned:
    """Columns to batches of one partition each, as the edge cuts them; for one thread."""

    def __init__(self, outgoing: Outgoing, partitions: int) -> None:
        self._outgoing = outgoing
        self._partitions = partitions
        self._partition_of = np.empty(0, np.int16)
        self._newest: dict[int, tuple[Index, Dictionary]] = {}

    def batches(self, columns: Columns) -> Iterator[tuple[int, MetricBatch]]:
        """Batches of at most 50,000 points; the points of a partition keep their order."""
        if not len(columns):
            return
        of_row = self._of_series()[columns.series]
        order = np.argsort(of_row, kind="stable")
        counts = np.bincount(of_row, minlength=self._partitions)
        ends = np.cumsum(counts)
        for partition in np.flatnonzero(counts).tolist():
            end = int(ends[partition])
            begin = end - int(counts[partition])
            for start in range(begin, end, POINTS_MAX):
                rows = order[start : min(start + POINTS_MAX, end)]
                yield partition, self._batch(partition, columns, rows)

    def _of_series(self) -> npt.NDArray[np.int16]:
        known, labels = len(self._partition_of), self._outgoing.labels
        if known < len(labels):
            more = [series_partition(text, self._partitions) for text in labels[known:]]
            self._partition_of = np.concatenate([self._partition_of, np.array(more, np.int16)])
        return self._partition_of

    def _batch(self, partition: int, columns: Columns, rows: npt.NDArray[np.intp]) -> MetricBatch:
        numbers = columns.series[rows]
        seen = np.zeros(len(self._partition_of), np.bool_)
        seen[numbers] = True
        used = np.flatnonzero(seen).astype(np.int32)
        place = np.empty(len(seen), np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        dictionary = self._dictionary(partition, used)
        series = place[numbers]
        if self._outgoing.stated_twice and len(set(dictionary[0])) < len(used):
            dictionary, series = _once(dictionary, series)
        return MetricBatch(*dictionary, series, columns.at_ms[rows], columns.value[rows])

    def _dictionary(self, partition: int, used: Index) -> Dictionary:
        """Labels, types and units: the same tuples as long as a partition has the same series."""
        newest = self._newest.get(partition)
        if newest is not None and np.array_equal(newest[0], used):
            return newest[1]
        numbers, outgoing = used.tolist(), self._outgoing
        dictionary = (
            tuple([outgoing.labels[number] for number in numbers]),
            tuple([outgoing.types[number] for number in numbers]),
            tuple([outgoing.units[number] for number in numbers]),
        )
        self._newest[partition] = (used, dictionary)
        return dictionary


def _once(dictionary: Dictionary, series: Index) -> tuple[Dictionary, Index]:
    """Each series once, with the type and unit of its last point, as `collect_metrics` has it."""
    labels, types, units = dictionary
    last_row = np.empty(len(labels), np.intp)
    last_row[series] = np.arange(len(series))
    chosen: dict[str, int] = {}
    for number in np.argsort(last_row).tolist():
        chosen[labels[number]] = number
    place = {text: i for i, text in enumerate(chosen)}
    moved = np.array([place[text] for text in labels], np.int32)
    picked = list(chosen.values())
    once = (
        tuple([labels[number] for number in picked]),
        tuple([types[number] for number in picked]),
        tuple([units[number] for number in picked]),
    )
    return once, moved[series]
