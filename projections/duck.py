"""`DuckProjection`: the DuckDB file's one writer. Rows and positions change in one transaction.

The mirrors in memory (`SeriesTable`, `LiveTail`) change only after a commit. DuckDB may report an
error for a commit that took place, so after any failure everything is loaded again from the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from projections.duck_file import (
    MEMORY_LIMIT,
    load_marks,
    load_reached,
    load_series,
    load_since,
    make_log_private,
    open_file,
)
from projections.duck_requests import StoredRequests
from projections.duck_write import write_change, write_marks
from projections.fold import Change, Decoded, Reached, decode_record, fold, mark
from projections.live import POINTS_MAX, SPAN_MS, LiveTail
from projections.series import SeriesTable
from projections.source import TOPICS, Partition, SourceLog
from streams.errors import (
    LogDamaged,
    LogError,
    OffsetOutOfRange,
    PoisonError,
    ProjectionDamaged,
    ProjectionError,
)
from streams.events.batch import Ints
from streams.log.protocol import Record
from streams.processors.outputs import Maker

TRANSACTION_POINTS_MAX = 1_000_000
"""Samples of one transaction: what bounds the writer's memory."""

_log = logging.getLogger(__name__)


class DuckProjection:
    """One open file. Its methods belong to one thread, but for `cursor`, `positions`, `live`."""

    def __init__(self, connection: Any, path: Path, log: SourceLog, live_points_max: int) -> None:
        self._db = connection
        self._path = path
        self._partitions = [
            (topic, number) for topic in TOPICS for number in range(log.partitions(topic))
        ]
        self._gapless = log.gapless
        self._live_points_max = live_points_max
        self._marks: dict[Maker, int] = {}
        self._requests: StoredRequests | None = None
        self._reached: dict[Partition, Reached] = {}
        self._series = SeriesTable()
        self._live = LiveTail(self._series)
        self._load()
        self.absorbed_points = 0
        """Samples stored through this object."""

    @classmethod
    def open(
        cls,
        path: Path,
        log: SourceLog,
        *,
        memory_limit: str = MEMORY_LIMIT,
        live_points_max: int = POINTS_MAX,
    ) -> DuckProjection:
        """Opens the file, or makes an empty one where there is none.

        Raises `ProjectionDamaged` where the file is unreadable, of another version, of another log
        or ahead of this one; `LogDamaged`, or plain `ProjectionError`, where the file may be well.
        """
        connection = open_file(path, log.log_id, memory_limit)
        try:
            projection = cls(connection, path, log, live_points_max)
            projection.check_against(log)
        except duckdb.Error as error:
            connection.close()
            raise ProjectionDamaged(f"{path.name} cannot be read: {error}") from error
        except BaseException:
            connection.close()
            raise
        return projection

    @property
    def series(self) -> SeriesTable:
        """The mirror of the series; only this class changes it."""
        return self._series

    @property
    def live(self) -> LiveTail:
        """The last minutes in memory."""
        return self._live

    def positions(self) -> dict[Partition, int]:
        """The next offset to read of each (topic, partition)."""
        return {
            place: self._reached[place].next_offset if place in self._reached else 0
            for place in self._partitions
        }

    def appended_ms(self) -> int | None:
        """When the newest record absorbed was appended to the log."""
        return max((one.appended_ms for one in self._reached.values()), default=None)

    def duplicates(self) -> int:
        """Samples left out since the file was made, because an earlier one had their time, or
        their request was absorbed before."""
        return self._counter("duplicates")

    def poison(self) -> int:
        """Records that could not be understood since the file was made."""
        return self._counter("poison")

    def repeats(self) -> int:
        """Outputs of processors left out since the file was made, as they had come before."""
        return self._counter("repeats")

    def cursor(self) -> Any:
        """A connection of its own for reading; the caller closes it."""
        return self._db.cursor()

    def apply(self, records: Iterable[Record]) -> int:
        """Folds the records: rows and positions in one transaction (in several, where there are
        more than `TRANSACTION_POINTS_MAX` samples). Records absorbed before are skipped. Returns
        how many were not.

        Raises `ProjectionError`: a gap before a record (in a log without gaps) or before an output,
        or a write that failed; then nothing of the transaction is stored, and the same records may
        be applied again.
        """
        return self.apply_decoded(map(decode_record, records))

    def apply_decoded(self, records: Iterator[Decoded]) -> int:
        """`apply` for records that another thread has decoded."""
        taken = 0
        while True:
            change = fold(
                self._series,
                self._reached,
                self._marks,
                None if self._requests is None else self._requests.known,
                records,
                gapless=self._gapless,
                points_max=TRANSACTION_POINTS_MAX,
                note_poison=_note_poison,
            )
            if not change.records:
                return taken
            self._write(change)
            taken += change.records

    def check_against(self, log: SourceLog) -> None:
        """`ProjectionDamaged` where the positions are not of this log.

        Where the log cannot tell, the file is not to blame: `LogDamaged` as the log raises it,
        `ProjectionError` for what may pass.
        """
        ends, starts = log.ends(), log.starts()
        for place, reached in self._reached.items():
            name = f"{place[0]}/{place[1]}"
            if place not in self._partitions:
                raise ProjectionDamaged(f"the projection knows {name}, which the log does not have")
            if reached.next_offset > ends.get(place, 0):
                raise ProjectionDamaged(
                    f"the projection has absorbed {name} up to {reached.next_offset}, but the log "
                    f"ends at {ends.get(place, 0)}"
                )
            if reached.next_offset <= starts.get(place, 0):
                continue
            try:
                last = log.read_now(place[0], place[1], reached.next_offset - 1, records_max=1)
            except OffsetOutOfRange as error:
                raise ProjectionDamaged(f"{name} cannot be compared: {error}") from error
            except LogDamaged:
                raise
            except LogError as error:
                raise ProjectionError(
                    f"{name} cannot be compared with the log now: {error}"
                ) from error
            if not last or mark(last[0]).checksum != reached.checksum:
                raise ProjectionDamaged(
                    f"record {reached.next_offset - 1} of {name} is not the one that was absorbed"
                )

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file; raises where a query is in the way."""
        self._db.execute("CHECKPOINT")

    def close(self) -> None:
        """Checkpoints and closes; no cursor may be in use."""
        self._db.close()

    def _write(self, change: Change) -> None:
        try:
            self._db.begin()
            repeated = write_change(self._db, change)
            if change.marks != self._marks:
                write_marks(self._db, change.marks)
            if self._requests is not None and change.requests is not None:
                self._requests.write(change.requests)
            self._db.commit()
        except duckdb.Error as error:
            self._recover(change, error)
            return
        make_log_private(self._path)
        self._absorb(change, repeated)

    def _counter(self, name: str) -> int:
        with closing(self.cursor()) as cursor:
            rows = cursor.execute("SELECT value FROM counters WHERE name = $1", [name]).fetchall()
        return int(rows[0][0])

    def _recover(self, change: Change, error: duckdb.Error) -> None:
        """After a failure the file says what is true, also of a commit that seemed to fail."""
        try:
            self._db.rollback()
        except duckdb.Error:
            _log.debug("no transaction was left to roll back")
        try:
            self._load()
        except duckdb.Error as second:
            raise ProjectionError(
                f"the projection can be neither written nor read: {second}"
            ) from (error)
        wanted = {place: reached.next_offset for place, reached in change.reached.items()}
        if {place: self.positions()[place] for place in wanted} != wanted:
            raise ProjectionError(f"the projection could not be written: {error}") from error
        _log.warning("a commit was reported as failed, but took place: %s", error)

    def _absorb(self, change: Change, repeated: Ints) -> None:
        points, newest = change.points, change.points.newest
        self._series.add(change.added)
        for number, told in change.restated.items():
            self._series.restate(number, *told)
        self._reached = dict(change.reached)
        self._marks = dict(change.marks)
        if self._requests is not None and change.requests is not None:
            self._requests.known = change.requests
        appended = max(one.appended_ms for one in change.reached.values())
        series, at_ms, value = points.series, points.at_ms, points.value
        self._live.set_latest(series[newest], at_ms[newest], value[newest])
        if len(repeated):
            keep = np.ones(len(points), dtype=np.bool_)
            keep[repeated] = False
            series, at_ms, value = series[keep], at_ms[keep], value[keep]
        self._live.absorb(appended, series, at_ms, value)
        self.absorbed_points += len(series)

    def _load(self) -> None:
        """The mirrors, from the file."""
        self._reached = load_reached(self._db)
        self._marks = load_marks(self._db)
        if not self._gapless:  # a log without gaps refuses a repeated request itself
            self._requests = StoredRequests(self._db)
        self._series = load_series(self._db)
        self._live = LiveTail(self._series, points_max=self._live_points_max)
        now_ms = self.appended_ms()
        if now_ms is None:
            return
        self._live.absorb(now_ms, *load_since(self._db, now_ms - SPAN_MS, self._live_points_max))


def _note_poison(record: Record, error: PoisonError) -> None:
    _log.warning(
        "poison record %s/%d@%d left out: %s",
        record.topic,
        record.partition,
        record.offset,
        error,
    )
