"""What the read model has of records that the log no longer holds and a sink never got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from projections.health_queries import HealthQueries, TargetStatus
from projections.reading import Reader
from projections.series import NEVER, SeriesTable
from projections.source import Partition
from streams.errors import ProjectionError, SinkError
from streams.events.batch import Index, MetricBatch
from streams.events.labels import series_partition
from streams.events.window import WindowBatch

if TYPE_CHECKING:
    from projections.projector import Projector

Flags = npt.NDArray[np.bool_]

SEGMENTS_AT_ONCE: Final = 256
"""Offsets of the windows' topic, about as many records."""
HOUR_MS: Final = 3_600_000
LATE_MS: Final = HOUR_MS
"""Samples may be so much older than their record, and are found nevertheless."""
AHEAD_MS: Final = 600_000
"""Or so much younger."""
ROWS_MAX: Final = 50_000
READING_S: Final = 300.0

_WINDOWS = """
    SELECT told.* EXCLUDE (bins, bin_counts), EXISTS (
        FROM windows AS before WHERE before.series_id = told.series_id
            AND before.size_ms = told.size_ms AND before.start_ms = told.start_ms
            AND before.segment < told.segment) AS amended
    FROM windows AS told WHERE told.segment >= $first AND told.segment < $end
    ORDER BY told.size_ms, told.segment"""

_POINTS = """SELECT series_id, at_ms, value FROM points
    WHERE at_ms >= {first} AND at_ms < {end} AND value IS NOT NULL"""

_FLOATS = ("sum", "min", "max", "first", "last", "increase")


class ReadModel(Protocol):
    """`Projector`, or what can be read like it."""

    def positions(self) -> Mapping[Partition, int]: ...

    def failure(self) -> BaseException | None: ...

    def renew(self) -> None:
        """It does not reach far enough: what does not follow the log is to be had anew."""
        ...

    def reading(self, timeout_s: float) -> AbstractContextManager[Reader]: ...


class Refill(Protocol):
    """Each may be asked from any thread; `SinkError` where it can be asked again later."""

    def reaches(self, topic: str, partition: int, end: int) -> bool:
        """Whether it has absorbed what lies before ``end``. `SinkError` while it still reads."""
        ...

    def windows(
        self, partition: int, first: int, end: int
    ) -> Iterator[tuple[WindowBatch, Flags | bool]]:
        """The rows told by the records from ``first`` to ``end`` (exclusive) of the windows' topic,
        and which of them came after their window was told; without sketches."""
        ...

    def points(self, partition: int, after_ms: int, before_ms: int) -> Iterator[MetricBatch]:
        """The samples of about this time: more than was asked for where records bring old ones."""
        ...

    def latest(self, partition: int) -> MetricBatch:
        """The newest sample of each series, in no order."""
        ...

    def targets(self) -> tuple[TargetStatus, ...]:
        """Whose health is asked for, as it stands."""
        ...


