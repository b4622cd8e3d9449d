"""What `route` knows: versions of rules, whose past is still to be read, which series go where."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np

from streams.errors import OffsetOutOfRange, QueryError
from streams.events.batch import MetricBatch, take
from streams.events.rules import Rule
from streams.processors.rule_needs import needs_of
from streams.processors.seam import ReadBack
from streams.processors.selected_series import SelectedSeries, Watch

ARRIVAL_SLACK_MS: Final = 60_000
"""A sample may be appended this long before its time and is still found."""
OLD_MS: Final = 600_000
"""How long a superseded version is routed for: other partitions may take so long to tell theirs."""
SERIES_MAX: Final = 1_000_000
WATCHES_MAX: Final = 100_000


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version of a rule. ``begin``, ``end``: the offsets between which its past lies; ``end`` is
    that of its fact."""

    rule: Rule
    begin: int
    end: int


class Routed(msgspec.Struct, frozen=True):
    """A rule's versions that are routed for, ascending."""

    versions: tuple[Version, ...]


Key = tuple[str, int]
"""A rule's id and a version."""


class Pass(msgspec.Struct, frozen=True):
    """The past that is being read: of these versions, from ``cursor`` to ``end``."""

    cursor: int
    end: int
    versions: tuple[Key, ...]


class Marks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where routing stands. ``fact``: the highest number of a fact about rules; ``waiting``:
    versions for the next pass; ``deleted``: ids that the homes are not told of yet; ``retiring``:
    at a time, the versions of a rule below one are routed for no more."""

    tick_ms: int | None = None
    fact: int = -1
    waiting: tuple[Key, ...] = ()
    reading: Pass | None = None
    deleted: tuple[str, ...] = ()
    retiring: tuple[tuple[int, str, int], ...] = ()


def home_of(rule_id: str, partitions: int) -> int:
    """The partition of ``rules.inputs`` where a rule is evaluated.

    >>> home_of("high-cpu", 4)
    0
    """
    return zlib.crc32(rule_id.encode()) % partitions


def first_since(read_back: ReadBack, end: int, since_ms: int) -> int:
    """The first offset below ``end`` of a record that was appended at or after a time. What the log
    does not keep any more counts as before."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        try:
            found = read_back(middle, min(middle + 1, end)) or read_back(middle, high)
        except OffsetOutOfRange:
            low = middle + 1
            continue
        if found and found[0].at_ms < since_ms:
            low = found[0].offset + 1
        else:
            high = middle
    return low


def kept_from(read_back: ReadBack, begin: int, end: int) -> int:
    """The first offset from ``begin`` on that the log still keeps; ``end`` where there is none."""
    try:
        read_back(begin, min(begin + 1, end))
    except OffsetOutOfRange:
        return first_since(read_back, end, -(2**62))
    return begin


class Homes:
    """Of each series the homes whose rules select it. A cache: it follows from the rules alone."""

    def __init__(self, partitions: int, rules: Iterable[Rule], series: SelectedSeries) -> None:
        self.series = series
        self._homes: dict[tuple[Watch, int], int] = {}
        for rule in rules:
            for matchers in needs_of(rule).selectors:
                with suppress(QueryError):  # whoever evaluates it tells why
                    self._homes[series.watch(matchers), home_of(rule.id, partitions)] = 0
        self._known = 0
        self._flags = np.zeros((0, partitions), np.bool_)

    def split(self, batch: MetricBatch, until_ms: int) -> Iterator[tuple[int, MetricBatch]]:
        """What of a batch goes to which home, without samples after ``until_ms``."""
        if not self._homes or not len(batch):
            return
        numbers = self.series.numbers(batch.labels)
        self._extend()
        flags = self._flags[numbers]
        if not flags.any():
            return
        inside = batch.at_ms <= until_ms
        for home in np.flatnonzero(flags.any(axis=0)).tolist():
            wanted = flags[:, home][batch.series] & inside
            if wanted.all():
                yield home, batch
            elif wanted.any():
                yield home, take(batch, np.flatnonzero(wanted))

    def _extend(self) -> None:
        """Flags of the series that came since."""
        size = len(self.series)
        if size == self._known:
            return
        if size > len(self._flags):
            more = np.zeros((size, self._flags.shape[1]), np.bool_)
            self._flags = np.concatenate((self._flags, more))
        for (watch, home), read in self._homes.items():
            rows = watch.rows()
            if len(rows) > read:
                self._flags[rows[read:], home] = True
                self._homes[watch, home] = len(rows)
        self._known = size


def roomy(series: SelectedSeries) -> SelectedSeries:
    """These series, or none where they have become too many: they come again by themselves."""
    full = len(series) > SERIES_MAX or series.watched > WATCHES_MAX
    return SelectedSeries() if full else series
