"""`CopiedModel`: another node's database, for a process that has none and has to refill from it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from projections.duck import DuckProjection
from projections.opening import Fetch
from projections.reading import Reader, reading
from projections.snapshot import check_snapshot
from projections.source import Partition, SourceLog
from streams.errors import ProjectionError

COPY_S: Final = 300.0
"""For how long a copy is used; then it is deleted, and made again where it is wanted again."""
MEMORY_LIMIT: Final = "256MB"


class CopiedModel:
    """A `projections.refill.ReadModel`, copied when it is first asked; one reader at a time."""

    def __init__(self, fetch: Fetch, log: SourceLog, *, copy_s: float = COPY_S) -> None:
        self._fetch = fetch
        self._log = log
        self._copy_s = copy_s
        self._using = threading.RLock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._projection: DuckProjection | None = None
        self._timer: threading.Timer | None = None

    def positions(self) -> Mapping[Partition, int]:
        """Of the copy; `ProjectionError` where none is to be had."""
        with self._using:
            return self._open().positions()

    def failure(self) -> None:
        """None: a copy does not follow the log."""

    def renew(self) -> None:
        """The copy is deleted; whoever asks next gets what the other node has by then."""
        self.close()

    @contextmanager
    def reading(self, timeout_s: float) -> Iterator[Reader]:
        """As of the projector."""
        with self._using, reading(self._open(), timeout_s) as reader:
            yield reader

    def close(self) -> None:
        """Deletes the copy; waits for whoever reads it."""
        with self._using:
            if self._timer is not None:
                self._timer.cancel()
            if self._projection is not None:
                self._projection.close()
            if self._folder is not None:
                self._folder.cleanup()
            self._projection = self._folder = self._timer = None

    def _open(self) -> DuckProjection:
        if self._projection is not None:
            return self._projection
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix="logfire-refill-", ignore_cleanup_errors=True
            )
            path = Path(self._folder.name) / "copy.duckdb"
            self._fetch(path)
            check_snapshot(path, self._log)
            self._projection = DuckProjection.open(
                path, self._log, memory_limit=MEMORY_LIMIT, live_points_max=0
            )
        except (OSError, duckdb.Error) as error:
            self.close()
            raise ProjectionError(f"another node's database cannot be copied: {error}") from error
        except BaseException:
            self.close()
            raise
        self._timer = threading.Timer(self._copy_s, self.close)
        self._timer.daemon = True
        self._timer.start()
        return self._projection
