"""Reading the embedded log: every row is verified before it is handed out."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from streams.errors import LogUnavailable, OffsetOutOfRange
from streams.log.checksum import record_checksum
from streams.log.protocol import Record
from streams.log.sqlite_file import SQLITE_ERRORS, as_log_error, connect, damaged
from streams.log.sqlite_rows import Head, Heads, read_heads, read_meta, read_table, read_tables

CONNECTIONS_MAX = 6
_TAKE_TIMEOUT_S = 30.0


class Reader:
    """A few read-only connections shared by all threads; each is used by one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._open = 0
        self._closed = False
        self._guard = threading.Lock()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """One consistent view: a read transaction, ended at once when left."""
        db = self._take()
        try:
            db.execute("BEGIN")
            yield db
        except SQLITE_ERRORS as error:
            raise as_log_error(self._path, error) from error
        finally:
            self._put_back(db)

    def records(
        self, head: Head, end: int, offset: int, *, records_max: int, bytes_max: int
    ) -> list[Record]:
        """Verified records of ``[offset, end)``, at least one if there is one.

        ``end`` is at most the committed end, so that a missing row is damage and not the future.
        """
        where = f"{head.topic}/{head.partition}"
        if not head.start <= offset <= end:
            raise OffsetOutOfRange(
                f"{where} has no offset {offset}: it holds {head.start} to {end} (exclusive)"
            )
        if offset == end:
            return []
        records: list[Record] = []
        stop = min(end, offset + max(1, records_max))
        size = 0
        with self.snapshot() as db:
            link = self._link_before(db, head, offset)
            rows = db.execute(
                "SELECT id, at_ms, crc, headers, body FROM records WHERE id >= ? AND id < ? "
                "ORDER BY id",
                (head.row_id(offset), head.row_id(stop)),
            )
            with closing(rows):
                for row in rows:
                    record, link = self._verified(head, offset + len(records), link, row)
                    size += len(record.body) + len(row[3])
                    if records and size > bytes_max:
                        return records
                    records.append(record)
        if offset + len(records) != stop:
            raise damaged(self._path, f"record {where}@{offset + len(records)} is missing")
        return records

    def first_at(self, head: Head, end: int, at_ms: int) -> int:
        """The first offset appended at or after ``at_ms``, by halving; ``end`` if there is none.

        Both neighbours of the answer are verified, so a damaged time elsewhere cannot mislead.
        """
        low, high = head.start, end
        with self.snapshot() as db:
            while low < high:
                middle = (low + high) // 2
                query = "SELECT at_ms FROM records WHERE id=?"
                row = db.execute(query, (head.row_id(middle),)).fetchone()
                if row is None or not isinstance(row[0], int):
                    missing = f"record {head.topic}/{head.partition}@{middle} is missing"
                    raise damaged(self._path, missing)
                if row[0] < at_ms:
                    low = middle + 1
                else:
                    high = middle
        for offset in range(max(head.start, low - 1), min(end, low + 1)):
            record = self.records(head, end, offset, records_max=1, bytes_max=1)[0]
            if (record.at_ms < at_ms) != (offset < low):
                raise damaged(self._path, f"times fall in {head.topic}/{head.partition}")
        return low

    def table(self, processor: str, partition: int) -> dict[str, bytes]:
        """The values of a table, all as of one moment; empty where it was never written."""
        with self.snapshot() as db:
            tables = read_tables(db, self._path, read_meta(db, self._path))
            found = tables.get((processor, partition))
            return {} if found is None else read_table(db, self._path, found)

    def heads(self) -> Heads:
        """The partitions as they are stored now."""
        with self.snapshot() as db:
            return read_heads(db, self._path, read_meta(db, self._path))

    def close(self) -> None:
        """Waits for nobody: connections in use are closed when they come back."""
        with self._guard:
            self._closed = True
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _take(self) -> sqlite3.Connection:
        with self._guard:
            if self._closed:
                raise LogUnavailable(f"the log {self._path} is closed")
            grow = self._idle.empty() and self._open < CONNECTIONS_MAX
            self._open += grow
        if grow:
            return self._connect()
        try:
            return self._idle.get(timeout=_TAKE_TIMEOUT_S)
        except queue.Empty:
            raise LogUnavailable("all readers of the log are busy; try again") from None

    def _connect(self) -> sqlite3.Connection:
        try:
            return connect(self._path, read_only=True)
        except SQLITE_ERRORS as error:
            with self._guard:
                self._open -= 1
            raise as_log_error(self._path, error) from error

    def _put_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        finally:
            with self._guard:
                if self._closed:
                    db.close()
                else:
                    self._idle.put(db)

    def _link_before(self, db: sqlite3.Connection, head: Head, offset: int) -> int:
        if offset == head.start:
            return head.start_link
        query = "SELECT crc FROM records WHERE id=?"
        row = db.execute(query, (head.row_id(offset - 1),)).fetchone()
        if row is None or not isinstance(row[0], int):
            where = f"{head.topic}/{head.partition}@{offset - 1}"
            raise damaged(self._path, f"record {where} is missing")
        return int(row[0])

    def _verified(
        self, head: Head, offset: int, link: int, row: tuple[int, int, int, bytes, bytes]
    ) -> tuple[Record, int]:
        row_id, at_ms, crc, headers, body = row
        where = f"{head.topic}/{head.partition}@{offset}"
        if row_id != head.row_id(offset):
            raise damaged(self._path, f"record {where} is missing")
        try:
            intact = record_checksum(link, offset, at_ms, headers, body) == crc
        except (TypeError, ValueError):  # a damaged row may hold another type
            intact = False
        if not intact:
            raise damaged(self._path, f"record {where} fails its checksum")
        record = Record(head.topic, head.partition, offset, at_ms, json.loads(headers), body)
        return record, crc
