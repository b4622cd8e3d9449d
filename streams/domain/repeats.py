"""Which rows of which requests a partition has absorbed, so that a repeated request counts once.

Pure, and bounded: a key is remembered for a horizon after its first sight, by record time, and the
oldest are forgotten first where they are too many. A row that is not known counts: what is
forgotten may count again, nothing is ever left out that was not absorbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.events.slices import Slice, numbered

Spans = tuple[int, ...]
"""Row intervals ``begin, end, begin, end, …``: ascending, none empty, none touching the next."""

Shard = tuple[int, int]
"""(minute of first sight, number): a part of the keys that is stored as one value."""

SHARD_KEYS_MAX: Final = 1_024
SPANS_A_KEY_MAX: Final = 16
"""A request whose rows come in more pieces than that is not remembered further."""

_MINUTE_MS = 60_000
_NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Limits:
    """``spans_max``: row intervals of all keys, nearly always one a key. ``streams_max``: numbered
    streams; the one that has not moved for longest is forgotten first."""

    horizon_ms: int = 3_600_000
    spans_max: int = 200_000
    streams_max: int = 2_048


@dataclass(frozen=True, slots=True)
class Stream:
    """The highest number absorbed of a stream, which rows of it, and when it last moved."""

    number: int
    rows: Spans
    moved: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was absorbed. ``keys``: rows by digest of the key, in shards; shards and keys in the
    order of their first sight. ``streams``: by digest of the stream's name, in the order in which
    they last moved; ``moves`` counts those. ``spans``: intervals of all keys. ``newest_ms``: the
    newest time of a record that had slices.

    What does not change is shared with older states: a shard that is another object has changed.
    """

    newest_ms: int = _NEVER
    moves: int = 0
    spans: int = 0
    keys: Mapping[Shard, Mapping[bytes, Spans]] = field(default_factory=dict)
    streams: Mapping[bytes, Stream] = field(default_factory=dict)


def absorb(
    seen: Seen, slices: Sequence[Slice], at_ms: int, limits: Limits = Limits()
) -> tuple[Seen, Spans]:
    """What is known after a record of this time with these slices, and the rows of it that are
    repeats.

    >>> seen, repeated = absorb(Seen(), [Slice("k", 0, 5, 0)], 0)
    >>> absorb(seen, [Slice("k", 0, 3, 4), Slice("other", 3, 3, 0)], 0)[1]
    (0, 1)
    """
    if not slices:
        return seen, ()
    run = _Run(seen, max(seen.newest_ms, at_ms), limits)
    repeated: list[int] = []
    for one in slices:
        begin, end = one.start, one.start + one.count
        for known_begin, known_end in _pairs(run.absorb(one.key, begin, end)):
            first = one.first - begin + known_begin
            if repeated and repeated[-1] == first:
                repeated.pop()
            else:
                repeated.append(first)
            repeated.append(first + known_end - known_begin)
    return run.result(), tuple(repeated)


def digest(text: str) -> bytes:
    """16 bytes for a key or the name of a stream."""
    return blake2b(text.encode(), digest_size=16).digest()


def overlap(spans: Spans, begin: int, end: int) -> Spans:
    """The parts of ``[begin, end)`` that are in the spans.

    >>> overlap((0, 5, 8, 9), 3, 20)
    (3, 5, 8, 9)
    """
    return tuple(
        edge
        for low, high in _pairs(spans)
        if max(low, begin) < min(high, end)
        for edge in (max(low, begin), min(high, end))
    )


def joined(spans: Spans, begin: int, end: int) -> Spans:
    """The spans with ``[begin, end)`` added.

    >>> joined((0, 5, 8, 9), 5, 7), joined((0, 5, 8, 9), 5, 8), joined((), 3, 3)
    ((0, 7, 8, 9), (0, 9), ())
    """
    if begin >= end:
        return spans
    before: list[int] = []
    after: list[int] = []
    for low, high in _pairs(spans):
        if high < begin:
            before += (low, high)
        elif low > end:
            after += (low, high)
        else:
            begin, end = min(low, begin), max(high, end)
    return (*before, begin, end, *after)


def uncovered(spans: Spans, size: int) -> npt.NDArray[np.bool_]:
    """For each of the first ``size`` rows whether no span holds it.

    >>> uncovered((1, 3), 4).tolist()
    [True, False, False, True]
    """
    flags = np.ones(size, dtype=np.bool_)
    for begin, end in _pairs(spans):
        flags[begin:end] = False
    return flags


