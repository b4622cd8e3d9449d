"""Is the file the fold of the log? Hashes of both, at one position vector.

`projection_hashes` is for whoever has the file open (the server), `refold_hashes` for anybody who
can read the log: it folds the log from its start into a temporary file of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from projections.duck import DuckProjection
from projections.duck_file import point_columns
from projections.hashing import (
    TableHash,
    Words,
    digest_words,
    hash_rows,
    list_words,
    text_words,
    words,
)
from projections.reading import Reader, reading
from projections.rebuild import Progress, Rebuilt, read_ahead
from projections.schema import ALERT_TABLES, HEALTH_TABLES
from projections.source import Partition, SourceLog
from streams.errors import ProjectionError

_BATCH_ROWS = 250_000
_NUMBERS = (
    "size_ms",
    "start_ms",
    "segment",
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
VERIFY_TIMEOUT_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Hashes:
    """The hash of each table, and the positions at which it holds."""

    positions: Mapping[Partition, int]
    tables: Mapping[str, TableHash]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """``equal``, or which tables differ: one line each in ``differences``."""

    equal: bool
    stored: Hashes
    refolded: Hashes
    differences: tuple[str, ...]


def projection_hashes(reader: Reader) -> Hashes:
    """Reads every row once, in one snapshot; tens of millions of points a second."""
    texts = text_words(
        row["text"] for row in reader.rows("SELECT text FROM series ORDER BY series_id")
    )
    positions = reader.rows('SELECT topic, "partition" AS number, next_offset FROM positions')
    return Hashes(
        positions={(row["topic"], row["number"]): row["next_offset"] for row in positions},
        tables={
            "points": _hash_samples(reader, "points", texts),
            "latest": _hash_samples(reader, "latest", texts),
            "windows": _hash_windows(reader, texts),
            "series": _hash_series(reader, texts),
            "counters": _hash_counters(reader),
            "marks": _hash_marks(reader),
            "requests": _hash_requests(reader, "requests", ("partition", "minute", "shard")),
            "request_streams": _hash_requests(
                reader, "request_streams", ("partition", "number", "moved")
            ),
            "request_clocks": _hash_clocks(reader),
            **{table: _hash_whole(reader, table) for table in (*ALERT_TABLES, *HEALTH_TABLES)},
        },
    )


def refold_hashes(
    log: SourceLog, positions: Mapping[Partition, int], progress: Progress | None = None
) -> Hashes:
    """The hashes that the log's records below ``positions`` give, by a fold from its start.

    Needs room for a second DuckDB file in the temporary directory. `ProjectionError` where the log
    does not reach the positions, or no longer starts at 0.
    """
    began = time.monotonic()
    if any(start for place, start in log.starts().items() if place in positions):
        raise ProjectionError("the log no longer holds its beginning: it cannot be folded again")
    total = sum(positions.values())
    with tempfile.TemporaryDirectory(prefix="logfire-mcp-verify-") as folder:
        projection = DuckProjection.open(Path(folder) / "refold.duckdb", log, live_points_max=0)
        try:
            records = 0
            for chunk in read_ahead(log, projection.positions(), positions):
                records += projection.apply_decoded(iter(chunk))
                if progress is not None:
                    elapsed = time.monotonic() - began
                    progress(Rebuilt(records, total, projection.absorbed_points, elapsed))
            _require_reached(positions, projection.positions())
            with reading(projection, VERIFY_TIMEOUT_S) as reader:
                return projection_hashes(reader)
        finally:
            projection.close()


def _require_reached(wanted: Mapping[Partition, int], reached: Mapping[Partition, int]) -> None:
    for place, offset in wanted.items():
        if reached.get(place, 0) != offset:
            raise ProjectionError(
                f"the records of {place[0]}/{place[1]} end at {reached.get(place, 0)} in the log, "
                f"not at {offset}"
            )


def verify(log: SourceLog, stored: Hashes, progress: Progress | None = None) -> VerifyReport:
    """Compares what a projection holds with the log's fold at the same positions."""
    refolded = refold_hashes(log, stored.positions, progress)
    differences = tuple(
        f"{name}: stored {stored.tables[name]}, the log gives {refolded.tables[name]}"
        for name in stored.tables
        if stored.tables[name] != refolded.tables[name]
    )
    return VerifyReport(not differences, stored, refolded, differences)


