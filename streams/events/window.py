"""`WindowBatch`: aggregates of many series over one window each, as columns (Arrow IPC).

Rows can be merged: ``count`` and ``sum`` add, ``min`` and ``max`` combine, ``first``/``last`` go by
their times, ``increase`` joins at the seam, sketches add bin by bin (`streams.domain`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from streams.errors import PoisonError
from streams.events.batch import (
    METRIC_TYPES,
    Floats,
    Ints,
    MetricType,
    check_times,
)
from streams.events.ipc import read_ipc, write_ipc
from streams.events.labels import check_series

WINDOW_ROWS_MAX = 50_000

_SCHEMA = pa.schema(
    [
        ("labels", pa.utf8()),
        ("type", pa.utf8()),
        ("unit", pa.utf8()),
        ("start_ms", pa.int64()),
        ("count", pa.int64()),
        ("sum", pa.float64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("first", pa.float64()),
        ("last", pa.float64()),
        ("first_ms", pa.int64()),
        ("last_ms", pa.int64()),
        ("increase", pa.float64()),
        ("bins", pa.list_(pa.int32())),
        ("bin_counts", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """One row a (series, window): window ``[start_ms, start_ms + size_ms)`` by sample time.

    ``increase``: growth of a counter inside the window, a fall read as a reset to zero, as
    Prometheus' ``increase`` without extrapolation. ``bin_offsets`` (rows + 1), ``bins`` and
    ``bin_counts``: the sketch of row i lies in ``[bin_offsets[i], bin_offsets[i+1])``; empty where
    the series has no observations.
    """

    size_ms: int
    labels: tuple[str, ...]
    types: tuple[str, ...]
    units: tuple[str, ...]
    start_ms: Ints
    count: Ints
    sum: Floats
    min: Floats
    max: Floats
    first: Floats
    last: Floats
    first_ms: Ints
    last_ms: Ints
    increase: Floats
    bin_offsets: Ints
    bins: Ints
    bin_counts: Ints

    def __len__(self) -> int:
        return len(self.labels)


_NUMBERS = (
    "start_ms",
    "count",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "first_ms",
    "last_ms",
    "increase",
)


def window_table(batch: WindowBatch) -> pa.RecordBatch:
    """The rows as Arrow columns: the wire's shape, and what DuckDB inserts from."""
    offsets = pa.array(batch.bin_offsets, pa.int32())
    columns = [
        pa.array(batch.labels, pa.utf8()),
        pa.array(batch.types, pa.utf8()),
        pa.array(batch.units, pa.utf8()),
        *(pa.array(getattr(batch, name), _SCHEMA.field(name).type) for name in _NUMBERS),
        pa.ListArray.from_arrays(offsets, pa.array(batch.bins, pa.int32())),
        pa.ListArray.from_arrays(offsets, pa.array(batch.bin_counts, pa.int64())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def encode_windows(batch: WindowBatch) -> bytes:
    """Arrow IPC of `window_table`; ``size_ms`` travels in the schema's metadata."""
    return write_ipc(window_table(batch).replace_schema_metadata({"size_ms": str(batch.size_ms)}))


def decode_windows(body: bytes) -> WindowBatch:
    """The inverse of `encode_windows`; `PoisonError` for anything else."""
    table = read_ipc(body, _SCHEMA)
    size = (table.schema.metadata or {}).get(b"size_ms", b"")
    if not size.isdigit() or len(size) > 18 or int(size) == 0:
        raise PoisonError("a window event without its size_ms")
    if table.num_rows > WINDOW_ROWS_MAX:
        raise PoisonError(f"{table.num_rows} rows in one window event; at most {WINDOW_ROWS_MAX}")
    if any(column.null_count for column in table.columns):
        raise PoisonError("a window column holds nulls")
    bins = table.column("bins").combine_chunks()
    counts = table.column("bin_counts").combine_chunks()
    if not bins.offsets.equals(counts.offsets):
        raise PoisonError("sketch bins and counts differ in length")
    if bins.values.null_count or counts.values.null_count:
        raise PoisonError("a sketch holds nulls")
    numbers = {name: table.column(name).to_numpy() for name in _NUMBERS}
    for name in ("start_ms", "first_ms", "last_ms"):
        check_times(numbers[name])
    labels, types = (tuple(table.column(name).to_pylist()) for name in ("labels", "type"))
    check_series(labels)
    if not METRIC_TYPES.issuperset(types):
        raise PoisonError(f"a series' type is none of {', '.join(MetricType)}")
    return WindowBatch(
        size_ms=int(size),
        labels=labels,
        types=types,
        units=tuple(table.column("unit").to_pylist()),
        bin_offsets=bins.offsets.to_numpy().astype(np.int64),
        bins=bins.values.to_numpy().astype(np.int64),
        bin_counts=counts.values.to_numpy(),
        **numbers,
    )
