"""How a reading process learns that the owner has committed: it looks every tenth of a second."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from streams.errors import LogError
from streams.log.ends import CommittedEnds
from streams.log.sqlite_file import SQLITE_ERRORS, as_log_error, connect, is_busy
from streams.log.sqlite_rows import read_heads, read_meta

POLL_S = 0.1


class Watch:
    """A thread, started when somebody waits, that moves the ends of a read-only log."""

    def __init__(self, path: Path, ends: CommittedEnds) -> None:
        self._path = path
        self._ends = ends
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Harmless when it runs already."""
        with self._guard:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="log-watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._stop.set()
        with self._guard:
            if self._thread is not None:
                self._thread.join()

    def _run(self) -> None:
        try:
            with closing(connect(self._path, read_only=True)) as db:
                self._poll(db)
        except SQLITE_ERRORS as error:
            self._ends.fail(as_log_error(self._path, error))
        except LogError as error:
            self._ends.fail(error)

    def _poll(self, db: sqlite3.Connection) -> None:
        seen = None
        while not self._stop.is_set():
            try:
                version = db.execute("PRAGMA data_version").fetchone()[0]
                if version != seen:
                    self._look(db)
                    seen = version
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise
            self._stop.wait(POLL_S)

    def _look(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN")
        try:
            heads = read_heads(db, self._path, read_meta(db, self._path))
        finally:
            db.execute("ROLLBACK")
        self._ends.advance({where: head.end for where, head in heads.items()})
