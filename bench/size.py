"""Bytes a point in the log and in DuckDB, on data shaped like TSBS' DevOps set."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench._server import Connection, call, request, running

FIELDS = [
    "user",
    "system",
    "idle",
    "nice",
    "iowait",
    "irq",
    "softirq",
    "steal",
    "guest",
    "guest_nice",
]


def main(argv: list[str]) -> None:
    """``--hosts N --minutes M``: 10 cpu fields a host every 10 s, random walks of whole %."""
    parser = argparse.ArgumentParser(prog="python -m bench size", description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=120)
    options = parser.parse_args(argv)
    random = np.random.default_rng(1)
    walk = random.integers(0, 100, (options.hosts, len(FIELDS))).astype(float)
    start = datetime.now(UTC) - timedelta(minutes=options.minutes)
    steps, sent = options.minutes * 6, 0
    folder = tempfile.TemporaryDirectory()
    data_dir = Path(folder.name)
    with folder, ExitStack() as stack:
        server = stack.enter_context(running(data_dir, METRICS_COLLECTION_INTERVAL="0"))
        connection, metrics = Connection(server.port), []
        answer: dict[str, object] = {}
        for step in range(steps):
            at = (start + timedelta(seconds=10 * step)).isoformat(timespec="seconds")
            walk = np.clip(walk + random.integers(-1, 2, walk.shape), 0, 100)
            for host in range(options.hosts):
                tags = {"hostname": f"host_{host}", "region": f"eu-west-{host % 3}",
                        "datacenter": f"eu-west-{host % 3}b", "os": "Ubuntu22.04",
                        "arch": "x64", "team": "SF", "service": str(host % 20)}  # fmt: skip
                metrics += [
                    {"name": f"cpu_usage_{field}", "value": value, "metric_type": "gauge",
                     "tags": tags, "timestamp": at}
                    for field, value in zip(FIELDS, walk[host].tolist(), strict=True)
                ]  # fmt: skip
            if len(metrics) >= 30_000 or step == steps - 1:
                arguments = {"source": "tsbs", "metrics": metrics}
                body = json.dumps({"tool": "collect_metrics", "arguments": arguments})
                status, raw = connection.send(request(body.encode()))
                assert status == 200, raw
                answer, sent, metrics = json.loads(raw), sent + len(metrics), []
        position = answer["position"]
        call(connection, "query_metrics", {"operation": "list_metrics", "min_position": position})
        stack.close()  # a stopped server has moved its write-ahead logs into the files
        sizes = {
            path.name: path.stat().st_size
            for path in data_dir.iterdir()
            if path.suffix in {".db", ".duckdb"}
        }
    table = Table(title=f"{sent:,} points: {options.hosts} hosts x {len(FIELDS)} fields, 10 s")
    table.add_column("file")
    table.add_column("bytes/point", justify="right")
    for name, size in sorted(sizes.items()):
        table.add_row(name, f"{size / sent:.2f}")
    Console(width=120).print(table)
