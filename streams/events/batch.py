"""`MetricBatch`: many samples as columns, self-contained, as Arrow IPC.

One Arrow stream with one record batch: ``series`` (dictionary of struct ``labels, type, unit``),
``at_ms`` (int64, Unix milliseconds) and ``value`` (float64). Any Arrow reader opens it. ``labels``
is the identity of `streams.events.labels`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.errors import PoisonError
from streams.events.batch_heads import (
    ROWS,
    ROWS_HEAD,
    SCHEMA,
    Columns,
    columns_of,
    head_of,
    known_head,
)
from streams.events.ipc import read_ipc, write_ipc
from streams.events.labels import NAME_BYTES_MAX, check_series
from streams.log.protocol import BODY_BYTES_MAX

POINTS_MAX = 50_000
BYTES_MAX = BODY_BYTES_MAX

QUICK_POINTS = 4_096
"""Smaller batches are compressed by lz4: zstd would take 0.2 µs a point more, once to write and
twice to read, to save a quarter of the bytes."""

AT_MS_MIN = -62_135_596_800_000
AT_MS_MAX = 253_402_300_799_999
"""The years 1 to 9999."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

STALE_BITS = 0x7FF0000000000002
"""Prometheus' staleness marker: a NaN of its own (``model/value/value.go``)."""

STALE: float = float(np.array([STALE_BITS], dtype=np.uint64).view(np.float64)[0])


class MetricType(StrEnum):
    """``histogram`` and ``summary``: each point is one observation, sketched by windows."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


METRIC_TYPES = frozenset(MetricType)
OBSERVATIONS = frozenset({MetricType.HISTOGRAM, MetricType.SUMMARY})


@dataclass(frozen=True, slots=True, eq=False)
class MetricBatch:
    """Samples in the order in which they came.

    ``labels``, ``types``, ``units``: one entry a series of the batch (a dictionary); ``series[i]``
    is the index into them of sample i, ``at_ms[i]`` its time, ``value[i]`` its value (NaN, ±Inf and
    the staleness marker are values). At most 50,000 samples; encoded at most 1 MiB.
    """

    labels: tuple[str, ...]
    types: tuple[str, ...]
    units: tuple[str, ...]
    series: Index
    at_ms: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.series)


def encode_batch(batch: MetricBatch) -> bytes:
    """At most `BYTES_MAX`; the caller splits what is larger (see `split_batch`)."""
    columns = [
        pa.array(batch.series, pa.int32()),
        pa.array(batch.at_ms, pa.int64()),
        pa.array(batch.value, pa.float64()),
    ]
    rows = pa.RecordBatch.from_arrays(columns, schema=ROWS)
    head = head_of((batch.labels, batch.types, batch.units))
    return head + write_ipc(rows, quick=len(batch) < QUICK_POINTS)[len(ROWS_HEAD) :]


def decode_batch(body: bytes) -> MetricBatch:
    """The inverse of `encode_batch`, and a check of everything that a reader relies on.

    Raises `PoisonError`: not Arrow, other columns, nulls, over the limits, an index out of range,
    a label text that is not canonical or an unknown type.
    """
    head, known = known_head(body)
    if head is not None and known is not None:
        with suppress(PoisonError):  # then it is read as a whole, to say what is wrong with it
            table = read_ipc(ROWS_HEAD + body[len(head) :], ROWS)
            return _batch(known, table, table.column(0))
    table = read_ipc(body, SCHEMA)
    column = table.column(0)
    if column.null_count:
        raise PoisonError("a column holds nulls")
    chunk = column.chunk(0) if column.num_chunks else pa.array([], SCHEMA.field(0).type)
    if chunk.dictionary.null_count:
        raise PoisonError("a dictionary entry is null")
    columns = columns_of(head, chunk.dictionary, _check_series)
    return _batch(columns, table, chunk.indices)


def split_batch(batch: MetricBatch) -> tuple[MetricBatch, MetricBatch]:
    """Two halves with dictionaries of their own, for a batch that encodes to over 1 MiB."""
    middle = len(batch) // 2
    return take(batch, np.arange(middle)), take(batch, np.arange(middle, len(batch)))


def take(batch: MetricBatch, rows: npt.NDArray[np.intp]) -> MetricBatch:
    """The samples at ``rows`` with a dictionary that holds only their series."""
    used, series = np.unique(batch.series[rows], return_inverse=True)
    return MetricBatch(
        labels=tuple(batch.labels[i] for i in used),
        types=tuple(batch.types[i] for i in used),
        units=tuple(batch.units[i] for i in used),
        series=series.astype(np.int32),
        at_ms=batch.at_ms[rows],
        value=batch.value[rows],
    )


def check_times(at_ms: Ints) -> None:
    """`PoisonError` for times that no calendar has: readers turn them into dates."""
    if len(at_ms) and not (int(at_ms.min()) >= AT_MS_MIN and int(at_ms.max()) <= AT_MS_MAX):
        raise PoisonError("a time is before the year 1 or after the year 9999")


def _numbers(column: Any, dtype: type[np.generic]) -> Any:
    if column.null_count:
        raise PoisonError("a column holds nulls")
    return column.to_numpy().astype(dtype, copy=False)


def _batch(columns: Columns, table: Any, series: Any) -> MetricBatch:
    if table.num_rows > POINTS_MAX:
        raise PoisonError(f"{table.num_rows} points in one batch; at most {POINTS_MAX}")
    labels, types, units = columns
    batch = MetricBatch(
        labels,
        types,
        units,
        series=_numbers(series, np.int32),
        at_ms=_numbers(table.column(1), np.int64),
        value=_numbers(table.column(2), np.float64),
    )
    _check(batch)
    return batch


def _check_series(labels: tuple[str, ...], types: tuple[str, ...], units: tuple[str, ...]) -> None:
    if len(set(labels)) != len(labels):
        raise PoisonError("a series stands twice in the dictionary")
    check_series(labels)
    if not METRIC_TYPES.issuperset(types):
        raise PoisonError(f"a series' type is none of {', '.join(MetricType)}")
    if any(unit is None or len(unit) > NAME_BYTES_MAX for unit in set(units)):
        raise PoisonError(f"a series' unit is longer than {NAME_BYTES_MAX} characters")


def _check(batch: MetricBatch) -> None:
    size = len(batch.labels)
    if len(batch) and not (int(batch.series.min()) >= 0 and int(batch.series.max()) < size):
        raise PoisonError("a series index is out of range")
    check_times(batch.at_ms)
