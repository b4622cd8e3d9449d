"""What lies in a data directory: the database, and on Kafka the name and the lock of the node."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from streams.config import Settings
from streams.errors import ConfigError
from streams.log.lock import OwnerLock
from streams.log.opening import ServerLog, open_own_log

NODE_FILE = "node"


def projection_path(settings: Settings) -> Path:
    """The DuckDB file: beside the log that it is a fold of, which never has this name itself:
    see `Settings.db_path`."""
    return settings.db_path.with_suffix(".duckdb")


class Node:
    """One process at a time on a data directory whose log lies elsewhere. (The embedded log has a
    lock of its own.) ``name`` tells the node from all others; it is made once and kept."""

    def __init__(self, data_dir: Path) -> None:
        """`LogLocked` where another process has the directory; hold it until `release`."""
        path = data_dir / NODE_FILE
        self._lock = OwnerLock(path)
        self._lock.acquire()
        try:
            self.name = _kept_name(path)
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """A second call is fine."""
        self._lock.release()


@contextmanager
def owned_log(settings: Settings) -> Iterator[ServerLog]:
    """The log, for a command that works on the data directory's files: no server starts meanwhile.

    `LogLocked` where one runs, `LogUnavailable` where there is no log.
    """
    if settings.kafka() is None:
        with closing(open_own_log(settings)) as log:
            yield log
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    node = Node(settings.data_dir)
    try:
        with closing(open_own_log(settings)) as log:
            yield log
    finally:
        node.release()


def _kept_name(path: Path) -> str:
    if not path.exists():
        beside = path.with_name(f".{path.name}.new")
        with beside.open("w") as file:
            file.write(f"{uuid.uuid4().hex[:12]}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    name = path.read_text("ascii", "replace").strip()
    if not (name.isalnum() and name.isascii() and len(name) <= 64):
        raise ConfigError(
            f"{path} holds {name[:40]!r} instead of this node's name: give the name back, or "
            "remove the file, and the node gets a new one"
        )
    return name
