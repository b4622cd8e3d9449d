"""Wait for the acknowledgement (fsync) of 1 and of 1,000 points beside a steady 10,000 points/s."""

from __future__ import annotations

import argparse
import json
import threading
import time
from datetime import UTC, datetime

import numpy as np
from rich.console import Console
from rich.table import Table

from bench._server import Connection, request, running


def collect(points: int, host: str) -> bytes:
    """A request of ``points`` samples of now."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    metrics = [
        {"name": "load", "value": i * 0.5, "metric_type": "gauge", "timestamp": at,
         "tags": {"host": host, "unit_no": str(i)}}
        for i in range(points)
    ]  # fmt: skip
    arguments = {"source": "bench", "metrics": metrics}
    return request(json.dumps({"tool": "collect_metrics", "arguments": arguments}).encode())


def main(argv: list[str]) -> None:
    """``--calls N``: single-point calls measured."""
    parser = argparse.ArgumentParser(prog="python -m bench latency", description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    calls = parser.parse_args(argv).calls
    stop = threading.Event()
    with running() as server:

        def background() -> None:
            connection = Connection(server.port)
            while not stop.is_set():
                began = time.perf_counter()
                assert connection.send(collect(1_000, "background"))[0] == 200
                stop.wait(max(0.0, 0.1 - (time.perf_counter() - began)))

        load = threading.Thread(target=background)
        load.start()
        connection = Connection(server.port)
        rows = []
        for label, points, count in (("1 point", 1, calls), ("1,000 points", 1_000, 100)):
            waits = []
            for i in range(count):
                body = collect(points, f"probe{i % 10}")
                began = time.perf_counter()
                assert connection.send(body)[0] == 200
                waits.append((time.perf_counter() - began) * 1000)
                stop.wait(0.002)
            quantiles = np.percentile(waits[5:], [50, 90, 99, 100])
            rows.append([label, f"{count:,}", *(f"{q:.1f}" for q in quantiles)])
        stop.set()
        load.join()
    table = Table(title="Acknowledgement (fsynced), ms, beside 10,000 points/s")
    for column in ("call", "calls", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
