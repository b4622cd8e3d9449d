"""What telling costs: points per CPU second of the server without, with spans, with all points.

A local HTTP server takes what is sent and throws it away; its CPU is not counted, the server's
threads that send are.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from rich.console import Console
from rich.table import Table

from bench._server import Connection, Server, call, running
from bench.pipeline import CONNECTIONS, bodies, send_all

SERIES = 1_000
QUIET_S = 1.0
"""What is left to be sent has been sent when the server's CPU stands still for so long."""


@contextmanager
def taking() -> Iterator[str]:
    """The URL of a server that takes everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def settle(server: Server) -> None:
    """Returns when everything is sent."""
    while "logfire_mcp_sink_lag_records" in (page := scrape(server)):
        lags = [line for line in page.splitlines() if line.startswith("logfire_mcp_sink_lag_rec")]
        if all(line.endswith(" 0.0") for line in lags):
            break
        time.sleep(0.2)
    time.sleep(QUIET_S)


def scrape(server: Server) -> str:
    return httpx.get(f"http://127.0.0.1:{server.port}/metrics").text


def measure(points: int, total: int, **environment: str) -> tuple[float, float]:
    """Points a CPU second, and the server's MB."""
    warm = [bodies(each, SERIES, points, 4 * CONNECTIONS * points) for each in range(CONNECTIONS)]
    loads = [bodies(each, SERIES, points, total) for each in range(CONNECTIONS)]
    sent = sum(len(load) for load in loads) * points
    with running(METRICS_COLLECTION_INTERVAL="0", DEFAULT_TARGETS="off", **environment) as server:
        send_all(server, warm)
        settle(server)
        cpu = server.cpu_s()
        positions = send_all(server, loads)
        connection = Connection(server.port)
        for position in positions:
            arguments: dict[str, object] = {"operation": "list_metrics", "min_position": position}
            call(connection, "query_metrics", arguments)
        settle(server)
        return sent / (server.cpu_s() - cpu), server.rss_mb()


def main(argv: list[str]) -> None:
    """``--total N``: points a row of the table."""
    parser = argparse.ArgumentParser(prog="python -m bench tracing", description=__doc__)
    parser.add_argument("--total", type=int, default=500_000)
    total = parser.parse_args(argv).total
    table = Table(title=f"HTTP/JSON to queryable, {SERIES:,} series, points per CPU second")
    for column in ("points/\nrequest", "told", "points/CPU s", "of it", "µs/request", "RSS MB"):
        table.add_column(column, justify="right")
    with taking() as url:
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        kinds = {
            "nothing": {},
            "spans": collector,
            "spans, sampled 1 %": {**collector, "LOGFIRE_TRACE_SAMPLE_RATE": "0.01"},
            "spans and points": {**collector, "LOGFIRE_FORWARD_POINTS": "on"},
        }
        for points in (10, 1_000):
            alone = 0.0
            for kind, environment in kinds.items():
                rate, mb = measure(points, total if points > 10 else total // 10, **environment)
                alone = alone or rate
                more_us = (1 / rate - 1 / alone) * points * 1e6
                table.add_row(
                    f"{points:,}", kind, f"{rate:,.0f}", f"{rate / alone:.0%}", f"{more_us:+,.0f}",
                    f"{mb:.0f}",
                )  # fmt: skip
    Console(width=120).print(table)
