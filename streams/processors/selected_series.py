"""Series by number, and which of them each selector means, kept up to date as series come.

Numbers are given out in the order of arrival: they never reach an event or a table. What a `Watch`
answers follows from the series that are known and from nothing else, so these may be shared by
older states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from streams.events.batch import Index, MetricBatch, take
from streams.log.protocol import BODY_BYTES_MAX
from streams.promql.frames import Ints, Labels, unnamed
from streams.promql.matchers import Matcher, matches

CACHED_LABELS_MAX: Final = 200_000
ROW_BYTES: Final = 24
SERIES_BYTES: Final = 32
"""Of a series beside its texts."""
SLACK_BYTES: Final = 32_768

_decode = msgspec.json.Decoder(dict[str, str]).decode


class SelectedSeries:
    """Label sets by number; it only grows. A dictionary that comes again is the same object (see
    `streams.events.batch_heads`), so whole dictionaries are looked up by identity."""

    def __init__(self) -> None:
        self.labels: list[Labels] = []
        self.nameless: list[Labels] = []
        self._numbers: dict[str, int] = {}
        self._postings: dict[tuple[str, str], list[int]] = {}
        self._all: list[int] = []
        self._watches: dict[tuple[Matcher, ...], Watch] = {}
        self._cache: dict[int, tuple[tuple[str, ...], Index]] = {}
        self._cached = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def watched(self) -> int:
        """How many watches there are."""
        return len(self._watches)

    def numbers(self, texts: tuple[str, ...]) -> Index:
        """The number of each label text."""
        found = self._cache.get(id(texts))
        if found is not None:
            return found[1]
        numbers = np.fromiter(map(self._number, texts), dtype=np.int32, count=len(texts))
        self._cache[id(texts)] = texts, numbers
        self._cached += len(texts)
        while self._cached > CACHED_LABELS_MAX and self._cache:
            oldest, _ = self._cache.pop(next(iter(self._cache)))
            self._cached -= len(oldest)
        return numbers

    def watch(self, matchers: Sequence[Matcher]) -> Watch:
        """The one watch of these matchers; `QueryError` where a pattern is refused."""
        key = tuple(matchers)
        if key not in self._watches:
            for matcher in key:
                matches(matcher, [""])
            self._watches[key] = Watch(self, key)
        return self._watches[key]

    def posting(self, matchers: Sequence[Matcher]) -> list[int]:
        """Series among which are all that these matchers mean: as few as one label tells."""
        best = self._all
        for matcher in matchers:
            if matcher.op == "=" and matcher.value:
                some = self._postings.setdefault((matcher.name, matcher.value), [])
                best = some if best is self._all or len(some) < len(best) else best
        return best

    def _number(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            labels = tuple(sorted(_decode(text).items()))
            number = self._numbers[text] = len(self.labels)
            self.labels.append(labels)
            self.nameless.append(unnamed(labels))
            self._all.append(number)
            for pair in labels:
                self._postings.setdefault(pair, []).append(number)
        return number


class Watch:
    """The series that a selector means."""

    def __init__(self, series: SelectedSeries, matchers: tuple[Matcher, ...]) -> None:
        self._series = series
        self._matchers = matchers
        self._posting = series.posting(matchers)
        self._read = 0
        self._rows: Ints = np.zeros(0, np.int64)
        self._ordered: tuple[Ints, tuple[Labels, ...]] = (self._rows, ())

    def rows(self) -> Ints:
        """Their numbers, ascending: what was told before is the beginning of what is told later."""
        if self._read < len(self._posting):
            fresh = np.array(self._posting[self._read :], dtype=np.int64)
            self._read = len(self._posting)
            for matcher in self._matchers:
                values = [self._value(row, matcher.name) for row in fresh.tolist()]
                fresh = fresh[matches(matcher, values)]
            if len(fresh):
                self._rows = np.concatenate((self._rows, fresh))
        return self._rows

    def ordered(self) -> tuple[Ints, tuple[Labels, ...]]:
        """Their numbers and labels, by labels."""
        rows = self.rows()
        if len(self._ordered[0]) != len(rows):
            order = sorted(rows.tolist(), key=self._series.labels.__getitem__)
            labels = tuple(map(self._series.labels.__getitem__, order))
            self._ordered = np.array(order, dtype=np.int64), labels
        return self._ordered

    def _value(self, row: int, name: str) -> str:
        for key, value in self._series.labels[row]:
            if key == name:
                return value
        return ""


def pieces(batch: MetricBatch) -> list[MetricBatch]:
    """The batch cut so that each piece is certain to encode to at most 1 MiB, by the size before
    compression."""
    texts = sum(len(text) if text.isascii() else len(text.encode()) for text in batch.labels)
    texts += 4 * sum(map(len, batch.units))
    size = texts + SERIES_BYTES * len(batch.labels) + ROW_BYTES * len(batch)
    if size + SLACK_BYTES <= BODY_BYTES_MAX or len(batch) < 2:
        return [batch]
    middle = len(batch) // 2
    rows = np.arange(len(batch))
    return pieces(take(batch, rows[:middle])) + pieces(take(batch, rows[middle:]))
