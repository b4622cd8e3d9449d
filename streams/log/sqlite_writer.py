"""The one thread that writes the embedded log: a bounded queue in, group commits out.

Everything that waits goes into one transaction, made durable by one fsync. A unit that comes alone
is committed at once; where several writers are at work, the thread lingers for the number that the
last group had, because they come back together.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from streams.errors import LogError, LogUnavailable, Overloaded, TooLarge
from streams.log.ends import CommittedEnds
from streams.log.protocol import DuplicateRequest, Receipt, WriterStats
from streams.log.sqlite_file import SQLITE_ERRORS, as_log_error, connect, is_busy
from streams.log.sqlite_rows import read_heads, read_meta, read_tables
from streams.log.sqlite_units import (
    KEYS_PRUNED_MAX,
    Outcome,
    Stored,
    Unit,
    oldest_key_ms,
    prune_keys,
    write_group,
)

GROUP_BYTES_MAX = 16 << 20
GROUP_UNITS_MAX = 1_000
CHECKPOINT_PAGES = 4_000
_PAGE_BYTES = 4_096
_PAGES_A_COMMIT = 4
_PRUNE_EVERY_MS = 60_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    unit: Unit
    future: Future[Receipt]


class Writer:
    """Takes units from any thread; `submit`'s future has the receipt or the error."""

    def __init__(
        self,
        path: Path,
        stored: Stored,
        ends: CommittedEnds,
        *,
        linger_s: float,
        queue_bytes_max: int,
        key_horizon_ms: int,
        clock: Callable[[], int],
    ) -> None:
        self._path = path
        self._db = connect(path)
        self._stored: Stored | None = stored
        self._ends = ends
        self._linger_s = linger_s
        self._queue_bytes_max = queue_bytes_max
        self._horizon_ms = key_horizon_ms
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._bytes = 0
        self._close_by: float | None = None
        self._groups = self._units = self._refused = self._failed = 0
        self._failure = ""
        self._last_group = 1
        self._last_commit_s = 0.0
        self._pages = CHECKPOINT_PAGES // 2
        self._pruned_ms = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit, *, bounded: bool = True) -> Future[Receipt]:
        """`Overloaded` at once where too much waits; `TooLarge` for what could never wait.

        ``bounded=False`` is for those who have one unit under way at most and drain the log.
        """
        if bounded and unit.size > self._queue_bytes_max:
            raise TooLarge(f"a unit of {unit.size} bytes; at most {self._queue_bytes_max} can wait")
        with self._changed:
            if self._close_by is not None:
                raise LogUnavailable(f"the log {self._path} is closed")
            if bounded and self._bytes + unit.size > self._queue_bytes_max:
                self._refused += 1
                raise Overloaded(
                    f"{self._bytes} bytes wait to be written, at most {self._queue_bytes_max} may; "
                    "send it again in a second"
                )
            future: Future[Receipt] = Future()
            self._bytes += unit.size
            self._queue.append(_Waiting(unit, future))
            self._changed.notify()
        return future

    def stats(self) -> WriterStats:
        with self._changed:
            return WriterStats(
                waiting_units=len(self._queue),
                waiting_bytes=self._bytes,
                groups=self._groups,
                units=self._units,
                refused=self._refused,
                failed=self._failed,
                failure=self._failure,
            )

    def close(self, timeout_s: float) -> None:
        """Writes what waits, then ends; what is not written by the time-out fails."""
        with self._changed:
            self._close_by = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._take():
                try:
                    self._write(group)
                finally:
                    self._release(group)
                self._tend()
        finally:
            self._abandon()
            self._finish()

    def _take(self) -> list[_Waiting]:
        """Everything that waits, up to a group's limits; empty when closed and drained."""
        with self._changed:
            while not self._queue:
                if self._close_by is not None:
                    return []
                self._changed.wait()
            if self._last_group > 1 and self._close_by is None:
                self._linger()
            group: list[_Waiting] = []
            size = 0
            while self._queue and len(group) < GROUP_UNITS_MAX:
                if group and size + self._queue[0].unit.size > GROUP_BYTES_MAX:
                    break
                waiting = self._queue.popleft()
                size += waiting.unit.size
                group.append(waiting)
        return group

    def _linger(self) -> None:
        """Waits for as many as came last time, for no longer than a commit takes."""
        patience_s = min(self._linger_s, self._last_commit_s)

        def enough() -> bool:
            return len(self._queue) >= self._last_group or self._close_by is not None

        self._changed.wait_for(enough, patience_s)

    def _write(self, group: list[_Waiting]) -> None:
        group_now = [w for w in group if w.future.set_running_or_notify_cancel()]
        if not group_now:
            return
        began = time.monotonic()
        try:
            outcomes = self._commit([waiting.unit for waiting in group_now])
        except Exception as error:  # noqa: BLE001  nobody may wait for ever, whatever it was
            self._fail(group_now, error)
            return
        self._last_commit_s = time.monotonic() - began
        self._last_group = len(group_now)
        with self._changed:
            self._groups += 1
            self._units += len(group_now)
            self._failure = ""
        for waiting, outcome in zip(group_now, outcomes, strict=True):
            if isinstance(outcome, DuplicateRequest):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)

    def _fail(self, group: list[_Waiting], error: Exception) -> None:
        told: LogError
        if isinstance(error, SQLITE_ERRORS):
            told = as_log_error(self._path, error)
        elif isinstance(error, LogError):
            told = error
        else:
            told = LogUnavailable(f"the log {self._path} could not write: {error!r}")
        if not group:
            return
        if str(told) != self._failure:  # once, not for every group while the disk is full
            _log.error("%d units were not stored: %s", len(group), told)
        with self._changed:
            self._failed += len(group)
            self._failure = str(told)
        for waiting in group:  # an instance each: their tracebacks grow where they are raised
            waiting.future.set_exception(type(told)(str(told)))

    def _commit(self, units: list[Unit]) -> list[Outcome]:
        """One durable transaction, or an exception and none."""
        self._begin()
        try:
            if self._stored is None:
                self._stored = self._read_stored()
            stored, outcomes = write_group(
                self._db,
                self._path,
                self._stored,
                units,
                now_ms=self._clock(),
                horizon_ms=self._horizon_ms,
            )
        except BaseException:
            self._roll_back()
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            self._stored = None  # it may have taken place all the same: ask the file
            self._stored = self._read_stored()
            if self._stored.commits != stored.commits:
                raise
        self._stored = stored
        self._pages += _PAGES_A_COMMIT + sum(
            unit.size // _PAGE_BYTES + len(unit.entries) for unit in units
        )
        self._ends.advance({where: head.end for where, head in stored.heads.items()})
        return outcomes

    def _begin(self) -> None:
        """Another process may hold the file's lock: that is a slow disk, and is waited for."""
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                late = self._close_by is not None and time.monotonic() > self._close_by
                if late or not is_busy(error):
                    raise
            else:
                return

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                _log.warning("rolling back: %s", error)

    def _read_stored(self) -> Stored:
        meta = read_meta(self._db, self._path)
        heads = read_heads(self._db, self._path, meta)
        return Stored(heads, read_tables(self._db, self._path, meta), meta.commits)

    def _release(self, group: list[_Waiting]) -> None:
        with self._changed:
            self._bytes -= sum(waiting.unit.size for waiting in group)

    def _abandon(self) -> None:
        """Should the thread ever end by a bug, nobody waits for it and nothing more is taken."""
        with self._changed:
            self._close_by = self._close_by or time.monotonic()
            left = [w for w in self._queue if w.future.set_running_or_notify_cancel()]
            self._queue.clear()
        self._fail(left, LogUnavailable(f"the log {self._path} was closed"))

    def _tend(self) -> None:
        """After the answers: forget old keys, move the WAL into the file. Failing is harmless."""
        try:
            now_ms = self._clock()
            if now_ms - self._pruned_ms >= _PRUNE_EVERY_MS:
                self._prune(now_ms)
            if self._pages >= CHECKPOINT_PAGES:
                self._pages = 0
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._roll_back()
            _log.warning("the log's upkeep has to wait: %s", error)

    def _prune(self, now_ms: int) -> None:
        oldest = oldest_key_ms(self._db)
        if oldest is None or oldest >= now_ms - self._horizon_ms:
            self._pruned_ms = now_ms
            return
        self._db.execute("BEGIN IMMEDIATE")
        pruned = prune_keys(self._db, now_ms - self._horizon_ms)
        self._db.execute("COMMIT")
        if pruned < KEYS_PRUNED_MAX:
            self._pruned_ms = now_ms

    def _finish(self) -> None:
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            _log.warning("the write-ahead log stays as it is: %s", error)
        self._db.close()
