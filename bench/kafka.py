"""Windows on Kafka: points per CPU second of a worker, of Quix Streams, and of a plain loop.

A real broker on loopback, started here; all share its two cores. 10,000 gauges in batches of 1,000
points, windows of one minute with count, sum, min, max (ours: first, last and increase as well,
duplicates dropped, late points amended, state and outputs durable).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, MetricsCollected, WindowClosed
from streams.events.codec import COLLECTED, decode, encode
from streams.events.topics import POINTS, WINDOWS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Receipt
from streams.processors.clock import tick_entries
from tests.kafka_cluster import Cluster

SERIES = 10_000
BATCH_POINTS = 1_000
PARTITIONS = 2
WINDOW_MS = 60_000
TICK_MS = 5_000
AHEAD_MS, SPAN_MS_MAX = 5 * 60_000, 45 * 60_000
GOAL, GOAL_QUIX, GOAL_CEILING = 400_000, 20, 0.5
FAR_S = 600.0
IN_FLIGHT = 64
QUIX = "quixstreams==3.28.1"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Figure:
    """``cpu_s``: of all measured processes together, without the broker and the producer."""

    what: str
    points: int
    cpu_s: float
    wall_s: float

    @property
    def per_cpu_s(self) -> float:
        return self.points / self.cpu_s


def main(argv: list[str]) -> None:
    """``python -m bench kafka [--scrapes N] [--every SECONDS] [--runs N] [--quix-points N]``: the
    best of the runs; no Quix Streams with 0 points, else its package is installed for the run."""
    parser = argparse.ArgumentParser(prog="python -m bench kafka", description=main.__doc__)
    parser.add_argument("--scrapes", type=int, default=1_200)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--quix-points", type=int, default=200_000)
    asked = parser.parse_args(argv)
    if asked.scrapes * asked.every * 1_000 > SPAN_MS_MAX:
        parser.error(f"scrapes times every is at most {SPAN_MS_MAX // 1_000} s")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = Cluster(1)
        stack.callback(cluster.stop)
        entries = list(load(asked.scrapes, asked.every * 1_000))
        figures = [
            best(
                measure_workers(cluster.bootstrap, f"bench-{workers}-{run}.", workers, entries)
                for run in range(asked.runs)
            )
            for workers in (1, 2)
        ]
        ceiling = best(measure_ceiling(cluster.bootstrap, "bench-1-0.") for _ in range(asked.runs))
        quix = None
        if asked.quix_points:
            quix = measure_quix(cluster.bootstrap, folder, asked.quix_points, asked.every)
    show(figures, quix, ceiling, asked.every)


def best(runs: Iterable[Figure]) -> Figure:
    return max(runs, key=lambda figure: figure.per_cpu_s)


def show(figures: list[Figure], quix: Figure | None, ceiling: Figure, every_s: int) -> None:
    table = Table(title=f"1 min windows on Kafka, {SERIES:,} series, a sample every {every_s} s")
    for column in ("", "points", "points/CPU s", "points/s", "x Quix", "% of ceiling"):
        table.add_column(column, justify="right" if column else "left")
    for figure in (*figures, *([quix] if quix else []), ceiling):
        table.add_row(
            figure.what,
            f"{figure.points:,}",
            f"{figure.per_cpu_s:,.0f}",
            f"{figure.points / figure.wall_s:,.0f}",
            f"{figure.per_cpu_s / quix.per_cpu_s:,.1f}" if quix else "",
            f"{figure.per_cpu_s / ceiling.per_cpu_s:.0%}",
        )
    console = Console(width=100)
    console.print(table)
    one, two = figures
    console.print(
        f"goals: {GOAL:,} points/CPU s {_reached(one.per_cpu_s >= GOAL)}; "
        + (
            f"{GOAL_QUIX} x Quix {_reached(one.per_cpu_s >= GOAL_QUIX * quix.per_cpu_s)}; "
            if quix
            else ""
        )
        + f"{GOAL_CEILING:.0%} of the ceiling "
        f"{_reached(one.per_cpu_s >= GOAL_CEILING * ceiling.per_cpu_s)}; CPU a point with two "
        f"workers: {one.per_cpu_s / two.per_cpu_s:.2f} x that of one"
    )


def _reached(goal: bool) -> str:
    return "reached" if goal else "missed"


def load(scrapes: int, every_ms: int) -> Iterator[Entry]:
    """Ten producers with a thousand gauges each, and the ticks between their scrapes.

    The times lie ahead of the clock's, so the workers' own ticks change nothing, but not so far
    that they are refused (an hour).
    """
    begin_ms = (int(time.time() * 1_000) + AHEAD_MS) // WINDOW_MS * WINDOW_MS
    producers = SERIES // BATCH_POINTS
    dictionaries = [
        tuple(
            f'{{"__name__":"cpu_usage_user","host":"host_{i}","region":"eu","source":"bench"}}'
            for i in range(producer * BATCH_POINTS, (producer + 1) * BATCH_POINTS)
        )
        for producer in range(producers)
    ]
    index, rng, tick_ms = np.arange(BATCH_POINTS, dtype=np.int32), np.random.default_rng(1), 0
    for scrape in range(scrapes):
        now_ms = begin_ms + scrape * every_ms
        for producer, labels in enumerate(dictionaries):
            batch = MetricBatch(
                labels=labels,
                types=("gauge",) * BATCH_POINTS,
                units=("percent",) * BATCH_POINTS,
                series=index,
                at_ms=np.full(BATCH_POINTS, now_ms),
                value=rng.uniform(0, 100, BATCH_POINTS).round(2),
            )
            event = Event(Envelope(f"{producer}/{scrape}", "b", now_ms), MetricsCollected(batch))
            yield Entry(POINTS, producer % PARTITIONS, encode(event))
        if now_ms // TICK_MS * TICK_MS > tick_ms:
            tick_ms = now_ms // TICK_MS * TICK_MS
            yield from tick_entries(PARTITIONS, tick_ms)
    yield from tick_entries(PARTITIONS, begin_ms + scrapes * every_ms + 2 * WINDOW_MS)


def measure_workers(bootstrap: str, prefix: str, count: int, entries: Sequence[Entry]) -> Figure:
    """Workers that are up already get the whole load at once; until all windows are told."""
    points = BATCH_POINTS * sum(e.message.headers["ce_type"] == COLLECTED for e in entries)
    config = KafkaConfig(
        tuple(bootstrap.split(",")), prefix=prefix, partitions=PARTITIONS, replication=1
    )
    with closing(KafkaLog.open(config)) as log, workers(bootstrap, prefix, count) as processes:
        cpu, wall = _cpu_s(processes), time.perf_counter()
        filling = threading.Thread(target=fill, args=(log, entries))
        filling.start()
        told = sum_until(log, points)
        cpu, wall = _cpu_s(processes) - cpu, time.perf_counter() - wall
        filling.join()
    if told != points:
        raise RuntimeError(f"{points:,} points went in, the windows hold {told:,}")
    return Figure(f"{count} worker{'s' * (count > 1)}", points, cpu, wall)


@contextmanager
def workers(bootstrap: str, prefix: str, count: int) -> Iterator[list[psutil.Process]]:
    """Worker processes that are ready and have all partitions among them; ended at the end."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "KAFKA_REPLICATION": "1",
        "LOG_LEVEL": "ERROR",
    }
    with ExitStack() as stack:
        urls, processes = [], []
        for number in range(count):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            own = {"LOGFIRE_DATA_DIR": folder, "LOGFIRE_MCP_PORT": str(port)}
            process = subprocess.Popen(
                [sys.executable, "-m", "mcp_api", "worker"],
                env={**os.environ, **settings, **own},
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            urls.append(f"http://127.0.0.1:{port}/ready")
            processes.append(psutil.Process(process.pid))
            wait_until(partial(is_ready, urls[number]))
        wait_until(lambda: all(is_ready(url) for url in urls))
        yield processes


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + FAR_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the workers are not ready")
        time.sleep(0.2)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def fill(log: KafkaLog, entries: Sequence[Entry]) -> None:
    """As fast as the broker acknowledges."""
    waiting: deque[Future[Receipt]] = deque()
    for first in range(0, len(entries), 16):
        waiting.append(log.submit(Append(tuple(entries[first : first + 16]))))
        if len(waiting) >= IN_FLIGHT:
            waiting.popleft().result(FAR_S)
    for future in waiting:
        future.result(FAR_S)


def sum_until(log: KafkaLog, points: int) -> int:
    """Follows the window events until they hold so many points; how many they hold."""
    told, at = 0, dict.fromkeys(range(PARTITIONS), 0)
    deadline = time.monotonic() + FAR_S
    while told < points:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the windows hold {told:,} of {points:,} points")
        log.wait_for({(WINDOWS, number): offset for number, offset in at.items()}, 1.0)
        for number, offset in at.items():
            for record in log.read_now(WINDOWS, number, offset):
                data = decode(record.headers, record.body).data
                assert isinstance(data, WindowClosed)
                told += int(data.batch.count.sum())
                at[number] = record.offset + 1
    return told


def measure_ceiling(bootstrap: str, prefix: str) -> Figure:
    """A plain loop over the topic that a worker has read before."""
    command = [sys.executable, "-m", "bench._kafka_ceiling", bootstrap, prefix + POINTS]
    return _figure("plain aiokafka + numpy", [*command, str(PARTITIONS)])


def measure_quix(bootstrap: str, folder: Path, points: int, every_s: int) -> Figure:
    """Quix Streams installed into an environment of its own, with an app as its users write it."""
    subprocess.run([sys.executable, "-m", "venv", folder / "quix"], check=True)
    python, app = str(folder / "quix" / "bin" / "python"), str(ROOT / "bench" / "_quix_app.py")
    subprocess.run([python, "-m", "pip", "install", "-q", QUIX], check=True)
    _declare(bootstrap, "quix", "quix.windows")
    scrapes = max(1, points // SERIES)
    fill = [python, app, "fill", bootstrap, "quix", str(SERIES), str(scrapes)]
    subprocess.run([*fill, str(every_s * 1_000)], check=True, stdout=subprocess.DEVNULL)
    run = [python, "-W", "ignore", app, "run", bootstrap, "quix", str(folder / "state")]
    return _figure("Quix Streams", [*run, str(scrapes * SERIES)])


def _declare(bootstrap: str, *topics: str) -> None:
    async def declare() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
        await admin.close()

    asyncio.run(declare())


def _figure(what: str, command: list[str]) -> Figure:
    """Of a program that prints its figures as its last line."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Figure(what, **json.loads(done.stdout.splitlines()[-1]))


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
