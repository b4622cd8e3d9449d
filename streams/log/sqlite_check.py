"""What is verified before an embedded log is used: bounded in time, however large the log is.

Up to `WHOLE_BYTES_MAX` everything is read; above, the write-ahead log, the structure, and the end
of every partition. Whatever is read later is verified then (`streams.log.sqlite_reader`).
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

from streams.log.checksum import record_checksum
from streams.log.sqlite_file import (
    APPLICATION_ID,
    FORMAT,
    OFFSET_BITS,
    SCHEMA,
    damaged,
)
from streams.log.sqlite_rows import (
    Head,
    Heads,
    Meta,
    checksum_of,
    read_heads,
    read_meta,
    read_table,
    read_tables,
    require,
)
from streams.log.sqlite_units import Stored
from streams.log.wal_check import check_wal

WHOLE_BYTES_MAX = 32 << 20
_LAST_RECORDS = 64
_LAST_BYTES = 4 << 20
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"


def has_content(path: Path) -> bool:
    """False where a new log may be made: no file, or an empty one, and nothing beside it.

    `LogDamaged` where a write-ahead log is there without its file.
    """
    if path.exists() and path.stat().st_size > 0:
        return True
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size > 0:
        raise damaged(path, f"the file is missing or empty, but {wal.name} beside it is not")
    return False


def check_files(path: Path) -> None:
    """Before SQLite opens them and nobody writes: the file's header and the write-ahead log.

    `LogDamaged` for a file that is no log, and for a WAL whose middle is damaged. A WAL with a
    torn end is fine: SQLite keeps the transactions before.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise damaged(path, "it is no SQLite file")
    # https://www.sqlite.org/fileformat2.html#the_database_header
    (kept,) = struct.unpack_from(">I", header, 52)
    versions = header[18:20] == b"\x02\x02" and header[20:24] == b"\x00\x40\x20\x20"
    schema_format, encoding = struct.unpack_from(">I", header, 44)[0], header[56:60]
    user_version, incremental, application = struct.unpack_from(">III", header, 60)
    if application != APPLICATION_ID:
        raise damaged(path, "it is an SQLite file, but not one of this program's logs")
    if user_version != FORMAT:
        raise damaged(path, f"its format is {user_version}; this program reads {FORMAT}")
    plain = (kept, incremental, schema_format) == (0, 0, 4) and encoding == b"\x00\x00\x00\x01"
    if not versions or not plain or any(header[72:92]):
        raise damaged(path, "its header holds what this program never writes")
    wal = Path(f"{path}-wal")
    if wal.exists():
        state = check_wal(wal)
        if state.why:
            raise damaged(path, state.why)


def check_content(db: sqlite3.Connection, path: Path) -> tuple[Meta, Stored]:
    """Through SQLite, inside the caller's read transaction: what the log is and where it ends."""
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    whole = pages * db.execute("PRAGMA page_size").fetchone()[0] <= WHOLE_BYTES_MAX
    if whole:
        found = [row[0].decode("utf-8", "replace") for row in db.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise damaged(path, "; ".join(found[:3]))
    _check_schema(db, path)
    meta = read_meta(db, path)
    heads = read_heads(db, path, meta)
    tables = read_tables(db, path, meta)
    for head in heads.values():
        _check_end(db, path, head, whole=whole)
    if whole:
        _check_strays(db, path, heads)
        for table in tables.values():
            read_table(db, path, table)
        for row in db.execute("SELECT key, digest, positions, at_ms, crc FROM request_keys"):
            require(path, checksum_of(*row[:4]), row[4], "an idempotency key")
    return meta, Stored(heads, tables, meta.commits)


def _check_schema(db: sqlite3.Connection, path: Path) -> None:
    rows = db.execute("SELECT sql FROM sqlite_schema WHERE type='table' ORDER BY rowid")
    if [row[0].decode("utf-8", "replace") for row in rows] != list(SCHEMA):
        raise damaged(path, "its tables are not those that this program makes")


def _check_end(db: sqlite3.Connection, path: Path, head: Head, *, whole: bool) -> None:
    """The last records (all of a small log) are there, linked, and end where the head says."""
    where = f"{head.topic}/{head.partition}"
    bounds = (head.id << OFFSET_BITS, (head.id + 1) << OFFSET_BITS)
    lowest, highest = db.execute(
        "SELECT (SELECT min(id) FROM records WHERE id >= ? AND id < ?), "
        "(SELECT max(id) FROM records WHERE id >= ? AND id < ?)",
        (*bounds, *bounds),
    ).fetchone()
    if head.start == head.end:
        if lowest is not None:
            raise damaged(path, f"{where} should be empty and is not")
        return
    if lowest != head.row_id(head.start) or highest != head.row_id(head.end - 1):
        raise damaged(path, f"{where} does not hold {head.start} to {head.end - 1}, as it should")
    first = head.start if whole else _last_offset(db, path, head)
    link, offset = head.start_link, first
    if first > head.start:
        row = db.execute("SELECT crc FROM records WHERE id=?", (head.row_id(first - 1),)).fetchone()
        if row is None:
            raise damaged(path, f"record {where}@{first - 1} is missing")
        link = row[0]
    query = "SELECT id, at_ms, crc, headers, body FROM records WHERE id >= ? AND id < ? ORDER BY id"
    for row_id, at_ms, crc, headers, body in db.execute(query, (head.row_id(first), bounds[1])):
        if row_id != head.row_id(offset):
            raise damaged(path, f"record {where}@{offset} is missing")
        try:
            actual = record_checksum(link, offset, at_ms, headers, body)
        except (TypeError, ValueError):  # a damaged row may hold another type
            actual = None
        require(path, actual, crc, f"record {where}@{offset}")
        link, offset = crc, offset + 1
    if (link, offset) != (head.link, head.end):
        raise damaged(path, f"{where} does not end with its last record")


def _last_offset(db: sqlite3.Connection, path: Path, head: Head) -> int:
    """Where the part that is verified at the start begins: a bounded number of bytes."""
    size = 0
    query = "SELECT id, length(body) FROM records WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?"
    bounds = (head.row_id(head.start), head.row_id(head.end), _LAST_RECORDS)
    offset = head.end
    for row_id, length in db.execute(query, bounds):
        offset -= 1
        if row_id != head.row_id(offset):
            raise damaged(path, f"record {head.topic}/{head.partition}@{offset} is missing")
        size += length
        if size > _LAST_BYTES:
            break
    return offset


def _check_strays(db: sqlite3.Connection, path: Path, heads: Heads) -> None:
    """Every row is one that a partition knows."""
    expected = sum(head.end - head.start for head in heads.values())
    (found,) = db.execute("SELECT count(*) FROM records").fetchone()
    if found != expected:
        raise damaged(path, f"{found} records are there, not {expected}")
