"""One owner of a log at a time: an advisory lock on a file beside it, with the owner's pid."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from streams.errors import LogLocked, LogUnavailable

_PATIENCE_S = 1.0
"""How long an owner waits for readers that check the files; they hold the lock for moments."""


class OwnerLock:
    """Held from `acquire` to `release` or the process's end, however it ends (``flock``).

    The file stays where it is: removing it would let two owners lock two files of one name.
    """

    def __init__(self, log_path: Path) -> None:
        self._path = Path(f"{log_path}.lock")
        self._log_path = log_path
        self._fd: int | None = None

    def acquire(self) -> None:
        """`LogLocked` with the owner's pid where another process owns the log."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LogUnavailable(
                f"cannot open {self._path}: {error.strerror}; the data directory must be writable"
            ) from error
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(fd, fcntl.LOCK_EX):
            only_readers = _try_lock(fd, fcntl.LOCK_SH)
            if not only_readers or time.monotonic() > deadline:
                owner = _owner(fd)
                os.close(fd)
                raise LogLocked(
                    f"{self._log_path} is in use by another server ({owner}): stop that one, "
                    "or give this one another data directory"
                )
            time.sleep(0.01)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Harmless when it is not held."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


class ReaderLock:
    """A moment in which no owner can start: ``with ReaderLock(path) as quiet``.

    ``quiet`` is False where an owner is at work (its files move) or the directory is read-only.
    """

    def __init__(self, log_path: Path) -> None:
        self._path = Path(f"{log_path}.lock")
        self._fd: int | None = None

    def __enter__(self) -> bool:
        try:
            self._fd = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return _try_lock(self._fd, fcntl.LOCK_SH)

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return f"pid {text}" if text.isdigit() else "pid unknown"
