"""Rebuilding the file from the log: beside, then an atomic switch. A crash leaves the old one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from projections.duck import TRANSACTION_POINTS_MAX, DuckProjection
from projections.duck_file import MEMORY_LIMIT, refuse_others, refuse_sqlite
from projections.fold import Decoded, decode_record
from projections.live import POINTS_MAX
from projections.source import Partition, SourceLog
from streams.errors import ProjectionError
from streams.log.protocol import Record

READ_BYTES_MAX = 4 << 20
READ_RECORDS_MAX = 1_024

FEW_RECORDS = 64
"""So many are left to whoever follows the log."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Progress: ``records`` of ``records_total`` folded, that is ``points`` samples so far, in
    ``elapsed_s``. The total may grow while the log is written."""

    records: int
    records_total: int
    points: int
    elapsed_s: float

    @property
    def points_per_s(self) -> float:
        return self.points / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def remaining_s(self) -> float:
        """By the records' pace so far."""
        left = self.records_total - self.records
        return self.elapsed_s * left / self.records if self.records else 0.0


Progress = Callable[[Rebuilt], None]


def rebuild_file(
    path: Path,
    log: SourceLog,
    progress: Progress | None = None,
    *,
    memory_limit: str = MEMORY_LIMIT,
) -> Rebuilt:
    """Replaces the file by a fold of the whole log; for a file that no process has open.

    `ProjectionError` where the file is readable and holds something else.
    """
    refuse_others(path)
    beside, rebuilt = build_beside(path, log, progress, memory_limit=memory_limit)
    beside.close()
    install(path)
    return rebuilt


def build_beside(
    path: Path,
    log: SourceLog,
    progress: Progress | None = None,
    *,
    memory_limit: str = MEMORY_LIMIT,
) -> tuple[DuckProjection, Rebuilt]:
    """A new file ``<path>.rebuild``, open, caught up with the log as it was at some moment."""
    remove_leftovers(path)
    beside = DuckProjection.open(
        beside_path(path), log, memory_limit=memory_limit, live_points_max=POINTS_MAX // 10
    )
    try:
        return beside, catch_up(beside, log, progress)
    except BaseException:
        beside.close()
        remove_leftovers(path)
        raise


def install(path: Path) -> None:
    """``<path>.rebuild`` becomes ``path``, durably. Both must be closed."""
    beside = beside_path(path)
    if _wal(beside).exists():
        raise ProjectionError(f"{beside.name} was not closed cleanly; it is not installed")
    # The old file's log must go first: a crash in between must not pair it with the new file.
    _wal(path).unlink(missing_ok=True)
    _sync(beside)
    os.replace(beside, path)
    _sync(path.parent)


def remove_leftovers(path: Path) -> None:
    """What an interrupted rebuild left behind."""
    beside = beside_path(path)
    _wal(beside).unlink(missing_ok=True)
    beside.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Renames a damaged file, with its write-ahead log, and returns its new name.

    `ProjectionError` for a SQLite file, which could be the log; nothing is renamed then.
    """
    refuse_sqlite(path)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    if _wal(path).exists():
        os.replace(_wal(path), _wal(aside))
    os.replace(path, aside)
    _sync(path.parent)
    return aside


def catch_up(
    projection: DuckProjection, log: SourceLog, progress: Progress | None = None
) -> Rebuilt:
    """Applies all that the log holds at the time of the call, and goes on while there is much more.

    Where the log is written meanwhile, up to `FEW_RECORDS` and what comes then may be left: it
    ends however busy the log is, and where the last offsets of a partition hold no records.
    """
    began = time.monotonic()
    before = projection.absorbed_points
    records = 0
    while True:
        ends = log.ends()
        records_before = records
        for chunk in read_ahead(log, projection.positions(), ends):
            records += projection.apply_decoded(iter(chunk))
            left = sum(behind(projection.positions(), ends).values())
            points = projection.absorbed_points - before
            rebuilt = Rebuilt(records, records + left, points, time.monotonic() - began)
            if progress is not None:
                progress(rebuilt)
        left = sum(behind(projection.positions(), log.ends()).values())
        if left <= FEW_RECORDS or records == records_before:
            return Rebuilt(
                records, records, projection.absorbed_points - before, time.monotonic() - began
            )


def read_ahead(
    log: SourceLog, positions: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> Iterator[list[Decoded]]:
    """Everything up to ``ends`` in chunks of about a transaction.

    The next chunk is read and decoded in another thread while the caller writes the last one:
    DuckDB works without the interpreter's lock.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting = pool.submit(_read_chunk, log, positions, ends)
        while True:
            chunk, positions = waiting.result()
            if not chunk:
                return
            waiting = pool.submit(_read_chunk, log, positions, ends)
            yield chunk


def _read_chunk(
    log: SourceLog, positions: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> tuple[list[Decoded], dict[Partition, int]]:
    chunk: list[Decoded] = []
    after = dict(positions)
    weight = 0
    for record in read_behind(log, positions, ends):
        one = decode_record(record)
        chunk.append(one)
        after[record.topic, record.partition] = record.offset + 1
        weight += one.weight
        if weight >= TRANSACTION_POINTS_MAX:
            break
    return chunk, after


def behind(
    positions: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> dict[Partition, int]:
    """How many offsets each partition is behind; only those that are. In a log with gaps there may
    be fewer records there, or none."""
    left = {place: ends.get(place, 0) - offset for place, offset in positions.items()}
    return {place: count for place, count in left.items() if count > 0}


def read_behind(
    log: SourceLog,
    positions: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    *,
    records_max: int = READ_RECORDS_MAX,
    bytes_max: int = READ_BYTES_MAX,
) -> list[Record]:
    """The next records of every partition that is behind, each bounded, none past ``ends``.

    `ProjectionError` where a partition of a log without gaps has none.
    """
    records: list[Record] = []
    for (topic, number), count in behind(positions, ends).items():
        start = positions[topic, number]
        found = log.read_now(
            topic, number, start, records_max=min(count, records_max), bytes_max=bytes_max
        )
        if not found and log.gapless:
            raise ProjectionError(f"nothing can be read at {topic}/{number}@{start}")
        records += [record for record in found if record.offset < start + count]
    return records


def beside_path(path: Path) -> Path:
    """Where the file that is to replace the one at ``path`` is made."""
    return path.with_name(path.name + ".rebuild")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
