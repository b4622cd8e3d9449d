"""Label texts to small numbers, and their canonical order.

Numbers are given out in the order of arrival, which differs between a process that lived on and
one that was restored: they never reach an event or a table. Order comes from `SeriesIndex.ranks`,
which follows from the texts alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from streams.events.batch import OBSERVATIONS, Index, Ints

CACHED_LABELS_MAX = 200_000

Dictionary = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
Entry = tuple[str, str, str]


class SeriesIndex:
    """Entries (labels, type, unit) by number. It only grows, so every older state that refers to
    it stays valid; `windows` starts a new one when most entries are no longer in use.

    A producer sends the same dictionary again and again, so whole dictionaries are resolved from a
    cache (at most 200,000 label texts in all); look-ups one by one would cost more than the
    aggregation of the samples.
    """

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._types: list[str] = []
        self._units: list[str] = []
        self._ids: dict[Entry, int] = {}
        self._series: dict[str, int] = {}
        self._series_of: list[int] = []
        self._ranked: list[int] = []
        self._ranks = np.zeros(0, dtype=np.int32)
        self._observed = np.zeros(0, dtype=np.bool_)
        self._bytes = np.zeros(0, dtype=np.int64)
        self._cache: dict[tuple[int, int, int], tuple[Dictionary, Index]] = {}
        self._cached_labels = 0

    def __len__(self) -> int:
        return len(self._labels)

    def resolve(
        self, labels: tuple[str, ...], types: tuple[str, ...], units: tuple[str, ...]
    ) -> Index:
        """The number of each entry of a batch's dictionary."""
        # By identity, which costs nothing: a dictionary that came before is the same object again
        # (see `streams.events.batch_heads`). What is kept here keeps its ids from being reused.
        place = (id(labels), id(types), id(units))
        found = self._cache.get(place)
        if found is not None:
            return found[1]
        numbers = np.fromiter(
            (self._number(entry) for entry in zip(labels, types, units, strict=True)),
            dtype=np.int32,
            count=len(labels),
        )
        self._cache[place] = (labels, types, units), numbers
        self._cached_labels += len(labels)
        while self._cached_labels > CACHED_LABELS_MAX and self._cache:
            oldest, _ = self._cache.pop(next(iter(self._cache)))
            self._cached_labels -= len(oldest[0])
        return numbers

    def dictionary(self, numbers: Index) -> Dictionary:
        """The inverse of `resolve`."""
        ids = numbers.tolist()
        return (
            tuple(map(self._labels.__getitem__, ids)),
            tuple(map(self._types.__getitem__, ids)),
            tuple(map(self._units.__getitem__, ids)),
        )

    def ranks(self) -> Index:
        """For each entry the place of its labels in the order of all label texts (by code point);
        entries with equal labels have equal ranks."""
        known, size = len(self._ranked), len(self)
        if known < size:
            # two sorted runs: the second sort only merges them
            added = sorted(range(known, size), key=self._labels.__getitem__)
            self._ranked = sorted(self._ranked + added, key=self._labels.__getitem__)
            order = np.array(self._ranked)
            series = np.array(self._series_of)[order]
            steps = np.r_[0, np.diff(series) != 0]
            ranks = np.empty(size, dtype=np.int32)
            ranks[order] = np.cumsum(steps)
            self._ranks = ranks
        return self._ranks

    def observed(self) -> npt.NDArray[np.bool_]:
        """For each entry whether its samples are observations (histogram, summary)."""
        known = len(self._observed)
        if known < len(self):
            added = [type_ in OBSERVATIONS for type_ in self._types[known:]]
            self._observed = np.concatenate([self._observed, np.array(added, dtype=np.bool_)])
        return self._observed

    def text_bytes(self) -> Ints:
        """For each entry the UTF-8 length of its three texts."""
        known = len(self._bytes)
        if known < len(self):
            added = [_bytes(entry) for entry in self._since(known)]
            self._bytes = np.concatenate([self._bytes, np.array(added, dtype=np.int64)])
        return self._bytes

    def _since(self, known: int) -> Iterator[Entry]:
        return zip(self._labels[known:], self._types[known:], self._units[known:], strict=True)

    def _number(self, entry: Entry) -> int:
        number = self._ids.get(entry)
        if number is None:
            labels, type_, unit = entry
            number = self._ids[entry] = len(self)
            self._labels.append(labels)
            self._types.append(type_)
            self._units.append(unit)
            self._series_of.append(self._series.setdefault(labels, len(self._series)))
        return number


def _bytes(entry: Entry) -> int:
    return sum(len(text.encode()) for text in entry)
