"""MetricsProducer: points per CPU second of one core into Kafka, each way of sending."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from streams import KafkaConfig, MetricsProducer, SyncMetricsProducer
from streams.log.kafka_log import KafkaLog
from tests.kafka_cluster import Cluster

GOAL = 500_000
SERIES = 10_000
RUNS = 3


def main(argv: list[str]) -> None:
    """``python -m bench producer [SCRAPES]``: scrapes of 10,000 series, 100 unless told (a tenth of
    it point by point); best of three. Starts a broker unless KAFKA_TEST_BOOTSTRAP names one."""
    scrapes = int(argv[0]) if argv else 100
    running = os.environ.get("KAFKA_TEST_BOOTSTRAP")
    cluster = None if running else Cluster(1)
    try:
        bootstrap = running or (cluster.bootstrap if cluster else "")
        asyncio.run(_measure(bootstrap, scrapes))
    finally:
        if cluster is not None:
            cluster.stop()


async def _measure(bootstrap: str, scrapes: int) -> None:
    kafka = KafkaConfig(
        (bootstrap,), prefix=f"bench-{uuid.uuid4().hex[:8]}.", retention_ms=3_600_000
    )
    await asyncio.to_thread(lambda: KafkaLog.open(kafka).close())  # makes the topics
    table = Table(title=f"MetricsProducer, {SERIES:,} series, 6 partitions, one broker")
    for column in ("form", "points", "Mpoints/s of CPU", "Mpoints/s", f"goal {GOAL:,}"):
        table.add_column(column, justify="right")
    values = np.random.default_rng(1).uniform(0, 100, SERIES).round(2)
    few = max(1, scrapes // 10)
    async with MetricsProducer(kafka, source="bench") as producer:
        labels = [{"host": f"host_{i}", "region": "eu-central-1"} for i in range(SERIES)]
        series = tuple(producer.series("cpu_usage", each, unit="percent") for each in labels)
        listed = values.tolist()

        async def columns() -> None:
            await producer.send_many(series, values)

        async def handles() -> None:
            for one, value in zip(series, listed, strict=True):
                await producer.send(one, value)

        async def points() -> None:
            for each, value in zip(labels, listed, strict=True):
                await producer.send("cpu_usage", value, each, unit="percent")

        for form, scrape, count in (
            ("send_many(series, values)", columns, scrapes),
            ("send(series, value)", handles, few),
            ("send(name, value, labels)", points, few),
        ):
            best = min([await _timed(producer, scrape, count) for _ in range(RUNS)])
            _add(table, form, count, *best)
    best = min(_timed_sync(kafka, labels, listed, few) for _ in range(RUNS))
    _add(table, "SyncMetricsProducer.send(…)", few, *best)
    Console().print(table)


def _add(table: Table, form: str, scrapes: int, cpu_s: float, wall_s: float) -> None:
    points = scrapes * SERIES
    reached = "reached" if points / cpu_s >= GOAL else "missed"
    speeds = (f"{points / cpu_s / 1e6:.2f}", f"{points / wall_s / 1e6:.2f}")
    table.add_row(form, f"{points:,}", *speeds, reached)


async def _timed(
    producer: MetricsProducer, scrape: Callable[[], Awaitable[None]], scrapes: int
) -> tuple[float, float]:
    """CPU and wall seconds until everything is acknowledged."""
    await scrape()
    await producer.flush()
    cpu, wall = time.process_time(), time.monotonic()
    for _ in range(scrapes):
        await scrape()
    await producer.flush()
    return time.process_time() - cpu, time.monotonic() - wall


def _timed_sync(
    kafka: KafkaConfig, labels: list[dict[str, str]], values: list[float], scrapes: int
) -> tuple[float, float]:
    with SyncMetricsProducer(kafka, source="bench") as producer:
        for each, value in zip(labels, values, strict=True):
            producer.send("cpu_usage", value, each, unit="percent")
        producer.flush()
        cpu, wall = time.process_time(), time.monotonic()
        for _ in range(scrapes):
            for each, value in zip(labels, values, strict=True):
                producer.send("cpu_usage", value, each, unit="percent")
        producer.flush()
        return time.process_time() - cpu, time.monotonic() - wall