class _Run:
    """One record in progress: copies of what it touches."""

    def __init__(self, seen: Seen, now_ms: int, limits: Limits) -> None:
        self._seen = seen
        self._now_ms = now_ms
        self._limits = limits
        self._keys = dict(seen.keys)
        self._spans = seen.spans
        self._copied: dict[Shard, dict[bytes, Spans]] = {}
        self._streams: dict[bytes, Stream] | None = None
        self._moves = seen.moves
        self._expire()

    def absorb(self, key: str, begin: int, end: int) -> Spans:
        """Adds rows of a key; returns which of them were there before."""
        stream = numbered(key)
        if stream is None:
            return self._absorb_key(digest(key), begin, end)
        return self._absorb_number(digest(stream[0]), stream[1], begin, end)

    def result(self) -> Seen:
        """The state after the record, within the limits."""
        self._forget(self._spans - self._limits.spans_max)
        streams = self._seen.streams if self._streams is None else self._streams
        if self._streams is not None and len(self._streams) > self._limits.streams_max:
            excess = len(self._streams) - self._limits.streams_max
            for oldest in list(islice(self._streams, excess)):
                del self._streams[oldest]
        return Seen(self._now_ms, self._moves, self._spans, self._keys, streams)

    def _absorb_key(self, key: bytes, begin: int, end: int) -> Spans:
        for shard, rows_of in self._keys.items():
            known = rows_of.get(key)
            if known is not None:
                rows = joined(known, begin, end)
                if rows != known and len(rows) <= 2 * SPANS_A_KEY_MAX:
                    self._store(shard, key, rows)
                    self._spans += (len(rows) - len(known)) // 2
                return overlap(known, begin, end)
        if begin < end:
            self._store(self._last_shard(), key, (begin, end))
            self._spans += 1
        return ()

    def _absorb_number(self, stream: bytes, number: int, begin: int, end: int) -> Spans:
        streams = self._seen.streams if self._streams is None else self._streams
        known = streams.get(stream)
        if begin >= end or (known is not None and number < known.number):
            return (begin, end) if begin < end else ()
        before = known.rows if known is not None and number == known.number else ()
        rows = joined(before, begin, end)
        if rows != before and len(rows) <= 2 * SPANS_A_KEY_MAX:
            if self._streams is None:
                self._streams = dict(self._seen.streams)
            self._streams.pop(stream, None)
            self._streams[stream] = Stream(number, rows, self._moves)
            self._moves += 1
        return overlap(before, begin, end)

    def _last_shard(self) -> Shard:
        """The shard that the next new key goes to."""
        minute = self._now_ms // _MINUTE_MS
        last = next(reversed(self._keys), None)
        if last is None or last[0] < minute:
            return minute, 0
        return last if len(self._keys[last]) < SHARD_KEYS_MAX else (minute, last[1] + 1)

    def _store(self, shard: Shard, key: bytes, rows: Spans) -> None:
        self._own(shard)[key] = rows

    def _own(self, shard: Shard) -> dict[bytes, Spans]:
        """This run's copy of a shard."""
        copy = self._copied.get(shard)
        if copy is None:
            copy = self._copied[shard] = dict(self._keys.get(shard, {}))
            self._keys[shard] = copy
        return copy

    def _expire(self) -> None:
        for shard in list(self._keys):
            if (shard[0] + 1) * _MINUTE_MS > self._now_ms - self._limits.horizon_ms:
                return
            self._spans -= _size(self._keys.pop(shard))

    def _forget(self, excess: int) -> None:
        """The oldest keys that hold so many intervals."""
        while excess > 0:
            oldest = next(iter(self._keys))
            size = _size(self._keys[oldest])
            if size <= excess:
                del self._keys[oldest]
                self._copied.pop(oldest, None)
                excess -= size
                self._spans -= size
                continue
            shard = self._own(oldest)
            for key in list(shard):
                if excess <= 0:
                    return
                size = len(shard.pop(key)) // 2
                excess -= size
                self._spans -= size
            del self._keys[oldest]  # what is empty cannot be told from what is not there
            del self._copied[oldest]


def remembered(
    newest_ms: int,
    moves: int,
    keys: Mapping[Shard, Mapping[bytes, Spans]],
    streams: Mapping[bytes, Stream],
) -> Seen:
    """The state that has these parts, as it was when they were stored."""
    return replace(
        Seen(newest_ms, moves, sum(map(_size, keys.values()))),
        keys=dict(sorted(keys.items())),
        streams=dict(sorted(streams.items(), key=lambda item: item[1].moved)),
    )


def _size(rows_of: Mapping[bytes, Spans]) -> int:
    return sum(map(len, rows_of.values())) // 2


def _pairs(spans: Spans) -> zip[tuple[int, int]]:
    return zip(spans[::2], spans[1::2], strict=True)
