"""How many series there may be: in all, and of each source. New ones beyond are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from streams.events.batch import take
from streams.events.labels import SOURCE, parse_series
from streams.ingest.parsed import REJECTED_MAX, Parsed, Rejected, shown

TOTAL_MAX: Final = 1_000_000
SOURCE_MAX: Final = 100_000
TOTAL_SETTING: Final = "LOGFIRE_MCP_SERIES_MAX"
SOURCE_SETTING: Final = "LOGFIRE_MCP_SOURCE_SERIES_MAX"

_MARKS = ('{"source":"', ',"source":"')


class SeriesLimits:
    """Counts series as they are admitted; what is known is always admitted.

    Holds at most ``total_max`` identities (and those that `seed` was given). A series counts from
    its admission, even if the write that brought it fails.
    """

    def __init__(self, total_max: int = TOTAL_MAX, source_max: int = SOURCE_MAX) -> None:
        self.total_max = total_max
        self.source_max = source_max
        self._known: set[str] = set()
        self._by_source: Counter[str] = Counter()

    @property
    def series(self) -> int:
        """How many are known."""
        return len(self._known)

    def seed(self, texts: Iterable[str]) -> None:
        """Counts series that were stored before, whatever the limits are now."""
        for text in texts:
            if text not in self._known:
                self._know(text, source_of(text))

    def all_known(self, texts: Iterable[str]) -> bool:
        """Whether `admit` would pass each of them without counting anything."""
        return self._known.issuperset(texts)

    def admit(self, text: str) -> str | None:
        """None if the series may be written; else the reason, with the limit and its setting."""
        if text in self._known:
            return None
        source = source_of(text)
        if self._by_source[source] >= self.source_max:
            return (
                f"source {shown(source)} has {self.source_max} series already and may have no "
                f"new ones; {SOURCE_SETTING} is the limit"
            )
        if len(self._known) >= self.total_max:
            return f"there are {self.total_max} series already; {TOTAL_SETTING} is the limit"
        self._know(text, source)
        return None

    def admitted(self, parsed: Parsed) -> Parsed:
        """The request without the points of series over the limits; they are rejected."""
        batch = parsed.batch
        if self.all_known(batch.labels):
            return parsed
        reasons = [self.admit(text) for text in batch.labels]
        over = np.array([reason is not None for reason in reasons], bool)
        if not over.any():
            return parsed
        refused = over[batch.series]
        rows = np.flatnonzero(refused)
        places = np.arange(len(batch)) if parsed.indices is None else parsed.indices
        told = [
            Rejected(int(places[row]), reasons[batch.series[row]] or "")
            for row in rows[:REJECTED_MAX]
        ]
        rejected = sorted([*parsed.rejected, *told], key=lambda one: one.index)
        return replace(
            parsed,
            batch=take(batch, np.flatnonzero(~refused)),
            rejected=tuple(rejected[:REJECTED_MAX]),
            rejected_count=parsed.rejected_count + len(rows),
            indices=places[~refused],
        )

    def _know(self, text: str, source: str) -> None:
        self._known.add(text)
        self._by_source[source] += 1


def source_of(text: str) -> str:
    r"""The label ``source`` of an identity, "" if it has none; quick where nothing is escaped.

    >>> source_of('{"__name__":"cpu","source":"edge"}'), source_of('{"a,\\"source":"x"}')
    ('edge', '')
    """
    for mark in _MARKS:
        # A quote inside a string is escaped, so a comma and a bare quote begin or end a string,
        # and one that is followed by this label's name and a colon begins the label.
        start = text.find(mark)
        if start >= 0:
            start += len(mark)
            value = text[start : text.index('"', start)]
            return value if "\\" not in value else parse_series(text)[1][SOURCE]
    return ""
