"""Heads of `MetricBatch` streams (the schema and the dictionary of series), kept while in use.

Producers send the same dictionary again and again, and several readers decode each record. Its
head is the same bytes each time: whoever knows it neither compresses, unpacks nor checks it again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import pyarrow as pa

from streams.events.ipc import write_ipc

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Columns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Labels, types and units: one entry a series."""

_SERIES: Final = pa.struct([("labels", pa.utf8()), ("type", pa.utf8()), ("unit", pa.utf8())])
SCHEMA: Final = pa.schema(
    [
        ("series", pa.dictionary(pa.int32(), _SERIES)),
        ("at_ms", pa.int64()),
        ("value", pa.float64()),
    ]
)
ROWS: Final = pa.schema(
    [("series", pa.int32()), ("at_ms", pa.int64()), ("value", pa.float64())],
)
"""What follows a head: in Arrow's format the rows of a dictionary column are its indices."""

ROWS_HEAD: Final = bytes(ROWS.serialize())
_SCHEMA_MESSAGE: Final = bytes(SCHEMA.serialize())
_FRAMING_BYTES = 8
"""Before each message's metadata: a marker and the metadata's length."""


class _Recent(Generic[K, V]):
    """The values used lately, bounded by number and bytes. Threads may race here: at worst a value
    is made twice."""

    def __init__(self, number_max: int = 1_024, bytes_max: int = 32 << 20) -> None:
        self._number_max, self._bytes_max = number_max, bytes_max
        self._lock = threading.Lock()
        self._bytes = 0
        self._known: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        known = self._known.get(key)
        return None if known is None else known[0]

    def keep(self, key: K, value: V, size: int) -> None:
        if size > self._bytes_max // 4:
            return
        with self._lock:
            self._forget(key)
            self._known[key] = value, size
            self._bytes += size
            while self._bytes > self._bytes_max or len(self._known) > self._number_max:
                self._forget(next(iter(self._known)))

    def _forget(self, key: K) -> None:
        known = self._known.pop(key, None)
        self._bytes -= 0 if known is None else known[1]


_written: _Recent[tuple[int, str, str], tuple[Columns, bytes]] = _Recent()
_read: _Recent[bytes, Columns] = _Recent()
"""Not the same: what is written here was not checked as what is read is."""


def head_of(columns: Columns) -> bytes:
    """The bytes before the rows of a batch with this dictionary."""
    labels = columns[0]
    place = (len(labels), labels[0], labels[-1]) if labels else (0, "", "")
    known = _written.get(place)
    if known is not None and known[0] == columns:
        return known[1]
    series = pa.StructArray.from_arrays(
        [pa.array(column, pa.utf8()) for column in columns], fields=list(_SERIES)
    )
    none = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), series)
    empty = [none, pa.array([], pa.int64()), pa.array([], pa.float64())]
    stream = write_ipc(pa.RecordBatch.from_arrays(empty, schema=SCHEMA))
    size = _head_bytes(stream)
    assert size is not None
    head = stream[:size]
    _written.keep(place, (columns, head), _size(series))
    return head


def known_head(body: bytes) -> tuple[bytes | None, Columns | None]:
    """A stream's head, if it has one, and its dictionary, if that was checked before."""
    size = _head_bytes(body)
    if size is None:
        return None, None
    head = body[:size]
    return head, _read.get(head)


def columns_of(head: bytes | None, series: pa.StructArray, check: Callable[..., None]) -> Columns:
    """The dictionary as strings, after ``check(labels, types, units)``; kept for its head."""
    labels, types, units = (tuple(series.field(i).to_pylist()) for i in range(3))
    check(labels, types, units)
    columns = (labels, types, units)
    if head is not None:
        _read.keep(head, columns, _size(series) + len(head))
    return columns


def _head_bytes(body: bytes) -> int | None:
    """How long the schema's and the dictionary's messages are."""
    begin = len(_SCHEMA_MESSAGE)
    if not body.startswith(_SCHEMA_MESSAGE):
        return None
    try:
        message = pa.ipc.read_message(pa.py_buffer(body).slice(begin))
    except (pa.ArrowException, OSError, ValueError, EOFError):  # at the end Arrow raises the last
        return None
    if message.type != "dictionary":
        return None
    return begin + _FRAMING_BYTES + int(message.metadata.size) + int(message.body.size)


def _size(series: pa.StructArray) -> int:
    """The strings take more than their buffers."""
    return int(4 * series.nbytes)
