"""Points with their own times as OTLP metrics.

https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/metrics/v1/metrics.proto
A counter is a cumulative, monotonic ``Sum``; all others are ``Gauge``, also the observations of a
histogram or a summary.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mcp_api.observability import wire
from streams.events.batch import STALE_BITS, MetricBatch, MetricType

REQUEST_BYTES_MAX: Final = 2 << 20
"""Of the points of one request, before compression; Logfire takes 5 MB."""

AT_MS_MAX: Final = (2**64 - 1) // 1_000_000
"""The newest that 64 bits of nanoseconds can say, in the year 2554; the oldest is 1970."""

SERIES_KEPT_MAX: Final = 100_000

_NAME: Final = "__name__"
_POINT: Final = 0x0A
_TIME, _DOUBLE, _FLAGS = 0x19, 0x21, 0x40
_ROW: Final = np.dtype(
    [("t", "u1"), ("at", "<u8"), ("v", "u1"), ("value", "<f8"), ("f", "u1"), ("flags", "u1")]
)
_GAUGE, _SUM = 5, 7
_CUMULATIVE: Final = wire.count(2, 2) + wire.count(3, 1)  # and monotonic
_decode = msgspec.json.Decoder(dict[str, str]).decode

Metric = tuple[str, str, int]
"""Name, unit, and the field of its kind."""


class PointsEncoder:
    """Batches to the contents of export requests; remembers series that come again."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], tuple[Metric, bytes]] = {}

    def scopes(self, batch: MetricBatch) -> Iterator[tuple[bytes, int]]:
        """The ``metrics`` of a ``ScopeMetrics`` and how many points they have, as often as it takes
        for `REQUEST_BYTES_MAX`. Points of times that OTLP cannot say are left out."""
        known = [self._of(*one) for one in zip(batch.labels, batch.types, batch.units, strict=True)]
        sayable = np.flatnonzero((batch.at_ms >= 0) & (batch.at_ms <= AT_MS_MAX))
        sizes = np.array([len(head) + _ROW.itemsize for _, head in known], np.int64)
        pieces = np.cumsum(sizes[batch.series[sayable]]) // REQUEST_BYTES_MAX
        for piece in np.unique(pieces).tolist():
            rows = sayable[pieces == piece]
            yield _scope(batch, rows, known), len(rows)

    def _of(self, labels: str, kind: str, unit: str) -> tuple[Metric, bytes]:
        """The metric of a series, and what each of its points begins with."""
        key = (labels, kind, unit)
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= SERIES_KEPT_MAX:
                self._series.clear()
            values = _decode(labels)
            metric = values.pop(_NAME, ""), unit, _SUM if kind == MetricType.COUNTER else _GAUGE
            marks = wire.attributes(7, values)
            size = wire.varint(len(marks) + _ROW.itemsize)
            found = self._series[key] = metric, bytes([_POINT]) + size + marks
        return found


def _scope(
    batch: MetricBatch, rows: npt.NDArray[np.intp], known: list[tuple[Metric, bytes]]
) -> bytes:
    rows = rows[np.argsort(batch.series[rows], kind="stable")]
    series = batch.series[rows]
    values = np.empty(len(rows), _ROW)
    values["t"], values["v"], values["f"] = _TIME, _DOUBLE, _FLAGS
    values["at"] = batch.at_ms[rows].astype(np.uint64) * np.uint64(1_000_000)
    values["value"] = batch.value[rows]
    values["flags"] = batch.value[rows].view(np.uint64) == STALE_BITS  # no recorded value
    packed = values.tobytes()
    metrics: dict[Metric, list[bytes]] = {}
    bounds = np.flatnonzero(np.diff(series, prepend=-1, append=-1)).tolist()
    for begin, end in pairwise(bounds):
        metric, head = known[int(series[begin])]
        points = metrics.setdefault(metric, [])
        for row in range(begin * _ROW.itemsize, end * _ROW.itemsize, _ROW.itemsize):
            points += (head, packed[row : row + _ROW.itemsize])
    return b"".join(
        wire.message(2, _metric(metric, b"".join(points))) for metric, points in metrics.items()
    )


def _metric(metric: Metric, points: bytes) -> bytes:
    name, unit, field = metric
    extra = _CUMULATIVE if field == _SUM else b""
    return wire.text(1, name) + wire.text(3, unit) + wire.message(field, points + extra)
