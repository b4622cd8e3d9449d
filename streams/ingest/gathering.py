"""A request's points as they are read, good and bad, until the request is whole."""

from __future__ import annotations

from array import array
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from streams.errors import TooLarge
from streams.events.batch import Floats, Ints, MetricBatch, take
from streams.ingest.one_point import Point
from streams.ingest.parsed import (
    POINTS_A_REQUEST_MAX,
    REJECTED_MAX,
    Content,
    Parsed,
    Rejected,
)
from streams.ingest.series_cache import (
    Entry,
    Remembered,
    SeriesCache,
    Stated,
    dictionary_of,
)
from streams.ingest.timestamps import ABSENT, FUTURE_MS_MAX


class Gathering:
    """Takes pieces of plain points at once, others one by one; then makes the request of them."""

    def __init__(self, source: str, cache: SeriesCache) -> None:
        self.source = source
        self._cache = cache
        self._count = 0
        self._entries: list[Entry] = []
        self._values: list[Floats] = []
        self._stated_ms: list[Ints] = []
        self._rejected: list[Rejected] = []
        self._rejected_at = array("q")
        self._sent: Stated | None = Stated()  # None: some point was not plain
        self._sent_bytes = 0
        self._known: Remembered | None = None
        self._as_known = False

    def add_piece(self, stated: Stated, values: Floats, stated_ms: Ints, bytes_sent: int) -> None:
        """Takes plain points. `ValueError`, and nothing is taken, if one of them is not valid."""
        start, count = self._count, len(values)
        if not count:
            return
        if start == 0:
            self._known = self._cache.recall(self.source, stated)
            self._as_known = self._known is not None
        if self._as_known and self._known and self._known.stated.same_from(start, stated):
            entries = self._known.entries[start : start + count]
        else:
            entries = self._cache.entries(self.source, stated)
            self._as_known = False
        self._counted(count)
        self._entries += entries
        self._values.append(values)
        self._stated_ms.append(stated_ms)
        if self._sent is not None:
            self._sent.extend(stated)
            self._sent_bytes += bytes_sent

    def add_point(self, point: Point) -> None:
        """Takes one point that was read slowly."""
        self._counted(1)
        self._entries.append(point.entry)
        self._values.append(np.array([point.value], np.float64))
        self._stated_ms.append(np.array([point.stated_ms], np.int64))
        self._not_plain()

    def reject(self, reason: str) -> None:
        """Counts a bad point, and keeps the reason while there are few."""
        if len(self._rejected) < REJECTED_MAX:
            self._rejected.append(Rejected(self._count, reason))
        self._rejected_at.append(self._count)
        self._counted(1)
        self._not_plain()

    def parsed(self, request_id: str | None, now_ms: int) -> Parsed:
        """The request, without the points of a far future."""
        known = self._known
        if self._as_known and known and len(known.entries) == self._count:
            dictionary = known.dictionary
        else:
            dictionary = dictionary_of(self._entries)
            if self._sent is not None and self._count:
                sequence = Remembered(self._sent, self._entries, dictionary)
                self._cache.remember(self.source, sequence, self._sent_bytes)
        content = Content(
            dictionary.labels,
            dictionary.types,
            dictionary.units,
            dictionary.series,
            np.concatenate([*self._stated_ms, np.empty(0, np.int64)]),
            np.concatenate([*self._values, np.empty(0, np.float64)]),
        )
        indices: Ints | None = None
        if self._rejected_at:
            indices = np.delete(np.arange(self._count), np.frombuffer(self._rejected_at, np.int64))
        return timed(
            Parsed(
                source=self.source,
                batch=stamped(content, now_ms),
                rejected=tuple(self._rejected),
                rejected_count=len(self._rejected_at),
                request_id=request_id,
                content=content,
                indices=indices,
            ),
            now_ms,
        )

    def _counted(self, points: int) -> None:
        self._count += points
        if self._count > POINTS_A_REQUEST_MAX:
            raise TooLarge(
                f"over {POINTS_A_REQUEST_MAX} points in one request; send them in several"
            )

    def _not_plain(self) -> None:
        self._sent = None
        self._as_known = False


def timed(parsed: Parsed, now_ms: int) -> Parsed:
    """The request without the points of a far future: they are rejected, each with its reason."""
    late = parsed.content.stated_ms > now_ms + FUTURE_MS_MAX
    if not late.any():
        return parsed
    places = np.arange(len(late)) if parsed.indices is None else parsed.indices
    told = [
        Rejected(int(places[row]), too_late(int(parsed.content.stated_ms[row]), now_ms))
        for row in np.flatnonzero(late)[:REJECTED_MAX]
    ]
    rejected = sorted([*parsed.rejected, *told], key=lambda one: one.index)[:REJECTED_MAX]
    return replace(
        parsed,
        batch=take(parsed.batch, np.flatnonzero(~late)),
        rejected=tuple(rejected),
        rejected_count=parsed.rejected_count + int(late.sum()),
        indices=places[~late],
    )


def stamped(content: Content, now_ms: int) -> MetricBatch:
    """The samples of a request; those that state no time have that of its receipt."""
    return MetricBatch(
        content.labels,
        content.types,
        content.units,
        content.series,
        np.where(content.stated_ms == ABSENT, now_ms, content.stated_ms),
        content.value,
    )


def too_late(stated_ms: int, now_ms: int) -> str:
    """Why a point of a far future is refused, in one sentence."""
    minutes = FUTURE_MS_MAX // 60_000
    now = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ahead_s = (stated_ms - now_ms) // 1000
    return (
        f"timestamp lies {ahead_s} s after the time of receipt, {now}; "
        f"at most {minutes} minutes are allowed"
    )
