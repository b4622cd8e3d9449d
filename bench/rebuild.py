"""Rebuild: points per second from the log to a new DuckDB file, 10,000 series."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
from rich.console import Console
from rich.table import Table

from projections.rebuild import rebuild_file
from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.topics import POINTS
from streams.log.protocol import Append, Entry, Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.clock import tick_entries
from streams.processors.seam import advance, restore
from streams.processors.windows import WindowsProcessor

BEGIN_MS = 1_700_000_000_000 // 60_000 * 60_000
GOAL = 2_000_000
SERIES = 10_000
SCRAPES = 3
EVERY_MS = 10_000


def main(argv: list[str]) -> None:
    """``python -m bench rebuild [--records N] [--runs N]``: records of 30,000 points; the best."""
    parser = argparse.ArgumentParser(prog="python -m bench rebuild", description=main.__doc__)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args(argv)
    table = Table(title=f"rebuild, {SERIES:,} series, {asked.records} records of 30,000 points")
    for column in ("log holds", "points", "window rows", "wall s", "CPU s", "points/s",
                   "points/CPU s", "bytes/point", f"goal {GOAL:,}"):  # fmt: skip
        table.add_column(column, justify="right")
    for windows in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            table.add_row(*_measure(Path(folder), asked.records, asked.runs, windows=windows))
    Console(width=120).print(table)


def _measure(folder: Path, records: int, runs: int, *, windows: bool) -> tuple[str, ...]:
    log = SqliteLog.open(folder / "log.db")
    try:
        _fill(log, records, windows=windows)
        best = min(_run(log, folder / "metrics.duckdb") for _ in range(runs))
    finally:
        log.close()
    wall, cpu = best
    points = records * SCRAPES * SERIES
    with duckdb.connect(str(folder / "metrics.duckdb")) as connection:
        rows = connection.execute("SELECT count(*) FROM windows").fetchall()[0][0]
    size = (folder / "metrics.duckdb").stat().st_size
    return (
        "points and 1 min windows" if windows else "points",
        f"{points:,}",
        f"{rows:,}",
        f"{wall:.2f}",
        f"{cpu:.2f}",
        f"{points / wall:,.0f}",
        f"{points / cpu:,.0f}",
        f"{size / points:.1f}",
        "reached" if points / wall >= GOAL else "missed",
    )


def _run(log: SqliteLog, path: Path) -> tuple[float, float]:
    path.unlink(missing_ok=True)
    wall, cpu = time.perf_counter(), time.process_time()
    rebuild_file(path, log)
    return time.perf_counter() - wall, time.process_time() - cpu


def _fill(log: SqliteLog, records: int, *, windows: bool) -> None:
    """Appends the records, and the windows that close meanwhile."""
    processor = WindowsProcessor(sizes_ms=(60_000,))
    tracked = restore(processor, {}, lambda _begin, _end: [])
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 100, SERIES)
    labels = tuple(
        f'{{"__name__":"cpu_usage_{i % 10}","host":"host_{i // 10}","source":"bench"}}'
        for i in range(SERIES)
    )
    for i in range(records):
        times = BEGIN_MS + (i * SCRAPES + np.arange(SCRAPES)) * EVERY_MS
        value = values + rng.normal(0, 1, (SCRAPES, SERIES)).cumsum(axis=0)
        values = value[-1]
        batch = MetricBatch(
            labels=labels,
            types=("gauge",) * SERIES,
            units=("percent",) * SERIES,
            series=np.tile(np.arange(SERIES, dtype=np.int32), SCRAPES),
            at_ms=np.repeat(times, SERIES),
            value=value.round(2).ravel(),
        )
        event = Event(Envelope(f"bench/{i}", "bench", int(times[-1])), MetricsCollected(batch))
        entries = [Entry(POINTS, 0, encode(event)), *tick_entries(1, int(times[-1]))]
        positions = log.submit(Append(tuple(entries))).result().positions
        if windows:
            made = [
                Record(POINTS, 0, position.offset, int(times[-1]), entry.message.headers,
                       entry.message.body)
                for position, entry in zip(positions, entries, strict=True)
            ]  # fmt: skip
            tracked, _, outputs = advance(processor, 0, tracked, made)
            if outputs:
                log.submit(Append(outputs)).result()