class ReadModelRefill:
    """A `Refill` from a DuckDB file."""

    def __init__(self, model: ReadModel, partitions: int) -> None:
        """``partitions``: of the points, and of the windows."""
        self._model = model
        self._partitions = partitions

    def reaches(self, topic: str, partition: int, end: int) -> bool:
        try:
            position = self._model.positions().get((topic, partition), 0)
        except ProjectionError as error:
            raise SinkError(f"a gap is not refilled yet: {error}") from error
        if position < end and self._model.failure() is None:
            self._model.renew()
            raise SinkError("a gap is not refilled yet: the database still reads the log")
        return position >= end

    def windows(
        self, partition: int, first: int, end: int
    ) -> Iterator[tuple[WindowBatch, Flags | bool]]:
        for begin in range(first, end, SEGMENTS_AT_ONCE):
            asked = {"first": begin, "end": min(begin + SEGMENTS_AT_ONCE, end)}
            try:
                with self._model.reading(READING_S) as reader:
                    rows = reader.table(_WINDOWS, asked)
                    series = reader.series
            except ProjectionError as error:
                raise SinkError(f"a gap is not refilled yet: {error}") from error
            rows = rows.filter(pa.array(self._inside(series, partition, rows)))
            sizes = rows.column("size_ms").to_numpy()
            for size_ms in np.unique(sizes).tolist():
                yield _window_batch(rows.filter(pa.array(sizes == size_ms)), series, size_ms)

    def points(self, partition: int, after_ms: int, before_ms: int) -> Iterator[MetricBatch]:
        try:
            with self._model.reading(READING_S) as reader:
                known = reader.rows("SELECT min(at_ms) AS first FROM points")[0]["first"]
            begin = max(after_ms - LATE_MS, NEVER if known is None else int(known))
            for hour in range(begin, before_ms + AHEAD_MS, HOUR_MS):
                end = min(hour + HOUR_MS, before_ms + AHEAD_MS)
                with self._model.reading(READING_S) as reader:
                    yield from self._samples(reader, partition, hour, end)
        except ProjectionError as error:
            raise SinkError(f"a gap is not refilled yet: {error}") from error

    def latest(self, partition: int) -> MetricBatch:
        try:
            with self._model.reading(READING_S) as reader:
                series, size = reader.series, len(reader.series)
        except ProjectionError as error:
            raise SinkError(f"a gap is not refilled yet: {error}") from error
        at_ms, values = series.newest(size)[:size], series.values()[:size]
        known = (at_ms != NEVER) & self._of(series, partition, size)
        return _batch(series, np.flatnonzero(known).astype(np.int32), at_ms[known], values[known])

    def targets(self) -> tuple[TargetStatus, ...]:
        try:
            return HealthQueries(cast("Projector", self._model)).targets()
        except ProjectionError as error:
            raise SinkError(f"a gap is not refilled yet: {error}") from error

    def _samples(
        self, reader: Reader, partition: int, first: int, end: int
    ) -> Iterator[MetricBatch]:
        for rows in reader.batches(_POINTS.format(first=int(first), end=int(end)), ROWS_MAX):
            inside = self._inside(reader.series, partition, rows)
            ids, at_ms, value = (
                rows.column(name).to_numpy()[inside] for name in ("series_id", "at_ms", "value")
            )
            yield _batch(reader.series, ids, at_ms, value)

    def _inside(self, series: SeriesTable, partition: int, rows: pa.Table) -> Flags:
        """Which rows are of series of this partition; ``series`` may be newer than the rows."""
        ids = rows.column("series_id").to_numpy()
        inside: Flags = self._of(series, partition, len(series))[ids]
        return inside

    def _of(self, series: SeriesTable, partition: int, size: int) -> Flags:
        if self._partitions == 1:
            return np.ones(size, dtype=np.bool_)
        texts = series.texts[:size]
        return np.array([series_partition(text, self._partitions) == partition for text in texts])


def _batch(series: SeriesTable, ids: Index, at_ms: object, value: object) -> MetricBatch:
    used, index = np.unique(ids, return_inverse=True)
    numbers = used.tolist()
    return MetricBatch(
        labels=tuple(series.texts[i] for i in numbers),
        types=tuple(series.types[i] for i in numbers),
        units=tuple(series.units[i] for i in numbers),
        series=index.astype(np.int32),
        at_ms=np.asarray(at_ms, dtype=np.int64),
        value=np.asarray(value, dtype=np.float64),
    )


def _window_batch(rows: pa.Table, series: SeriesTable, size_ms: int) -> tuple[WindowBatch, Flags]:
    ids = rows.column("series_id").to_pylist()
    numbers = {
        name: rows.column(name).to_numpy()
        for name in ("start_ms", "count", "first_ms", "last_ms", *_FLOATS)
    }
    nothing = np.empty(0, dtype=np.int64)
    windows = WindowBatch(
        size_ms=size_ms,
        labels=tuple(series.texts[i] for i in ids),
        types=tuple(series.types[i] for i in ids),
        units=tuple(series.units[i] for i in ids),
        bin_offsets=np.zeros(len(ids) + 1, dtype=np.int64),
        bins=nothing,
        bin_counts=nothing,
        **numbers,
    )
    return windows, rows.column("amended").to_numpy()
