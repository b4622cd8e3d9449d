"""The data directory's disk: room, writing, and what an fsync takes."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from mcp_api.validation.outcome import Check, Outcome, failed, look, ok
from streams.config import Settings

PART = "disk"
FREE_BYTES_MIN = 1 << 30
"""Below it the log has room for hours at best."""

_SYNCS = 10
_BLOCK = bytes(4_096)


def check_disk(settings: Settings) -> Iterator[Check]:
    """Of the data directory; where it is not there yet, of the directory in which it will be."""
    folder = _existing(settings.data_dir)
    yield look(PART, "room", lambda: _room(folder))
    todo = f"give this user the right to write in {folder}, or set LOGFIRE_DATA_DIR to another"
    yield look(PART, "writing and fsync", lambda: _fsync(folder), todo)


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next((each for each in (path, *path.parents) if each.is_dir()), Path("/"))


def _room(folder: Path) -> Outcome:
    usage = psutil.disk_usage(str(folder))
    text = f"{usage.free / 2**30:,.1f} GiB free at {folder}"
    if usage.free < FREE_BYTES_MIN:
        todo = "make room, or set LOGFIRE_DATA_DIR to a larger disk"
        return failed(text, todo, free_bytes=usage.free)
    return ok(text, free_bytes=usage.free)


def _fsync(folder: Path) -> Outcome:
    """Every acknowledgement waits for one."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            file.write(_BLOCK)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1_000)
    median, longest = statistics.median(took), max(took)
    text = f"fsync takes {median:.1f} ms (the longest of {_SYNCS}: {longest:.1f} ms)"
    return ok(text, fsync_ms_median=median, fsync_ms_max=longest)
