"""Backtest of rules over a week of 1,000 series at 10 s, out of the DuckDB file."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench._samples import log_of, scrapes
from projections.backtest import Backtests
from projections.projector import Projector
from projections.rebuild import rebuild_file
from streams.domain.alert_routing import Route, Routing
from streams.events.rules import Rule
from streams.log.sqlite_log import SqliteLog

BEGIN_MS = 1_764_547_200_000
EVERY_MS = 10_000
DAY_MS = 86_400_000
RECORD_MS = 300_000
GOAL_S = 30.0
RULES = (
    ("a threshold, firing rarely", {"condition": "load > 91"}),
    ("the same, firing in every fourth tick", {"condition": "load > 85"}),
    ("for 1m", {"condition": "load > 75", "for_ms": 60_000}),
    ("by job, hysteresis", {
        "condition": "avg by (job) (load) > 53", "clear_condition": "avg by (job) (load) < 50",
        "keep_firing_for_ms": 60_000,
    }),
    ("over five minutes", {"condition": "avg_over_time(load[5m]) > 56"}),
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Prints for each rule how long its backtest takes, and what it finds."""
    options = argparse.ArgumentParser(prog="bench backtest", description=__doc__)
    options.add_argument("--series", type=int, default=1_000)
    options.add_argument("--days", type=int, default=7)
    options.add_argument("--folder", type=Path, help="where the file is kept between runs")
    chosen = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        _measure(chosen.folder or Path(temporary), chosen.series, chosen.days)


def _measure(folder: Path, series: int, days: int) -> None:
    log, path = _filled(folder, series, days)
    end_ms = BEGIN_MS + days * DAY_MS
    title = f"{days} days of {series:,} series, evaluated every 10 s; goal {GOAL_S:g} s"
    table = Table(title=title)
    for column in ("rule", "wall s", "CPU s", "samples/s", "firings", "told"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    projector = Projector(log, path)
    projector.start()
    try:
        backtests = Backtests(projector, Routing(route=Route(receiver="ops")), EVERY_MS)
        for name, fields in RULES:
            rule = Rule(id="bench", version=1, name="Bench", series_max=100_000, **fields)
            begun, begun_cpu = time.perf_counter(), time.process_time()
            found = backtests.run(rule, BEGIN_MS, end_ms)
            took, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
            samples = series * days * DAY_MS / EVERY_MS
            told = sum(found.notifications.receivers.values())
            table.add_row(
                f"{name}: {rule.condition}",
                f"{took:.1f}",
                f"{cpu:.1f}",
                f"{samples / took:,.0f}",
                f"{found.firings:,}",
                f"{told:,}" + ("" if found.notifications.until_ms == end_ms else "+"),
            )
    finally:
        projector.stop()
        log.close()
    Console(width=140).print(table)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak_mib:,.0f} MiB")


def _filled(folder: Path, series: int, days: int) -> tuple[SqliteLog, Path]:
    """The log, and the file that is its fold; a day after another, to hold little at once."""
    name = f"{series}-{days}"
    log_path, path = folder / f"{name}.db", folder / f"{name}.duckdb"
    if not path.exists():
        for day in range(days):
            begin_ms = BEGIN_MS + day * DAY_MS
            at_ms = np.arange(begin_ms, begin_ms + DAY_MS, EVERY_MS, dtype=np.int64)
            log_of([scrapes("load", series, at_ms, counter=False)], log_path, RECORD_MS)
        log = SqliteLog.open(log_path)
        rebuild_file(path, log)
        return log, path
    return SqliteLog.open(log_path), path
