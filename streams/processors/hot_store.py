"""The last minutes of the series that rules of one home read: a `SeriesSource` in memory.

The samples of all series lie in two columns, those of a series in a run of their own, ascending in
time, with room to grow; a run that is full or gets a sample out of order moves to the end, and when
the end is reached all is written anew without what nobody needs. What can be read follows from the
samples added and from the needs alone, not from when they were added; of two samples of a series
with one time the first stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.events.batch import Floats, Ints, MetricBatch
from streams.processors.selected_series import SelectedSeries, Watch
from streams.promql.frames import Flags
from streams.promql.matchers import Matcher
from streams.promql.selectors import is_stale
from streams.promql.source import Selected

ROOM_MIN: Final = 8
IDLE_SERIES_MAX: Final = 65_536
_NEVER: Final = -(2**62)

Need = tuple[tuple[Matcher, ...], int]
"""Matchers of a selector and how old its samples may be (ms)."""


@dataclass(frozen=True, slots=True)
class Newest:
    """Of each series the newest sample at a time: ``here`` unless it is stale or too old."""

    value: Floats
    here: Flags


class HotStore:
    """Samples no older than someone needs them. Changed in place by `add` and `need`."""

    def __init__(self) -> None:
        self.series = SelectedSeries()
        self._needs: dict[Watch, tuple[int, int]] = {}
        self._at_ms = np.zeros(0, np.int64)
        self._value = np.zeros(0, np.float64)
        self._end = 0
        self._start = np.zeros(0, np.int64)
        self._room = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._keep_ms = np.zeros(0, np.int64)
        self._now_ms = _NEVER

    def __len__(self) -> int:
        """Samples that are held."""
        return int(self._count.sum())

    @property
    def lookback_ms(self) -> int:
        """The longest that is needed."""
        return max((keep_ms for keep_ms, _ in self._needs.values()), default=0)

    def crowded(self) -> bool:
        """Whether most series that are known have no samples any more."""
        return len(self.series) > 2 * int(np.count_nonzero(self._count)) + IDLE_SERIES_MAX

    def need(self, needs: Iterable[Need]) -> None:
        """What is needed from now on, instead of what was before."""
        watched: dict[Watch, tuple[int, int]] = {}
        for matchers, keep_ms in needs:
            watch = self.series.watch(matchers)
            watched[watch] = max(keep_ms, watched.get(watch, (0, 0))[0]), 0
        self._needs = watched
        self._keep_ms[:] = 0
        self._keep()

    def add(self, batch: MetricBatch, now_ms: int) -> None:
        """Adds what is needed of a batch at ``now_ms`` or later."""
        self._now_ms = now_ms
        rows = self.series.numbers(batch.labels)[batch.series].astype(np.int64)
        self._keep()
        at_ms, value = batch.at_ms, batch.value
        keep_ms = self._keep_ms[rows]
        wanted = (keep_ms > 0) & (at_ms > now_ms - keep_ms)
        if not wanted.all():
            rows, at_ms, value = rows[wanted], at_ms[wanted], value[wanted]
        if len(rows):
            self._insert(*_sorted(rows, at_ms, value))

    def newest(self, at_ms: int, lookback_ms: int) -> Newest:
        """Of all series, as an instant selector sees them."""
        held = np.flatnonzero(self._count)
        last = self._upto(held, at_ms) - 1
        found = last >= self._start[held]
        held, last = held[found], last[found]
        value = np.zeros(len(self._count))
        here = np.zeros(len(self._count), np.bool_)
        value[held] = self._value[last]
        here[held] = (self._at_ms[last] > at_ms - lookback_ms) & ~is_stale(self._value[last])
        return Newest(value, here)

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        """See `SeriesSource`."""
        rows, labels = self.series.watch(matchers).ordered()
        begin = self._upto(rows, start_ms - 1)
        counts = self._upto(rows, end_ms) - begin
        if int(counts.sum()) > samples_max:
            return None
        index = _spread(begin, counts)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        return Selected(labels, offsets, self._at_ms[index], self._value[index])

    def _keep(self) -> None:
        """How long samples of each series are kept, of those that came since too."""
        more = len(self.series) - len(self._count)
        if more:
            none = np.zeros(more, np.int64)
            self._start = np.concatenate((self._start, none))
            self._room = np.concatenate((self._room, none))
            self._count = np.concatenate((self._count, none))
            self._keep_ms = np.concatenate((self._keep_ms, none))
        for watch, (keep_ms, read) in self._needs.items():
            rows = watch.rows()
            if len(rows) > read:
                fresh = rows[read:]
                self._keep_ms[fresh] = np.maximum(self._keep_ms[fresh], keep_ms)
                self._needs[watch] = keep_ms, len(rows)

    def _insert(self, rows: Ints, at_ms: Ints, value: Floats) -> None:
        """Samples sorted by (series, time) without repeats."""
        begins = np.flatnonzero(np.diff(rows, prepend=-1))
        counts = np.diff(begins, append=len(rows))
        each = rows[begins]
        held = self._count[each]
        fits = held + counts <= self._room[each]
        last = np.full(len(each), _NEVER)
        some = np.flatnonzero(held)
        last[some] = self._at_ms[self._start[each[some]] + held[some] - 1]
        easy = fits & (at_ms[begins] > last)
        grows = np.repeat(easy, counts)
        index = _spread(self._start[each[easy]] + held[easy], counts[easy])
        self._at_ms[index], self._value[index] = at_ms[grows], value[grows]
        self._count[each[easy]] += counts[easy]
        if not easy.all():
            self._move(each[~easy], rows[~grows], at_ms[~grows], value[~grows])

    def _move(self, each: Ints, rows: Ints, at_ms: Ints, value: Floats) -> None:
        """Merges samples into these series' runs, each in a new place at the end."""
        index = _spread(self._start[each], self._count[each])
        held = np.repeat(each, self._count[each])
        needed = self._at_ms[index] > self._now_ms - self._keep_ms[held]
        held, index = held[needed], index[needed]
        self._count[each] = 0
        rows, at_ms, value = _sorted(
            np.concatenate((held, rows)),
            np.concatenate((self._at_ms[index], at_ms)),
            np.concatenate((self._value[index], value)),
        )
        counts = np.bincount(np.searchsorted(each, rows), minlength=len(each))
        room = np.maximum(ROOM_MIN, 2 * counts)
        if self._end + int(room.sum()) > len(self._at_ms):
            self._rewrite(int(room.sum()))
        self._start[each] = self._end + np.cumsum(room) - room
        self._room[each], self._count[each] = room, counts
        self._end += int(room.sum())
        index = _spread(self._start[each], counts)
        self._at_ms[index], self._value[index] = at_ms, value

    def _rewrite(self, more: int) -> None:
        """All that is needed, side by side, in columns that have room for as much again."""
        index = _spread(self._start, self._count)
        rows = np.repeat(np.arange(len(self._count)), self._count)
        needed = self._at_ms[index] > self._now_ms - self._keep_ms[rows]
        rows, index = rows[needed], index[needed]
        counts = np.bincount(rows, minlength=len(self._count))
        room = np.where(counts, np.maximum(ROOM_MIN, 2 * counts), 0)
        size = int(room.sum())
        at_ms, value = self._at_ms[index], self._value[index]
        self._start, self._room, self._count = np.cumsum(room) - room, room, counts
        self._end = size
        self._at_ms = np.zeros(2 * (size + more), np.int64)
        self._value = np.zeros(2 * (size + more))
        index = _spread(self._start, counts)
        self._at_ms[index], self._value[index] = at_ms, value

    def _upto(self, rows: Ints, at_ms: int) -> Ints:
        """Past the last sample of each of these series that is not after a time: a search of all
        runs at once."""
        low = self._start[rows]
        high = low + self._count[rows]
        open_ = np.flatnonzero(low < high)
        while len(open_):
            middle = (low[open_] + high[open_]) >> 1
            before = self._at_ms[middle] <= at_ms
            low[open_[before]] = middle[before] + 1
            high[open_[~before]] = middle[~before]
            open_ = open_[low[open_] < high[open_]]
        return low


def _sorted(rows: Ints, at_ms: Ints, value: Floats) -> tuple[Ints, Ints, Floats]:
    """By series and time; of equal ones the first stays."""
    order = np.lexsort((at_ms, rows))
    rows, at_ms = rows[order], at_ms[order]
    again = (rows[1:] == rows[:-1]) & (at_ms[1:] == at_ms[:-1])
    if again.any():
        kept = np.concatenate(([True], ~again))
        order, rows, at_ms = order[kept], rows[kept], at_ms[kept]
    return rows, at_ms, value[order]


def _spread(begin: Ints, counts: Ints) -> Ints:
    """The numbers of runs, one after another.

    >>> _spread(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    spread: Ints = np.arange(total) + np.repeat(begin - ends + counts, counts)
    return spread
