"""`MetricBatch`: many samples as columns, self-contained, as Arrow IPC.

One Arrow stream with one record batch: ``series`` (dictionary of struct ``labels, type, unit``),
``at_ms`` (int64, Unix milliseconds) and ``value`` (float64). Any Arrow reader opens it. ``labels``
is the identity of `streams.events.labels`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.errors import PoisonError
from streams.events.labels import NAME_BYTES_MAX, check_series
from streams.log.protocol import BODY_BYTES_MAX

POINTS_MAX = 50_000
BYTES_MAX = BODY_BYTES_MAX

AT_MS_MIN = -62_135_596_800_000
AT_MS_MAX = 253_402_300_799_999
"""The years 1 to 9999."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

STALE_BITS = 0x7FF0000000000002
"""Prometheus' staleness marker: a NaN of its own (``model/value/value.go``)."""

STALE: float = float(np.array([STALE_BITS], dtype=np.uint64).view(np.float64)[0])

_SERIES = pa.struct([("labels", pa.utf8()), ("type", pa.utf8()), ("unit", pa.utf8())])
_SCHEMA = pa.schema(
    [
        ("series", pa.dictionary(pa.int32(), _SERIES)),
        ("at_ms", pa.int64()),
        ("value", pa.float64()),
    ]
)
# Its own threads cost a small record more than they save, and the event loop waits for it.
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)


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
    dictionary = _WRITTEN.array((batch.labels, batch.types, batch.units))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(batch.series, pa.int32()), dictionary),
        pa.array(batch.at_ms, pa.int64()),
        pa.array(batch.value, pa.float64()),
    ]
    return write_ipc(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))


def decode_batch(body: bytes) -> MetricBatch:
    """The inverse of `encode_batch`, and a check of everything that a reader relies on.

    Raises `PoisonError`: not Arrow, other columns, nulls, over the limits, an index out of range,
    a label text that is not canonical or an unknown type.
    """
    table = read_ipc(body, _SCHEMA)
    if table.num_rows > POINTS_MAX:
        raise PoisonError(f"{table.num_rows} points in one batch; at most {POINTS_MAX}")
    column = table.column(0)
    if column.null_count:
        raise PoisonError("a column holds nulls")
    chunk = column.chunk(0) if column.num_chunks else pa.array([], _SCHEMA.field(0).type)
    if chunk.dictionary.null_count:
        raise PoisonError("a dictionary entry is null")
    labels, types, units = _READ.columns(chunk.dictionary)
    batch = MetricBatch(
        labels=labels,
        types=types,
        units=units,
        series=chunk.indices.to_numpy(zero_copy_only=True),
        at_ms=_numbers(table.column(1), np.int64),
        value=_numbers(table.column(2), np.float64),
    )
    _check(batch)
    return batch


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


def write_ipc(rows: pa.RecordBatch) -> bytes:
    """One record batch as an Arrow stream with zstd buffers."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_OPTIONS) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def read_ipc(body: bytes, schema: pa.Schema) -> Any:
    """The table of one Arrow stream with exactly this schema and no nulls, else `PoisonError`."""
    try:
        with pa.ipc.open_stream(body) as reader:
            if not reader.schema.equals(schema):
                raise PoisonError(f"columns {reader.schema.names}; expected {schema.names}")
            batches = list(reader)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PoisonError(f"not an Arrow stream: {error}") from error
    if len(batches) != 1:
        raise PoisonError(f"{len(batches)} record batches in one event; expected 1")
    table = pa.Table.from_batches(batches)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise PoisonError(f"invalid Arrow data: {error}") from error
    return table


def check_times(at_ms: Ints) -> None:
    """`PoisonError` for times that no calendar has: readers turn them into dates."""
    if len(at_ms) and not (int(at_ms.min()) >= AT_MS_MIN and int(at_ms.max()) <= AT_MS_MAX):
        raise PoisonError("a time is before the year 1 or after the year 9999")


def _numbers(column: Any, dtype: type[np.generic]) -> Any:
    if column.null_count:
        raise PoisonError("a column holds nulls")
    return column.to_numpy().astype(dtype, copy=False)


_Columns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
_Place = tuple[int, str, str]


class _Recent:
    """Dictionaries that came lately, as Arrow buffers and as Python strings.

    Producers send the same dictionary again and again, and several readers decode each record: to
    compare buffers is far cheaper than to make and check strings. Bounded by number and bytes;
    threads may race here, at worst a dictionary is made twice.
    """

    def __init__(self, number_max: int = 128, bytes_max: int = 32 << 20) -> None:
        self._number_max, self._bytes_max = number_max, bytes_max
        self._lock = threading.Lock()
        self._bytes = 0
        self._known: OrderedDict[_Place, tuple[Any, _Columns]] = OrderedDict()

    def columns(self, dictionary: Any) -> _Columns:
        """Labels, types and units; `PoisonError` where they are not valid."""
        if not len(dictionary):
            return (), (), ()
        texts = dictionary.field(0)
        place = (len(texts), str(texts[0]), str(texts[-1]))
        known = self._known.get(place)
        if known is not None and known[0].equals(dictionary):
            return known[1]
        columns = _checked(dictionary)
        self._keep(place, dictionary, columns)
        return columns

    def array(self, columns: _Columns) -> Any:
        """The Arrow dictionary of a batch's columns."""
        labels = columns[0]
        if not labels:
            return _struct(columns)
        place = (len(labels), labels[0], labels[-1])
        known = self._known.get(place)
        if known is not None and known[1] == columns:
            return known[0]
        dictionary = _struct(columns)
        self._keep(place, dictionary, columns)
        return dictionary

    def _keep(self, place: _Place, dictionary: Any, columns: _Columns) -> None:
        size = 4 * dictionary.nbytes  # the strings take more than their buffers
        if size > self._bytes_max // 4:
            return
        with self._lock:
            self._forget(place)
            self._known[place] = dictionary, columns
            self._bytes += size
            while self._bytes > self._bytes_max or len(self._known) > self._number_max:
                self._forget(next(iter(self._known)))

    def _forget(self, place: _Place) -> None:
        if known := self._known.pop(place, None):
            self._bytes -= 4 * known[0].nbytes


_READ = _Recent()
_WRITTEN = _Recent()
"""Not the same: what is written here was not checked as what is read is."""


def _struct(columns: _Columns) -> Any:
    return pa.StructArray.from_arrays(
        [pa.array(column, pa.utf8()) for column in columns], fields=list(_SERIES)
    )


def _checked(dictionary: Any) -> _Columns:
    labels, types, units = (tuple(dictionary.field(i).to_pylist()) for i in range(3))
    if len(set(labels)) != len(labels):
        raise PoisonError("a series stands twice in the dictionary")
    check_series(labels)
    if not METRIC_TYPES.issuperset(types):
        raise PoisonError(f"a series' type is none of {', '.join(MetricType)}")
    if any(unit is None or len(unit) > NAME_BYTES_MAX for unit in set(units)):
        raise PoisonError(f"a series' unit is longer than {NAME_BYTES_MAX} characters")
    return labels, types, units


def _check(batch: MetricBatch) -> None:
    size = len(batch.labels)
    if len(batch) and not (int(batch.series.min()) >= 0 and int(batch.series.max()) < size):
        raise PoisonError("a series index is out of range")
    check_times(batch.at_ms)
