"""Points per CPU second of the whole server, from an HTTP/JSON request to fsynced and to queryable.

Ten connections, each the only producer of its tenth of the series: whole scrapes, one a second.
Beside each row a yardstick taken just before it: msgspec alone decodes the same JSON to objects. On
a machine that is shared it says how fast the processor was then.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import msgspec
from rich.console import Console
from rich.table import Table

from bench._server import Connection, Server, call, request, running

CONNECTIONS = 10


class _Point(msgspec.Struct):
    name: str
    value: float
    metric_type: str
    tags: dict[str, str]
    timestamp: str


class _Arguments(msgspec.Struct):
    source: str
    metrics: list[_Point]


class _Call(msgspec.Struct):
    tool: str
    arguments: _Arguments


def yardstick(requests: list[bytes], points: int) -> float:
    """Points a CPU second of msgspec decoding the bodies of these requests, each of ``points``."""
    decode = msgspec.json.Decoder(_Call).decode
    sent = [request[request.index(b"\r\n\r\n") + 4 :] for request in requests]
    began = time.process_time()
    for body in sent:
        decode(body)
    return len(sent) * points / (time.process_time() - began)


def bodies(connection: int, series: int, points: int, total: int) -> list[bytes]:
    """Requests of ``points`` samples over this connection's share of the series, in time order."""
    mine = [
        {"host": f"server{i:05d}", "service": f"api-{i % 7}", "region": "eu-west-1"}
        for i in range(connection, series, CONNECTIONS)
    ]
    tags = [json.dumps(tag) for tag in mine]
    start = datetime.now(UTC) - timedelta(seconds=total // series + 60)
    made, sample = [], 0
    for _ in range(total // CONNECTIONS // points):
        rows = []
        for _ in range(points):
            second, index = divmod(sample, len(mine))
            at = (start + timedelta(seconds=second)).isoformat(timespec="seconds")
            value = round(50 + (sample * 7919 % 1000) / 37, 2)
            rows.append(
                f'{{"name":"cpu_usage","value":{value},"metric_type":"gauge",'
                f'"tags":{tags[index]},"timestamp":"{at}"}}'
            )
            sample += 1
        arguments = f'{{"source":"bench","metrics":[{",".join(rows)}]}}'
        made.append(request(f'{{"tool":"collect_metrics","arguments":{arguments}}}'.encode()))
    return made


def send_all(server: Server, loads: list[list[bytes]]) -> list[str]:
    """Sends every load on a connection of its own; the last positions acknowledged."""
    positions: list[str] = []
    failures: list[BaseException] = []

    def send(load: list[bytes]) -> None:
        try:
            connection = Connection(server.port)
            for body in load:
                status, answer = connection.send(body)
                if status != 200:
                    raise RuntimeError(f"{status}: {answer[:300]!r}")
            positions.append(json.loads(answer)["position"])
        except (OSError, RuntimeError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=send, args=(load,)) for load in loads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return positions


def measure(series: int, points: int, total: int) -> list[str]:
    """One row of the table."""
    loads = [bodies(connection, series, points, total) for connection in range(CONNECTIONS)]
    sent = sum(len(load) for load in loads) * points
    warm = [
        bodies(connection, series, points, 2 * CONNECTIONS * max(points, series))
        for connection in range(CONNECTIONS)
    ]
    alone = yardstick(loads[0] + loads[1], points)
    with running(METRICS_COLLECTION_INTERVAL="0") as server:
        send_all(server, warm)
        cpu, wall = server.cpu_s(), time.perf_counter()
        positions = send_all(server, loads)
        acked_cpu, acked_wall = server.cpu_s() - cpu, time.perf_counter() - wall
        connection = Connection(server.port)
        for position in positions:
            call(connection, "query_metrics", {
                "operation": "list_metrics", "min_position": position,
            })  # fmt: skip
        cpu, wall = server.cpu_s() - cpu, time.perf_counter() - wall
        return [
            f"{series:,}", f"{points:,}", f"{sent:,}", f"{alone:,.0f}",
            f"{sent / acked_cpu:,.0f}", f"{sent / cpu:,.0f}",
            f"{sent / acked_wall:,.0f}", f"{sent / wall:,.0f}",
            f"{server.rss_mb():.0f}",
        ]  # fmt: skip


def main(argv: list[str]) -> None:
    """``--total N``: points a row of the table."""
    parser = argparse.ArgumentParser(prog="python -m bench pipeline", description=__doc__)
    parser.add_argument("--total", type=int, default=2_000_000)
    total = parser.parse_args(argv).total
    table = Table(title="HTTP/JSON to fsynced (ack) and to queryable in DuckDB")
    for column in (
        "series", "points/\nrequest", "points", "msgspec alone\npoints/CPU s",
        "ack\npoints/CPU s", "queryable\npoints/CPU s",
        "ack\npoints/s", "queryable\npoints/s", "RSS MB",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for series in (1_000, 10_000):
        for points in (1_000, 10_000):
            table.add_row(*measure(series, points, total))
    Console(width=120).print(table)
