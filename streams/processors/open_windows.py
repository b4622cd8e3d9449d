"""Aggregates of windows that are not told yet: packed table values, one block a (size, window).

A block is one or more values ``<size_ms>/<start_ms>/<shard>``, each a `WindowBatch` of at most
1 MiB, sorted by labels, so that its bytes follow from its rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from streams.domain import windows
from streams.domain.sketch import Sketches
from streams.domain.windows import NUMBERS, Aggregates
from streams.events.window import WINDOW_ROWS_MAX, WindowBatch, decode_windows, encode_windows
from streams.log.protocol import BODY_BYTES_MAX
from streams.processors.series_index import SeriesIndex

Window = tuple[int, int]
"""(size_ms, start_ms)"""

ROW_BYTES = 128
"""A row's numbers, offsets and validity, at most."""
BIN_BYTES = 12
SLACK_BYTES = 16_384
"""Arrow's own framing: schema, metadata, padding of each column."""


@dataclass(frozen=True, slots=True)
class OpenWindows:
    """Rows by window, sorted by labels, and how many table values each stored block has."""

    rows: Mapping[Window, Aggregates]
    shards: Mapping[Window, int]

    def size(self) -> int:
        return sum(len(rows) for rows in self.rows.values())


def batches(index: SeriesIndex, rows: Aggregates, size_ms: int) -> Iterator[WindowBatch]:
    """The rows in their order, cut so that each batch is certain to encode to at most 1 MiB.

    The cut is by the size before compression: it needs no trial, and 16 KiB of labels and a full
    sketch fit into one batch together.
    """
    row_bytes = (
        ROW_BYTES + index.text_bytes()[rows.series] + BIN_BYTES * np.diff(rows.sketches.offsets)
    )
    ends = np.cumsum(row_bytes)
    begin = 0
    while begin < len(rows):
        room = (ends[begin - 1] if begin else 0) + BODY_BYTES_MAX - SLACK_BYTES
        end = int(np.searchsorted(ends, room, side="right"))
        end = max(begin + 1, min(end, begin + WINDOW_ROWS_MAX))
        yield _batch(index, rows.take(np.arange(begin, end)), size_ms)
        begin = end


def stored(index: SeriesIndex, table: Mapping[str, bytes]) -> OpenWindows:
    """The inverse of `changes`: what was open when the table was written."""
    blocks: dict[Window, list[tuple[int, Aggregates]]] = {}
    for key, value in table.items():
        size_ms, start_ms, shard = (int(part) for part in key.split("/"))
        rows = _aggregates(index, decode_windows(value))
        blocks.setdefault((size_ms, start_ms), []).append((shard, rows))
    return OpenWindows(
        rows={
            window: windows.concat([rows for _, rows in sorted(parts, key=lambda part: part[0])])
            for window, parts in blocks.items()
        },
        shards={window: len(parts) for window, parts in blocks.items()},
    )


def changes(
    index: SeriesIndex,
    rows: Mapping[Window, Aggregates],
    shards: Mapping[Window, int],
    touched: set[Window],
) -> tuple[dict[str, bytes | None], dict[Window, int]]:
    """The table values of the touched windows (None deletes), and the new shard counts."""
    values: dict[str, bytes | None] = {}
    counts = dict(shards)
    for window in sorted(touched):
        size_ms, start_ms = window
        parts = list(batches(index, rows[window], size_ms)) if window in rows else []
        for shard, part in enumerate(parts):
            values[f"{size_ms}/{start_ms}/{shard}"] = encode_windows(part)
        for shard in range(len(parts), counts.pop(window, 0)):
            values[f"{size_ms}/{start_ms}/{shard}"] = None
        if parts:
            counts[window] = len(parts)
    return values, counts


def _batch(index: SeriesIndex, rows: Aggregates, size_ms: int) -> WindowBatch:
    labels, types, units = index.dictionary(rows.series)
    return WindowBatch(
        size_ms=size_ms,
        labels=labels,
        types=types,
        units=units,
        bin_offsets=rows.sketches.offsets,
        bins=rows.sketches.bins,
        bin_counts=rows.sketches.counts,
        **{name: getattr(rows, name) for name in NUMBERS},
    )


def _aggregates(index: SeriesIndex, batch: WindowBatch) -> Aggregates:
    return Aggregates(
        series=index.resolve(batch.labels, batch.types, batch.units),
        sketches=Sketches(batch.bin_offsets, batch.bins, batch.bin_counts),
        **{name: getattr(batch, name) for name in NUMBERS},
    )
