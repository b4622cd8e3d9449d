"""From a tick to the fsynced event that an alert fired, beside 10,000 points/s and 100 rules."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from datetime import datetime

import numpy as np
from rich.console import Console
from rich.table import Table

from bench._server import Connection, Server, call, running
from bench.latency import collect

TICK_MS = 1_000
RULES = 100


def fired_after_ms(server: Server) -> list[float]:
    """Of each `AlertFired` in the log, how long after its tick it was appended."""
    command = [sys.executable, "-m", "mcp_api", "replay", "--topic", "alerts.events"]
    replayed = subprocess.run(
        [*command, "--data-dir", str(server.data_dir)], stdout=subprocess.PIPE, check=True
    )
    waits = []
    for line in map(json.loads, replayed.stdout.splitlines()):
        if line["headers"]["ce_type"] == "alerts.fired.v1":
            appended_ms = datetime.fromisoformat(line["at"]).timestamp() * 1000
            waits.append(appended_ms - line["data"]["at_ms"])
    return waits


def main(argv: list[str]) -> None:
    """``--seconds N``: how long alerts come and go."""
    parser = argparse.ArgumentParser(prog="python -m bench firing", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args(argv).seconds
    stop = threading.Event()
    with running(TICK_INTERVAL="1") as server:

        def background() -> None:
            connection = Connection(server.port)
            while not stop.is_set():
                began = time.perf_counter()
                assert connection.send(collect(1_000, "background"))[0] == 200
                stop.wait(max(0.0, 0.1 - (time.perf_counter() - began)))

        connection = Connection(server.port)
        for number in range(RULES):
            condition = f'flip{{n="{number}"}} > 0.5'
            call(connection, "create_alert", {
                "name": f"Flip {number}", "condition": condition, "severity": "low",
            })  # fmt: skip
        load = threading.Thread(target=background)
        load.start()
        for second in range(seconds):
            metrics = [
                {"name": "flip", "value": second % 2, "metric_type": "gauge", "tags": {"n": str(n)}}
                for n in range(RULES)
            ]
            call(connection, "collect_metrics", {"source": "bench", "metrics": metrics})
            stop.wait(TICK_MS / 1000)
        stop.set()
        load.join()
        waits = fired_after_ms(server)
    table = Table(title="From the tick to the fsynced event, ms")
    for column in ("rules", "alerts fired", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right")
    quantiles = np.percentile(waits, [50, 90, 99, 100])
    table.add_row(str(RULES), f"{len(waits):,}", *(f"{q:.0f}" for q in quantiles))
    Console().print(table)
