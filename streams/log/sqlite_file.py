"""The embedded log's file: its schema, how it is made, how connections are opened.

One SQLite database in WAL mode. A record's rowid is its partition's id and its offset, so a
partition is one run of the table, in order::

    records       every message: rowid = (partitions.id << 40) | offset
    partitions    where each partition starts and ends, and the last link of its checksum chain
    request_keys  idempotency keys of the horizon, oldest first
    tables        one row a processor and partition: how many values, the sum of their checksums
    table_rows    the values
    meta          log_id, topics, partitions, how many tables and transactions there are
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from streams.errors import LogDamaged, LogError, LogUnavailable
from streams.events.topics import partitions_of
from streams.log.checksum import first_link, row_checksum

OFFSET_BITS = 40
FORMAT = 1
APPLICATION_ID = 0x4C666D31

META = "meta"

SCHEMA = (
    "CREATE TABLE records(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, crc INTEGER NOT NULL, "
    "headers TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE partitions(id INTEGER PRIMARY KEY, topic TEXT NOT NULL, "
    "partition INTEGER NOT NULL, start_offset INTEGER NOT NULL, start_link INTEGER NOT NULL, "
    "next_offset INTEGER NOT NULL, link INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
    "crc INTEGER NOT NULL)",
    "CREATE TABLE request_keys(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
    "digest BLOB NOT NULL, positions TEXT NOT NULL, at_ms INTEGER NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE tables(id INTEGER PRIMARY KEY, processor TEXT NOT NULL, "
    "partition INTEGER NOT NULL, rows INTEGER NOT NULL, sum INTEGER NOT NULL, "
    "crc INTEGER NOT NULL, UNIQUE(processor, partition))",
    "CREATE TABLE table_rows(id INTEGER PRIMARY KEY, table_id INTEGER NOT NULL, "
    "key TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL, UNIQUE(table_id, key))",
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL)",
)

_WRITER_PATIENCE_S = 0.1
_READER_PATIENCE_S = 5.0
"""How long SQLite waits for a lock; a reader meets one only while an owner opens or closes."""

_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_DAMAGE_CODES |= {sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_FORMAT}
_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_SHORT_READ = sqlite3.SQLITE_IOERR_SHORT_READ


def create(path: Path, *, topics: Sequence[str], partitions: int) -> None:
    """Makes a whole new log beside and renames it: a crash leaves nothing or all of it.

    The caller holds the owner lock. The file is readable by its owner only (mode 0600).
    """
    beside = Path(f"{path}.new")
    try:
        for leftover in (beside, Path(f"{beside}-wal"), Path(f"{beside}-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        db = connect(beside)
        try:
            db.execute("PRAGMA page_size=4096")
            db.execute("PRAGMA encoding='UTF-8'")
            db.execute("PRAGMA auto_vacuum=NONE")
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={FORMAT}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                db.execute(statement)
            log_id = uuid.uuid4().hex
            for key, value in (("log_id", log_id), ("partitions", str(partitions))):
                write_meta(db, key, value)
            write_meta(db, "tables", "0")
            write_meta(db, "commits", "0")
            write_meta(db, "topics", json.dumps(list(topics)))
            add_partitions(db, log_id, topics, partitions, first_id=1)
            db.execute("COMMIT")
        finally:
            db.close()
        fd = os.open(beside, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        beside.replace(path)
        fd = os.open(path.parent, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    except (OSError, sqlite3.Error) as error:
        raise LogUnavailable(f"cannot make a log at {path}: {error}") from error


def add_partitions(
    db: sqlite3.Connection, log_id: str, topics: Iterable[str], partitions: int, *, first_id: int
) -> None:
    """Empty partitions for new topics; inside the caller's transaction."""
    new = [
        (topic, partition)
        for topic in topics
        for partition in range(partitions_of(topic, partitions))
    ]
    for row_id, (topic, partition) in enumerate(new, first_id):
        link = first_link(log_id, topic, partition)
        write_partition(db, (row_id, topic, partition, 0, link, 0, link, 0))


def write_partition(
    db: sqlite3.Connection, row: tuple[int, str, int, int, int, int, int, int]
) -> None:
    """One row of ``partitions`` without its checksum, which is added."""
    db.execute(
        "INSERT OR REPLACE INTO partitions VALUES(?,?,?,?,?,?,?,?,?)", (*row, row_checksum(*row))
    )


def write_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """One row of ``meta`` with its checksum."""
    row = (value, row_checksum(key, value), key)
    if not db.execute("UPDATE meta SET value=?, crc=? WHERE key=?", row).rowcount:
        db.execute("INSERT INTO meta(value, crc, key) VALUES(?,?,?)", row)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun by hand. Text comes as bytes, so that
    damaged text is caught by its checksum and not by a decoder.

    A read-only one never checkpoints, also not when it is the last to close: one process only may
    do that (https://www.sqlite.org/wal.html#walresetbug).
    """
    timeout_s = _READER_PATIENCE_S if read_only else _WRITER_PATIENCE_S
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    db = sqlite3.connect(
        uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    db.text_factory = bytes
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("PRAGMA cell_size_check=ON")
    db.execute("PRAGMA secure_delete=OFF")
    db.execute("PRAGMA cache_size=-2000")
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute(f"PRAGMA journal_size_limit={64 << 20}")
    return db


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the driver raises: also its own stumbling over a message that quotes damaged text."""


def is_busy(error: Exception) -> bool:
    """Another process holds the file's lock; it will pass."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES


def as_log_error(path: Path, error: Exception) -> LogError:
    """What an error of SQLite means for the log: damage, or a disk that does not take part."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if isinstance(error, UnicodeDecodeError):
        return damaged(path, "SQLite quotes bytes that are no text")
    if code == _SHORT_READ or code & 0xFF in _DAMAGE_CODES:
        return damaged(path, str(error))
    return LogUnavailable(
        f"the log {path} cannot be used right now: {error}; "
        "nothing of this is stored. See to the disk's space and rights, then try again"
    )


def damaged(path: Path, found: str) -> LogDamaged:
    """The error with what was found and how to go on."""
    return LogDamaged(
        f"the log {path} is damaged: {found}. Nothing was changed. Copy it with its -wal file to a "
        "safe place, then restore a backup, or move it away to start a new log"
    )
