"""Copies of the database file while it is written: for another node, for a backup.

DuckDB changes what the file holds only at a checkpoint. So a copy begins with one, and none is made
until it has ended: the file is read as it lies, while commits go to the write-ahead log.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb

from projections.duck import DuckProjection
from projections.duck_file import WAL_CHECKPOINT
from projections.source import Partition, SourceLog
from streams.errors import ProjectionError

_CHUNK_BYTES = 4 << 20
_NO_CHECKPOINT = "1TB"

_log = logging.getLogger(__name__)


class HeldFile:
    """A descriptor of the database file, from after DuckDB has opened it until DuckDB closed it.

    It has to be one that stays: DuckDB's lock on the file is a POSIX record lock, and a process
    loses those of a file with the first descriptor of it that it closes (fcntl(2)).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY)
        self._copying = threading.Lock()
        self._ending = False

    def is_gone(self) -> bool:
        """Whether there is nothing at the path any more: it was removed, or moved away."""
        return not self._path.exists()

    def copy_to(self, target: Path) -> int:
        """Writes the bytes of the file, as long as it is now, into a new one; how many they are.

        `ProjectionError` where the file is to be closed meanwhile, or the disk is full; nothing is
        left at ``target`` then.
        """
        size = os.fstat(self._fd).st_size
        try:
            opened = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ProjectionError(f"the database cannot be copied: {error}") from error
        try:
            self._copy(opened, size)
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise ProjectionError(f"the database cannot be copied: {error}") from error
            raise
        finally:
            os.close(opened)
        return size

    def end_copies(self) -> None:
        """Before DuckDB closes the file, which changes it: a copy under way breaks off."""
        self._ending = True
        with self._copying:
            pass

    def close(self) -> None:
        """After DuckDB has closed the file. A second call is fine."""
        self.end_copies()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _copy(self, target: int, size: int) -> None:
        copied = 0
        while copied < size:
            with self._copying:
                if self._ending:
                    raise ProjectionError("the database was switched meanwhile: ask again")
                part = os.pread(self._fd, min(_CHUNK_BYTES, size - copied), copied)
            if not part:
                raise ProjectionError("the database became shorter while it was copied")
            copied += os.write(target, part)


@contextmanager
def unchanging(projection: DuckProjection) -> Iterator[dict[Partition, int]]:
    """A block in which the file stays as it is, with everything that was committed before it.

    Yields the positions in the file. Enter it while nothing is being applied; inside the block it
    may be. The write-ahead log grows meanwhile. `ProjectionError` where it cannot be made so.
    """
    try:
        with closing(projection.cursor()) as cursor:
            cursor.execute("CHECKPOINT")
            cursor.execute(f"SET GLOBAL wal_autocheckpoint = '{_NO_CHECKPOINT}'")
    except duckdb.Error as error:
        raise ProjectionError(f"the database cannot be copied now: {error}") from error
    try:
        yield projection.positions()
    finally:
        with suppress(duckdb.Error), closing(projection.cursor()) as cursor:  # closed meanwhile
            cursor.execute(f"SET GLOBAL wal_autocheckpoint = '{WAL_CHECKPOINT}'")


def lost_before(positions: Mapping[Partition, int], log: SourceLog) -> dict[Partition, int]:
    """The partitions of which the log no longer holds what comes next, with where it begins."""
    starts = log.starts()
    return {
        place: starts[place] for place, offset in positions.items() if starts.get(place, 0) > offset
    }


def require_followable(positions: Mapping[Partition, int], log: SourceLog) -> None:
    """`ProjectionError` where records after these positions are gone from the log: a database
    that went on from there would lack them for ever."""
    lost = lost_before(positions, log)
    if not lost:
        return
    (topic, number), start = min(lost.items())
    raise ProjectionError(
        f"the log no longer holds what the database needs next: {topic}/{number} begins at "
        f"{start}, needed is {positions[topic, number]}"
        + (f" ({len(lost) - 1} more partitions are like that)" if len(lost) > 1 else "")
    )


def check_snapshot(path: Path, log: SourceLog) -> dict[Partition, int]:
    """The positions in a copy that nobody has open, once it is proven to belong to this log.

    Raises `ProjectionDamaged` (unreadable, of another log, ahead of it, other records),
    `ProjectionError` (the log cannot be read, or no longer holds what comes next), `LogDamaged`.
    """
    projection = DuckProjection.open(path, log, live_points_max=0)
    try:
        positions = projection.positions()
        require_followable(positions, log)
        return positions
    finally:
        projection.close()