def _hash_samples(reader: Reader, table: str, texts: tuple[Words, Words]) -> TableHash:
    """A missing sample (of a series that only windows know) counts as no row."""
    sql = f"SELECT series_id, at_ms, value FROM {table} WHERE at_ms IS NOT NULL"  # noqa: S608
    total = TableHash()
    for rows in _batches(reader, sql):
        series, at_ms, value = point_columns(rows)
        total += hash_rows([words(at_ms), words(value)], [_pick(texts, series)])
    return total


def _hash_windows(reader: Reader, texts: tuple[Words, Words]) -> TableHash:
    total = TableHash()
    for rows in _batches(reader, "SELECT * FROM windows"):
        series = rows.column("series_id").to_numpy()
        sketch = _hash_lists(rows.column("bins"), rows.column("bin_counts"))
        cells = [words(rows.column(name).to_numpy()) for name in _NUMBERS]
        total += hash_rows([*cells, sketch], [_pick(texts, series)])
    return total


def _hash_series(reader: Reader, texts: tuple[Words, Words]) -> TableHash:
    rows = reader.table("SELECT type, unit, name FROM series ORDER BY series_id")
    pairs = [text_words(column.to_pylist()) for column in rows.columns]
    return hash_rows([], [texts, *pairs]) if rows.num_rows else TableHash()


def _hash_counters(reader: Reader) -> TableHash:
    rows = reader.table("SELECT name, value FROM counters")
    names = text_words(rows.column("name").to_pylist())
    return hash_rows([words(rows.column("value").to_numpy())], [names])


def _hash_marks(reader: Reader) -> TableHash:
    rows = reader.table('SELECT processor, "partition", out_seq FROM marks')
    names = text_words(rows.column("processor").to_pylist())
    cells = [words(rows.column(name).to_numpy()) for name in ("partition", "out_seq")]
    return hash_rows(cells, [names])


def _hash_requests(reader: Reader, table: str, numbers: tuple[str, ...]) -> TableHash:
    total = TableHash()
    for rows in _batches(reader, f"SELECT * FROM {table}"):  # noqa: S608
        cells = [words(rows.column(name).to_numpy()) for name in numbers]
        keys = digest_words(rows.column("key").to_pylist())
        total += hash_rows([*cells, _hash_lists(rows.column("rows"))], [keys])
    return total


def _hash_clocks(reader: Reader) -> TableHash:
    rows = reader.table("SELECT * FROM request_clocks")
    return hash_rows([words(column.to_numpy()) for column in rows.columns], [])


def _hash_whole(reader: Reader, table: str) -> TableHash:
    """Of every cell, as Python writes it: `repr` tells NaN, NULL, -0.0 and all digits apart."""
    total = TableHash()
    for rows in _batches(reader, f"SELECT * FROM {table}"):  # noqa: S608
        columns = [column.to_pylist() for column in rows.columns]
        total += hash_rows([], [text_words(map(repr, zip(*columns, strict=True)))])
    return total


def _hash_lists(*columns: Any) -> Words:
    """One word for each row, of lists that are equally long in all columns."""
    sizes = columns[0].value_lengths().to_numpy()
    flat = [column.flatten().to_numpy() for column in columns]
    return list_words(np.append(0, np.cumsum(sizes)), *flat)


def _pick(texts: tuple[Words, Words], series: Any) -> tuple[Words, Words]:
    return texts[0][series], texts[1][series]


def _batches(reader: Reader, sql: str) -> Iterator[Any]:
    return (batch for batch in reader.batches(sql, _BATCH_ROWS) if batch.num_rows)
