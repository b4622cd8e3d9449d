"""Rows of repeated requests left out, with what that needs as packed table values.

Values are written where samples are folded, and say what was known then:

- ``seen/<minute>/<n>``: the keys first seen in a minute, up to 1,024 a value;
- ``seen/streams``, ``seen/newest``: the numbered streams, and the counters of `Seen`;
- ``dropped/<n>``: rows of records that had samples waiting then, which `restore` reads again from
  the log and must not take.

From there on everything follows again from the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from streams.domain import repeats
from streams.domain.repeats import Limits, Seen, Shard, Spans, Stream
from streams.events.batch import MetricBatch
from streams.events.slices import slices_of
from streams.log.protocol import Record

SEEN: Final = "seen/"
DROPPED: Final = "dropped/"
STREAMS: Final = "seen/streams"
NEWEST: Final = "seen/newest"
DROPPED_ROWS_MAX: Final = 1_024
"""Row intervals of one ``dropped`` value; the last record's may go over."""

Changes = dict[str, bytes | None]
_Keys = list[tuple[bytes, Spans]]
_Streams = list[tuple[bytes, int, Spans, int]]


class Dropped(msgspec.Struct, frozen=True, array_like=True):
    """Rows left out: record offset and intervals. ``last_ms``: no sample of them is newer."""

    last_ms: int
    rows: tuple[tuple[int, Spans], ...]

    @property
    def size(self) -> int:
        return sum(len(spans) for _, spans in self.rows) // 2


@dataclass(frozen=True, slots=True)
class Repeats:
    """``seen``, ``dropped``: as of now; ``stored_seen``, ``stored_dropped``: as in the table.

    ``uncounted``: samples left out since the last fold.
    """

    seen: Seen = field(default_factory=Seen)
    dropped: Mapping[int, Dropped] = field(default_factory=dict)
    stored_seen: Seen = field(default_factory=Seen)
    stored_dropped: Mapping[int, Dropped] = field(default_factory=dict)
    uncounted: int = 0


def is_repeats(key: str) -> bool:
    """Whether a table key is one of this module's."""
    return key.startswith((SEEN, DROPPED))


def absorb(
    state: Repeats, record: Record, batch: MetricBatch, limits: Limits
) -> tuple[Repeats, Spans]:
    """The state after a record, and which of its rows are repeats.

    `PoisonError` where its ``slices`` cannot be read: nothing is known of its rows then.
    """
    slices = slices_of(record.headers, len(batch))
    seen, spans = repeats.absorb(state.seen, slices, record.at_ms, limits)
    if not spans:
        return state if seen is state.seen else replace(state, seen=seen), ()
    last_ms = int(batch.at_ms.max())
    dropped = dict(state.dropped)
    last = next(reversed(dropped), -1)
    if last < 0 or dropped[last].size >= DROPPED_ROWS_MAX:
        dropped[last + 1] = Dropped(last_ms, ((record.offset, spans),))
    else:
        known = dropped[last]
        rows = (*known.rows, (record.offset, spans))
        dropped[last] = Dropped(max(last_ms, known.last_ms), rows)
    return replace(state, seen=seen, dropped=dropped), spans


def count(state: Repeats, samples: int) -> Repeats:
    """The state with so many samples more to be told as duplicates."""
    return replace(state, uncounted=state.uncounted + samples) if samples else state


def folded(state: Repeats, first_pending: int, reduced_below_ms: int) -> Repeats:
    """The state after a fold: dropped rows that can wait no more are forgotten."""
    dropped = {
        number: each
        for number, each in state.dropped.items()
        if each.last_ms >= reduced_below_ms and each.rows[-1][0] >= first_pending
    }
    return replace(state, dropped=dropped, uncounted=0)


def stored(table: Mapping[str, bytes]) -> Repeats:
    """The inverse of `changes`: the state as it was when the table was written."""
    keys: dict[Shard, dict[bytes, Spans]] = {}
    streams: dict[bytes, Stream] = {}
    dropped: dict[int, Dropped] = {}
    newest_ms, moves = Seen().newest_ms, 0
    for key, value in table.items():
        if key == NEWEST:
            newest_ms, moves = msgspec.msgpack.decode(value, type=tuple[int, int])
        elif key == STREAMS:
            for name, number, spans, moved in msgspec.msgpack.decode(value, type=_Streams):
                streams[name] = Stream(number, spans, moved)
        elif key.startswith(SEEN):
            minute, shard = key.removeprefix(SEEN).split("/")
            keys[int(minute), int(shard)] = dict(msgspec.msgpack.decode(value, type=_Keys))
        else:
            number = int(key.removeprefix(DROPPED))
            dropped[number] = msgspec.msgpack.decode(value, type=Dropped)
    seen = repeats.remembered(newest_ms, moves, keys, streams)
    dropped = dict(sorted(dropped.items()))
    return Repeats(seen, dropped, seen, dropped)


def dropped_rows(state: Repeats) -> dict[int, Spans]:
    """By record offset; of records that have samples waiting, all."""
    return dict(rows for each in state.dropped.values() for rows in each.rows)


def changes(before: Repeats, after: Repeats) -> Changes:
    """The table values (None deletes) that lead from what is stored to ``after``, which was
    `folded` just now."""
    values: Changes = {}
    old, new = before.stored_seen, after.seen
    for shard in sorted(old.keys.keys() - new.keys.keys()):
        values[_shard_key(shard)] = None
    for shard, rows_of in new.keys.items():
        if old.keys.get(shard) is not rows_of:
            values[_shard_key(shard)] = msgspec.msgpack.encode(list(rows_of.items()))
    if new.moves != old.moves:
        values[STREAMS] = msgspec.msgpack.encode(
            [(name, each.number, each.rows, each.moved) for name, each in new.streams.items()]
        )
    if (new.newest_ms, new.moves) != (old.newest_ms, old.moves):
        values[NEWEST] = msgspec.msgpack.encode((new.newest_ms, new.moves))
    for number in sorted(before.stored_dropped.keys() - after.dropped.keys()):
        values[f"{DROPPED}{number}"] = None
    for number, each in after.dropped.items():
        if before.stored_dropped.get(number) is not each:
            values[f"{DROPPED}{number}"] = msgspec.msgpack.encode(each)
    return values


def written(state: Repeats, after_fold: Repeats) -> Repeats:
    """The state whose table has what `changes` made of ``after_fold``."""
    return replace(state, stored_seen=after_fold.seen, stored_dropped=after_fold.dropped)


def _shard_key(shard: Shard) -> str:
    return f"{SEEN}{shard[0]}/{shard[1]}"
