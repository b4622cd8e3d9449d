"""`StoredRequests`: what is known of requests, in memory as in the file.

A row a key, so that a transaction writes only what is new or has changed. What is forgotten goes
with it: for the horizon that is once a minute, a shard at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from projections.requests import Requests
from streams.domain.repeats import Seen, Shard, Spans, Stream, remembered

_ROWS = pa.list_(pa.int64())
_PLACE = [("partition", pa.int32()), ("minute", pa.int64()), ("shard", pa.int32())]
_KEY = [("key", pa.binary())]
_NEW = pa.schema([*_PLACE, *_KEY, ("rows", _ROWS), ("number", pa.int64())])
_CHANGED = pa.schema([*_PLACE, *_KEY, ("rows", _ROWS)])
_FORGOTTEN = pa.schema([*_PLACE, *_KEY])
_GONE = pa.schema(_PLACE)
_STREAM = pa.schema([_PLACE[0], *_KEY])
_MOVED = pa.schema([*_STREAM, ("number", pa.int64()), ("rows", _ROWS), ("moved", pa.int64())])


@dataclass(slots=True)
class _Delta:
    """Rows of the statements that lead from one state to the next."""

    gone: list[tuple[int, int, int]] = field(default_factory=list)
    forgotten: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    changed: list[tuple[int, int, int, bytes, Spans]] = field(default_factory=list)
    new: list[tuple[int, int, int, bytes, Spans]] = field(default_factory=list)
    stale_streams: list[tuple[int, bytes]] = field(default_factory=list)
    streams: list[tuple[int, bytes, int, Spans, int]] = field(default_factory=list)


class StoredRequests:
    """For the file's one writer. ``known`` is what was committed: set it after the commit."""

    def __init__(self, db: Any) -> None:
        """Loads what the file holds."""
        self._db = db
        self.known: Requests = _load(db)
        (row,) = db.execute("SELECT coalesce(max(number) + 1, 0) FROM requests").fetchall()
        self._number = int(row[0])

    def write(self, after: Requests) -> None:
        """Writes what differs from ``known``, inside the caller's transaction.

        Every transaction that absorbs a keyed request has a row for it and the partition's clock:
        two statements; the others only where there is something for them.
        """
        delta = _Delta()
        for partition, seen in after.items():
            before = self.known.get(partition, Seen())
            if seen is not before:
                _compare_keys(delta, partition, before, seen)
                _compare_streams(delta, partition, before, seen)
        self._delete("requests", _GONE, delta.gone)
        self._delete("requests", _FORGOTTEN, delta.forgotten)
        if delta.changed:
            same = _same("requests", _FORGOTTEN)
            self._db.register("incoming", _table(_CHANGED, delta.changed))
            self._db.execute(f"UPDATE requests SET rows = incoming.rows FROM incoming WHERE {same}")  # noqa: S608
            self._db.unregister("incoming")
        numbered = [(*row, self._number + i) for i, row in enumerate(delta.new)]
        self._number += len(numbered)
        self._insert("requests", _NEW, numbered)
        self._delete("request_streams", _STREAM, delta.stale_streams)
        self._insert("request_streams", _MOVED, delta.streams)
        clocks = _clocks(after)
        if clocks != _clocks(self.known):
            self._write_clocks(clocks)

    def _write_clocks(self, clocks: list[tuple[int, int, int]]) -> None:
        """All of them anew, as they are few."""
        self._db.execute("DELETE FROM request_clocks")
        self._db.execute(
            "INSERT INTO request_clocks SELECT unnest($1::INTEGER[]), unnest($2::BIGINT[]), "
            "unnest($3::BIGINT[])",
            [list(column) for column in zip(*clocks, strict=True)],
        )

    def _insert(self, table: str, schema: Any, rows: list[Any]) -> None:
        if rows:
            self._db.register("incoming", _table(schema, rows))
            self._db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608
            self._db.unregister("incoming")

    def _delete(self, table: str, schema: Any, rows: list[Any]) -> None:
        if rows:
            self._db.register("incoming", _table(schema, rows))
            self._db.execute(f"DELETE FROM {table} USING incoming WHERE {_same(table, schema)}")  # noqa: S608
            self._db.unregister("incoming")


def _compare_keys(delta: _Delta, partition: int, before: Seen, after: Seen) -> None:
    delta.gone += [(partition, *shard) for shard in before.keys.keys() - after.keys.keys()]
    for shard, rows_of in after.keys.items():
        known = before.keys.get(shard, {})
        if rows_of is known:
            continue
        if not _continues(known, rows_of):  # its rows' numbers would tell another order
            delta.gone.append((partition, *shard))
            known = {}
        delta.forgotten += [(partition, *shard, key) for key in known.keys() - rows_of.keys()]
        for key, rows in rows_of.items():
            if key not in known:
                delta.new.append((partition, *shard, key, rows))
            elif rows != known[key]:
                delta.changed.append((partition, *shard, key, rows))


def _continues(before: Mapping[bytes, Spans], after: Mapping[bytes, Spans]) -> bool:
    """Whether the keys that are left come first, in the order that they had."""
    left = (key for key in before if key in after)
    return all(key == other for key, other in zip(left, after, strict=False))


def _compare_streams(delta: _Delta, partition: int, before: Seen, after: Seen) -> None:
    if after.streams is before.streams:
        return
    old, new = before.streams, after.streams
    moved = [key for key, stream in new.items() if stream is not old.get(key)]
    stale = (old.keys() - new.keys()) | (old.keys() & set(moved))
    delta.stale_streams += [(partition, key) for key in stale]
    for key in moved:
        stream = new[key]
        delta.streams.append((partition, key, stream.number, stream.rows, stream.moved))


def _clocks(requests: Requests) -> list[tuple[int, int, int]]:
    return [(number, seen.newest_ms, seen.moves) for number, seen in sorted(requests.items())]


def _same(table: str, schema: Any) -> str:
    """The condition that a row of ``incoming`` means a row of the table."""
    return " AND ".join(f'{table}."{name}" = incoming."{name}"' for name in schema.names)


def _table(schema: Any, rows: Iterable[tuple[Any, ...]]) -> Any:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)],
        schema=schema,
    )


def _load(db: Any) -> dict[int, Seen]:
    keys: dict[int, dict[Shard, dict[bytes, Spans]]] = {}
    found = db.sql(
        'SELECT "partition", minute, shard, key, rows FROM requests ORDER BY number'
    ).to_arrow_table()
    for partition, minute, shard, key, rows in _rows(found):
        shards = keys.setdefault(partition, {})
        shards.setdefault((minute, shard), {})[key] = tuple(rows)
    streams: dict[int, dict[bytes, Stream]] = {}
    found = db.sql(
        'SELECT "partition", key, number, rows, moved FROM request_streams'
    ).to_arrow_table()
    for partition, key, number, rows, moved in _rows(found):
        streams.setdefault(partition, {})[key] = Stream(number, tuple(rows), moved)
    clocks = db.execute('SELECT "partition", newest_ms, moves FROM request_clocks').fetchall()
    return {
        partition: remembered(newest_ms, moves, keys.get(partition, {}), streams.get(partition, {}))
        for partition, newest_ms, moves in clocks
    }


def _rows(table: Any) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
