"""Time of range queries by the PromQL engine alone, from memory, on one core."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from streams.promql.engine import range_query
from streams.promql.frames import Floats, Ints, Labels
from streams.promql.source import MemorySource

EVERY_MS = 15_000
BEGIN_MS = 1_800_000_000_000
QUERIES = (
    "sum by (job) (rate(x_total[5m]))",
    "rate(x_total[5m])",
    "sum by (job) (x_total)",
    "topk(5, x_total)",
    "x_total / on (instance) y",
    "max_over_time(y[5m])",
    "avg_over_time(y[5m])",
    "stddev_over_time(y[5m])",
    "quantile_over_time(0.9, y[5m])",
    "deriv(y[5m])",
    "avg_over_time(rate(x_total[1m])[5m:1m])",
    "histogram_quantile(0.9, sum by (job, le) (rate(h_bucket[5m])))",
)


def data(series: int, samples: int, jitter_ms: int) -> MemorySource:
    """Counters (a tenth with a reset), gauges of fractions, and histograms of ten buckets."""
    random = np.random.default_rng(1)
    even_ms = BEGIN_MS + EVERY_MS * np.arange(samples, dtype=np.int64)
    columns: dict[Labels, tuple[Ints, Floats]] = {}
    for number in range(series):
        target = (("instance", f"host-{number}"), ("job", f"job-{number % 20}"))
        at_ms = even_ms + random.integers(0, jitter_ms + 1, samples)
        counted = np.cumsum(random.integers(0, 100, samples)).astype(np.float64)
        if number % 10 == 0:
            counted[samples // 2 :] -= counted[samples // 2 - 1]
        bucket = f"{number % 10 + 1}" if number % 10 < 9 else "+Inf"
        of_histogram = (("instance", f"host-{number // 10}"), ("job", target[1][1]), ("le", bucket))
        columns[(("__name__", "x_total"), *target)] = at_ms, counted
        columns[(("__name__", "y"), *target)] = at_ms, random.normal(50, 10, samples)
        columns[(("__name__", "h_bucket"), *of_histogram)] = at_ms, counted * (number % 10 + 1)
    return MemorySource(columns)


def main(argv: list[str]) -> None:
    """Prints the first and the least of several rounds for each query, and what was evaluated."""
    options = argparse.ArgumentParser(prog="bench promql", description=__doc__)
    options.add_argument("--series", type=int, default=10_000)
    options.add_argument("--steps", type=int, default=240)
    options.add_argument("--samples", type=int, default=300)
    options.add_argument("--jitter-ms", type=int, default=0, help="samples lie off their times")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args(argv)
    source = data(chosen.series, chosen.samples, chosen.jitter_ms)
    end_ms = BEGIN_MS + EVERY_MS * (chosen.samples - 1)
    start_ms = end_ms - EVERY_MS * (chosen.steps - 1)
    table = Table(
        title=f"{chosen.series:,} series x {chosen.steps} steps, {chosen.samples} samples"
    )
    for column in ("query", "first s", "least s", "CPU s", "result"):
        table.add_column(column, justify="left" if column == "query" else "right")
    for query in QUERIES:
        took, cpu = [], []
        for _ in range(chosen.rounds):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            answer = range_query(query, source, start_ms, end_ms, EVERY_MS)
            took.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - begun_cpu)
        result = f"{len(answer.labels):,} series"
        table.add_row(query, f"{took[0]:.3f}", f"{min(took):.3f}", f"{min(cpu):.3f}", result)
    Console().print(table)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory with the data: {peak_mib:,.0f} MiB")
