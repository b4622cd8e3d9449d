"""Units of writing: checked and laid out by the caller's thread, then written in groups.

A unit is written as a whole or refused as a whole; a refused one leaves its group unharmed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streams.log.checksum import add, record_checksum, row_checksum
from streams.log.limits import check_keys, encoded_headers, require_partition
from streams.log.protocol import DuplicateRequest, Entry, Known, Position, Receipt, RequestKey
from streams.log.sqlite_file import write_meta, write_partition
from streams.log.sqlite_rows import Heads, TableHead, Tables, checksum_of, require

KEYS_PRUNED_MAX = 2_048
"""In one transaction; more than a group can bring, so that old keys never pile up."""
_OVERHEAD_BYTES = 512
"""What a waiting entry, key or table value costs beside its bytes, roughly."""

Outcome = Receipt | DuplicateRequest


@dataclass(frozen=True, slots=True)
class TableChanges:
    """New values of one table (None deletes), written with the unit's entries."""

    processor: str
    partition: int
    changes: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Unit:
    """What the writer gets: ``entries`` as (partition, headers as JSON, body)."""

    entries: tuple[tuple[tuple[str, int], bytes, bytes], ...]
    keys: tuple[RequestKey, ...]
    table: TableChanges | None
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the writer knows of the committed file; ``commits`` numbers its transactions."""

    heads: Heads
    tables: Tables
    commits: int


def prepare(
    topics: Mapping[str, int],
    entries: Sequence[Entry],
    keys: Sequence[RequestKey] = (),
    table: TableChanges | None = None,
) -> Unit:
    """The unit, checked: `InputError` for an unknown topic or partition or what is no text,
    `TooLarge` over a limit. ``topics``: their numbers of partitions."""
    rows = []
    size = _OVERHEAD_BYTES * (1 + len(entries) + len(keys))
    for entry in entries:
        require_partition(topics, entry.topic, entry.partition)
        encoded_headers(entry.message)
        headers = _json(entry.message.headers)
        body = entry.message.body
        rows.append(((entry.topic, entry.partition), headers, body))
        size += len(headers) + len(body)
    check_keys(keys)
    if table is not None:
        size += sum(len(v or b"") + len(k) + _OVERHEAD_BYTES for k, v in table.changes.items())
    return Unit(tuple(rows), tuple(keys), table, size)


def write_group(
    db: sqlite3.Connection,
    path: Path,
    stored: Stored,
    units: Sequence[Unit],
    *,
    now_ms: int,
    horizon_ms: int,
) -> tuple[Stored, list[Outcome]]:
    """Writes what can be written, inside the caller's transaction; one outcome a unit.

    The result is what will be stored once the caller has committed.
    """
    heads, tables = dict(stored.heads), dict(stored.tables)
    outcomes: list[Outcome] = []
    for unit in units:
        known = _known(db, path, unit.keys, now_ms - horizon_ms)
        if known:
            outcomes.append(DuplicateRequest(known))
            continue
        receipt = _append(db, heads, unit, now_ms)
        _remember(db, unit.keys, receipt, now_ms)
        if unit.table is not None:
            _change(db, tables, unit.table)
        outcomes.append(receipt)
    for where, head in heads.items():
        if head is not stored.heads[where]:
            row = (head.id, head.topic, head.partition, head.start, head.start_link)
            write_partition(db, (*row, head.end, head.link, head.at_ms))
    for key, table in tables.items():
        if table is not stored.tables.get(key):
            _write_table(db, table)
    if len(tables) != len(stored.tables):
        write_meta(db, "tables", str(len(tables)))
    write_meta(db, "commits", str(stored.commits + 1))
    return Stored(heads, tables, stored.commits + 1), outcomes


def prune_keys(db: sqlite3.Connection, before_ms: int) -> int:
    """Forgets up to `KEYS_PRUNED_MAX` of the oldest keys that are past the horizon; how many."""
    return db.execute(
        "DELETE FROM request_keys WHERE id IN "
        "(SELECT id FROM (SELECT id, at_ms FROM request_keys ORDER BY id LIMIT ?) WHERE at_ms < ?)",
        (KEYS_PRUNED_MAX, before_ms),
    ).rowcount


def oldest_key_ms(db: sqlite3.Connection) -> int | None:
    """When the oldest key was remembered; None without any."""
    row = db.execute("SELECT at_ms FROM request_keys ORDER BY id LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def _append(db: sqlite3.Connection, heads: Heads, unit: Unit, now_ms: int) -> Receipt:
    rows, positions = [], []
    for where, headers, body in unit.entries:
        head = heads[where]
        at_ms = max(head.at_ms, now_ms)
        crc = record_checksum(head.link, head.end, at_ms, headers, body)
        rows.append((head.row_id(head.end), at_ms, crc, headers.decode(), body))
        positions.append(Position(*where, head.end))
        heads[where] = replace(head, end=head.end + 1, link=crc, at_ms=at_ms)
    db.executemany("INSERT INTO records VALUES(?,?,?,?,?)", rows)
    return Receipt(tuple(positions))


def _known(
    db: sqlite3.Connection, path: Path, keys: Sequence[RequestKey], horizon_ms: int
) -> dict[str, Known]:
    known = {}
    for key in keys:
        row = db.execute(
            "SELECT id, key, digest, positions, at_ms, crc FROM request_keys WHERE key=?",
            (key.key,),
        ).fetchone()
        if row is None:
            continue
        require(path, checksum_of(*row[1:5]), row[5], "an idempotency key")
        if row[4] < horizon_ms:
            db.execute("DELETE FROM request_keys WHERE id=?", (row[0],))
            continue
        positions = tuple(Position(*position) for position in json.loads(row[3]))
        known[key.key] = Known(row[2], Receipt(positions))
    return known


def _remember(
    db: sqlite3.Connection, keys: Sequence[RequestKey], receipt: Receipt, now_ms: int
) -> None:
    if not keys:
        return
    places = [[p.topic, p.partition, p.offset] for p in receipt.positions]
    positions = json.dumps(places, separators=(",", ":"))
    db.executemany(
        "INSERT INTO request_keys(key, digest, positions, at_ms, crc) VALUES(?,?,?,?,?)",
        [
            (k.key, k.digest, positions, now_ms, row_checksum(k.key, k.digest, positions, now_ms))
            for k in keys
        ],
    )


def _change(db: sqlite3.Connection, tables: Tables, table: TableChanges) -> None:
    name = (table.processor, table.partition)
    head = tables.get(name) or TableHead(len(tables) + 1, *name)
    rows, total = head.rows, head.sum
    for key, value in table.changes.items():
        old = db.execute(
            "SELECT id, crc FROM table_rows WHERE table_id=? AND key=?", (head.id, key)
        ).fetchone()
        if old is not None:
            db.execute("DELETE FROM table_rows WHERE id=?", (old[0],))
            rows, total = rows - 1, add(total, -old[1])
        if value is not None:
            crc = row_checksum(head.id, key, value)
            db.execute(
                "INSERT INTO table_rows(table_id, key, value, crc) VALUES(?,?,?,?)",
                (head.id, key, value, crc),
            )
            rows, total = rows + 1, add(total, crc)
    tables[name] = replace(head, rows=rows, sum=total)


def _write_table(db: sqlite3.Connection, table: TableHead) -> None:
    row = (table.id, table.processor, table.partition, table.rows, table.sum)
    crc = row_checksum(*row)
    db.execute("INSERT OR REPLACE INTO tables VALUES(?,?,?,?,?,?)", (*row, crc))


def _json(headers: Mapping[str, str]) -> bytes:
    return json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":")).encode()
