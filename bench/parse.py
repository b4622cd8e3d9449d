"""CPU time to parse `collect_metrics` requests, in nanoseconds a point."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from streams.ingest.json_points import parse_arguments, parse_body
from streams.ingest.series_cache import SeriesCache

NOW_MS = 1_800_000_000_000
SIZES = (1, 100, 1_000, 10_000)


def body(points: int, seed: int, *, timestamps: bool, changed: bool = False) -> bytes:
    """Ten metrics of each host, four tags a point; ``changed``: hosts never seen before."""
    values = random.Random(seed)
    metrics = []
    for number in range(points):
        host = f"host_{number // 10}" + (f"_{seed}" if changed else "")
        tags = {"host": host, "region": "eu-central-1", "service": "api", "env": "production"}
        point: dict[str, object] = {
            "name": f"cpu_usage_{number % 10}",
            "value": round(values.random() * 100, 2),
            "metric_type": "gauge",
            "tags": tags,
        }
        if timestamps:
            point["timestamp"] = f"2026-11-22T10:{number // 60 % 60:02}:{number % 60:02}.123Z"
        metrics.append(point)
    return json.dumps({"source": "bench", "metrics": metrics}).encode()


def main(argv: list[str]) -> None:
    """Prints the least of several rounds for each case: on a shared machine that is the truest."""
    options = argparse.ArgumentParser(prog="bench parse", description=__doc__)
    options.add_argument("--rounds", type=int, default=20)
    rounds = options.parse_args(argv).rounds
    table = Table(title="Parsing collect_metrics, CPU ns a point")
    for column in ("points a request", "timestamps", "repeated", "other order", "new", "as dicts"):
        table.add_column(column, justify="right")
    for points in SIZES:
        for timestamps in (False, True):
            table.add_row(
                f"{points:,}", "each" if timestamps else "none", *_row(points, timestamps, rounds)
            )
    Console().print(table)


def _row(points: int, timestamps: bool, rounds: int) -> list[str]:
    first, again = (body(points, seed, timestamps=timestamps) for seed in (1, 2))
    cache = SeriesCache()
    parse_body(first, NOW_MS, cache=cache)
    repeated = _least_ns(lambda: parse_body(again, NOW_MS, cache=cache), rounds)

    # The sequence is remembered by its first point: without any, each point is looked up.
    without = SeriesCache(remembered_bytes_max=0)
    parse_body(first, NOW_MS, cache=without)
    looked_up = _least_ns(lambda: parse_body(again, NOW_MS, cache=without), rounds)
    fresh = _least_ns(lambda: parse_body(first, NOW_MS, cache=SeriesCache()), max(1, rounds // 4))
    arguments = json.loads(first)
    slow = _least_ns(lambda: parse_arguments(arguments, NOW_MS), max(1, rounds // 4))
    return [f"{ns / points:,.0f}" for ns in (repeated, looked_up, fresh, slow)]


def _least_ns(work: Callable[[], object], rounds: int) -> int:
    least = None
    for _ in range(rounds):
        begun = time.process_time_ns()
        work()
        took = time.process_time_ns() - begun
        least = took if least is None else min(least, took)
    assert least is not None
    return least
