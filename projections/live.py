"""`LiveTail`: the newest sample of each series and the last minutes, in memory.

It absorbs the same `Change` as the file, after the commit; bounded by time and by samples.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from projections.answers import Selection
from projections.matching import match_series
from projections.series import NEVER, SeriesTable
from streams.events.batch import Floats, Index, Ints

SPAN_MS = 5 * 60_000
"""How far back `LiveTail.recent` reaches."""

POINTS_MAX = 1_000_000
"""Samples kept at most (20 bytes each)."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Samples: ``texts[series[i]]`` at ``at_ms[i]`` was ``value[i]`` (maybe the staleness marker).

    Ordered by series text, then time.
    """

    texts: tuple[str, ...]
    series: Index
    at_ms: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Samples of one transaction. ``appended_ms``: when the log took the last of them."""

    appended_ms: int
    series: Index
    at_ms: Ints
    value: Floats


class LiveTail:
    """Reads are safe from any thread, and see whole transactions."""

    def __init__(
        self, known: SeriesTable, *, span_ms: int = SPAN_MS, points_max: int = POINTS_MAX
    ) -> None:
        self._known = known
        self._span_ms = span_ms
        self._points_max = points_max
        self._lock = threading.Lock()
        self._chunks: deque[_Chunk] = deque()
        self._size = 0
        self._now_ms = NEVER

    def __len__(self) -> int:
        return self._size

    def absorb(self, appended_ms: int, series: Index, at_ms: Ints, value: Floats) -> None:
        """The samples of one transaction; of more than the limit the last are kept."""
        with self._lock:
            self._now_ms = max(self._now_ms, appended_ms)
            if len(series):
                rows = slice(max(0, len(series) - self._points_max), None)
                # Copies: a view would keep a whole record's memory for a part of it.
                chunk = _Chunk(
                    self._now_ms, series[rows].copy(), at_ms[rows].copy(), value[rows].copy()
                )
                self._chunks.append(chunk)
                self._size += len(chunk.series)
            while self._chunks and (
                self._size > self._points_max
                or self._chunks[0].appended_ms < self._now_ms - self._span_ms
            ):
                self._size -= len(self._chunks.popleft().series)

    def set_latest(self, series: Index, at_ms: Ints, value: Floats) -> None:
        """The newest samples of some series, each once."""
        with self._lock:
            self._known.set_latest(series, at_ms, value)

    def latest(self, selection: Selection) -> Tail:
        """The newest sample of each selected series, where its time is in the range."""
        ids = self._selected(selection)
        with self._lock:
            at_ms = self._known.newest(len(self._known))[ids]
            value = self._known.values()[ids]
        keep = (at_ms != NEVER) & (at_ms >= selection.start_ms) & (at_ms <= selection.end_ms)
        return self._tail(ids[keep], at_ms[keep], value[keep])

    def recent(self, selection: Selection) -> Tail:
        """The selected samples of the last `SPAN_MS` before the newest record was appended.

        Samples that came with old timestamps are not in it, nor the oldest of more than
        `POINTS_MAX`.
        """
        ids = self._selected(selection)
        with self._lock:
            chunks = list(self._chunks)
            start = max(selection.start_ms, self._now_ms - self._span_ms)
        wanted = np.zeros(len(self._known) + 1, dtype=np.bool_)
        wanted[ids] = True
        kept = [_cut(chunk, wanted, start, selection.end_ms) for chunk in chunks]
        if not kept:
            return self._tail(ids[:0], np.empty(0, np.int64), np.empty(0, np.float64))
        series, at_ms, value = (np.concatenate(column) for column in zip(*kept, strict=True))
        return self._tail(series, at_ms, value)

    def _selected(self, selection: Selection) -> Index:
        names = None if selection.metric is None else (selection.metric,)
        matched = match_series(self._known, names, selection.matchers)
        return np.array(matched.ids, dtype=np.int32)

    def _tail(self, ids: Index, at_ms: Ints, value: Floats) -> Tail:
        used = np.unique(ids).tolist()
        texts = sorted(self._known.texts[number] for number in used)
        rank = {text: i for i, text in enumerate(texts)}
        ranks = {number: rank[self._known.texts[number]] for number in used}
        series = _mapped(ids, ranks)
        order = np.lexsort((at_ms, series))
        return Tail(tuple(texts), series[order], at_ms[order], value[order])


def _cut(
    chunk: _Chunk, wanted: np.typing.NDArray[np.bool_], start_ms: int, end_ms: int
) -> tuple[Index, Ints, Floats]:
    inside = chunk.series < len(wanted)  # a chunk may be newer than the selection
    keep = (chunk.at_ms >= start_ms) & (chunk.at_ms <= end_ms) & inside
    keep[keep] = wanted[chunk.series[keep]]
    return chunk.series[keep], chunk.at_ms[keep], chunk.value[keep]


def _mapped(ids: Index, ranks: dict[int, int]) -> Index:
    values: Iterable[int] = map(ranks.__getitem__, ids.tolist())
    return np.fromiter(values, dtype=np.int32, count=len(ids))
