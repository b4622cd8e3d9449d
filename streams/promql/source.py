"""Where the samples come from: one method, and the source that keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from streams.promql.frames import Flags, Floats, Ints, Labels
from streams.promql.matchers import Matcher, matches


@dataclass(frozen=True)
class Selected:
    """The samples of some series, one series after another, each strictly ascending in time."""

    labels: tuple[Labels, ...]
    """[S], distinct, ascending"""
    offsets: Ints
    """[S + 1]: series ``s`` has the samples ``offsets[s]`` to ``offsets[s + 1]``"""
    at_ms: Ints
    """[N]"""
    value: Floats
    """[N]; stale markers (`streams.events.batch.STALE_BITS`) are among them"""


class SeriesSource(Protocol):
    """Samples by series and time. Two calls with equal arguments within a query agree."""

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        """All samples from ``start_ms`` to ``end_ms``, both inclusive, of the series meant.

        A series without samples there may be left out or be empty. None where there are more than
        ``samples_max`` samples, which are not read then.
        """
        ...


@runtime_checkable
class DivisibleSource(SeriesSource, Protocol):
    """A source that may also be asked for some of its series alone, as long windows of many series
    need. No source must be one: without, such a window is refused earlier."""

    def share(self, number: int, shares: int) -> SeriesSource:
        """The ``number``-th of so many ``shares`` of each select: every series is in one."""
        ...


class MemorySource:
    """Samples that fit into memory; they cannot be changed once given."""

    def __init__(self, series: Mapping[Labels, tuple[Ints, Floats]]) -> None:
        """Per series times, strictly ascending, and values."""
        self._labels = tuple(sorted(series))
        columns = [series[labels] for labels in self._labels]
        self._offsets = np.cumsum([0] + [len(at) for at, _ in columns], dtype=np.int64)
        none = (np.zeros(0, np.int64), np.zeros(0, np.float64))
        self._at_ms = np.concatenate([at for at, _ in columns] + [none[0]])
        self._value = np.concatenate([value for _, value in columns] + [none[1]])
        self._columns: dict[str, tuple[Ints, list[str]]] = {}

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        """See `SeriesSource`."""
        rows = self._rows(matchers)
        labels = tuple(self._labels[row] for row in rows)
        counts = np.diff(self._offsets)[rows]
        at_ms, value = self._samples(rows, counts)
        if len(at_ms) and (at_ms.min() < start_ms or at_ms.max() > end_ms):
            inside = (at_ms >= start_ms) & (at_ms <= end_ms)
            kept = np.concatenate(([0], np.cumsum(inside)))
            ends = np.cumsum(counts)
            counts = kept[ends] - kept[ends - counts]
            at_ms, value = at_ms[inside], value[inside]
        if len(at_ms) > samples_max:
            return None
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        return Selected(labels, offsets, at_ms, value)

    def _samples(self, rows: Ints, counts: Ints) -> tuple[Ints, Floats]:
        if not len(rows):
            return self._at_ms[:0], self._value[:0]
        if rows[-1] - rows[0] + 1 == len(rows):
            run = slice(self._offsets[rows[0]], self._offsets[rows[-1] + 1])
            return self._at_ms[run], self._value[run]
        shift = self._offsets[rows] - (np.cumsum(counts) - counts)
        index = np.arange(counts.sum()) + np.repeat(shift, counts)
        return self._at_ms[index], self._value[index]

    def _rows(self, matchers: Iterable[Matcher]) -> Ints:
        taken: Flags = np.ones(len(self._labels), np.bool_)
        for matcher in matchers:
            codes, values = self._column(matcher.name)
            taken &= matches(matcher, values)[codes]
        return np.flatnonzero(taken).astype(np.int64)

    def _column(self, name: str) -> tuple[Ints, list[str]]:
        """A label of all series as codes into its distinct values."""
        if name not in self._columns:
            known: dict[str, int] = {"": 0}
            codes = np.zeros(len(self._labels), np.int64)
            for row, labels in enumerate(self._labels):
                for key, value in labels:
                    if key == name:
                        codes[row] = known.setdefault(value, len(known))
            self._columns[name] = (codes, list(known))
        return self._columns[name]
