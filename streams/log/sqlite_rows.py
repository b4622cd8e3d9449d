"""The embedded log's small tables: their rows as values, each verified by its checksum."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from streams.events.topics import partitions_of
from streams.log.checksum import add, first_link, row_checksum
from streams.log.sqlite_file import OFFSET_BITS, add_partitions, connect, damaged, write_meta


@dataclass(frozen=True, slots=True)
class Meta:
    """What the log is. ``tables``: how many there are; ``commits``: transactions so far."""

    log_id: str
    partitions: int
    topics: tuple[str, ...]
    tables: int
    commits: int


@dataclass(frozen=True, slots=True)
class Head:
    """One partition as it is stored: its first offset, its end, and the chain's links at both.

    ``start_link`` is the checksum before the first record, ``link`` that of the last.
    """

    id: int
    topic: str
    partition: int
    start: int
    start_link: int
    end: int
    link: int
    at_ms: int

    def row_id(self, offset: int) -> int:
        return (self.id << OFFSET_BITS) | offset


@dataclass(frozen=True, slots=True)
class TableHead:
    """One table as it is stored: how many values, and the sum of their checksums."""

    id: int
    processor: str
    partition: int
    rows: int = 0
    sum: int = 0


Heads = dict[tuple[str, int], Head]
Tables = dict[tuple[str, int], TableHead]


def read_meta(db: sqlite3.Connection, path: Path) -> Meta:
    """The verified rows of ``meta``; a missing one is damage."""
    meta: dict[str, str] = {}
    for key, value, crc in db.execute("SELECT key, value, crc FROM meta NOT INDEXED"):
        require(path, checksum_of(key, value), crc, "its identity (table meta)")
        meta[key.decode()] = value.decode()
    if missing := {"log_id", "partitions", "topics", "tables", "commits"} - meta.keys():
        raise damaged(path, f"its identity lacks {', '.join(sorted(missing))}")
    return Meta(
        log_id=meta["log_id"],
        partitions=int(meta["partitions"]),
        topics=tuple(json.loads(meta["topics"])),
        tables=int(meta["tables"]),
        commits=int(meta["commits"]),
    )


def read_heads(db: sqlite3.Connection, path: Path, meta: Meta) -> Heads:
    """The verified rows of ``partitions``: all that the log was made with, and no other."""
    heads: Heads = {}
    for *row, crc in db.execute("SELECT * FROM partitions ORDER BY id"):
        require(path, checksum_of(*row), crc, "the table of partitions")
        row[1] = row[1].decode()
        head = Head(*row)
        first = first_link(meta.log_id, head.topic, head.partition)
        if head.start == 0 and head.start_link != first:
            raise damaged(path, f"{head.topic}/{head.partition} belongs to another log")
        heads[head.topic, head.partition] = head
    expected = {
        (topic, i) for topic in meta.topics for i in range(partitions_of(topic, meta.partitions))
    }
    if heads.keys() != expected:
        raise damaged(path, "the table of partitions is not complete")
    return heads


def read_tables(db: sqlite3.Connection, path: Path, meta: Meta) -> Tables:
    """The verified rows of ``tables``, by (processor, partition). There are few; no index is
    trusted to find them."""
    tables: Tables = {}
    for *row, crc in db.execute(
        "SELECT id, processor, partition, rows, sum, crc FROM tables NOT INDEXED"
    ):
        require(path, checksum_of(*row), crc, "the list of tables")
        row[1] = row[1].decode()
        table = TableHead(*row)
        tables[table.processor, table.partition] = table
    if len(tables) != meta.tables:
        raise damaged(path, f"{len(tables)} tables are there, not {meta.tables}")
    return tables


def read_table(db: sqlite3.Connection, path: Path, table: TableHead) -> dict[str, bytes]:
    """The verified values of one table; inside the caller's transaction."""
    what = f"the table of {table.processor}/{table.partition}"
    values: dict[str, bytes] = {}
    seen = 0
    query = "SELECT key, value, crc FROM table_rows WHERE table_id=?"
    for key, value, crc in db.execute(query, (table.id,)):
        require(path, checksum_of(table.id, key, value), crc, what)
        values[key.decode()] = value
        seen = add(seen, crc)
    if len(values) != table.rows or seen != table.sum:
        found = f"{what} holds {len(values)} values, other than the {table.rows} stored"
        raise damaged(path, found)
    return values


def add_topics(path: Path, meta: Meta, new: Sequence[str]) -> None:
    """Gives a log of an older version the topics that this version has in addition."""
    with closing(connect(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        write_meta(db, "topics", json.dumps([*meta.topics, *new]))
        first_id = sum(partitions_of(topic, meta.partitions) for topic in meta.topics) + 1
        add_partitions(db, meta.log_id, new, meta.partitions, first_id=first_id)
        db.execute("COMMIT")


def require(path: Path, actual: int | None, stored: object, what: str) -> None:
    """`LogDamaged` unless the checksum computed is the one stored."""
    if actual is None or actual != stored:
        raise damaged(path, f"{what} fails its checksum")


def checksum_of(*values: object) -> int | None:
    """None where a damaged row holds what was never written."""
    if not all(isinstance(value, int | bytes) for value in values):
        return None
    return row_checksum(*values)  # type: ignore[arg-type]
