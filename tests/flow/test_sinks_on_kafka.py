"""On Kafka the workers copy the log elsewhere, each the partitions that it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from streams.events.batch import MetricBatch
from streams.events.catalogue import (
    Envelope,
    Event,
    MetricsCollected,
    WindowAmended,
    WindowClosed,
)
from streams.events.codec import decode, encode
from streams.events.labels import series_partition, series_text
from streams.events.topics import POINTS, WINDOWS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Record
from tests.effort import MORE
from tests.flow.kafka_fleet import Child, until
from tests.projections.sink_servers import RedisServer, VictoriaServer

PARTITIONS = 4
SERIES = [series_text("load", {"host": f"web-{i}"}) for i in range(12)]
FAR_S = 90.0


def test_what_a_killed_worker_copied_is_copied_on_by_another(
    kafka: str,
    kafka_prefix: str,
    tmp_path: Path,
    redis_server: RedisServer,
    victoria: VictoriaServer,
) -> None:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "KAFKA_SESSION_TIMEOUT": "6",
        "WINDOW_SIZES": "1",
        "WINDOW_GRACE": "0",
        "REDIS_URL": redis_server.url,
        "INFLUXDB_URL": victoria.url,
        "INFLUXDB_WRITE": "both",
    }
    config = KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)
    workers = [Child(f"worker-{i}", ["worker"], settings, tmp_path) for i in range(2)]
    with closing(KafkaLog.open(config)) as log:
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                until(worker.is_ready, FAR_S, f"not ready: {worker.tail()}")
            write(log)
            until(lambda: len(newest_in(redis_server)) == len(SERIES), FAR_S, "both copy")
            write(log)
            workers[0].kill()
            write(log)
            until(lambda: newest_in(redis_server) == newest_told(log), FAR_S, workers[1].tail())
            until(lambda: is_copied(victoria, log), FAR_S, workers[1].tail())
        finally:
            for worker in workers:
                worker.stop()


def write(log: KafkaLog) -> None:
    """One sample of each series, now."""
    at_ms = time.time_ns() // 1_000_000
    for i, text in enumerate(SERIES):
        batch = MetricBatch(
            labels=(text,),
            types=("gauge",),
            units=("",),
            series=np.zeros(1, np.int32),
            at_ms=np.array([at_ms]),
            value=np.array([at_ms % 1_000 + i / 4]),
        )
        event = Event(Envelope(f"{at_ms}/{i}", "test", at_ms), MetricsCollected(batch))
        entry = Entry(POINTS, series_partition(text, PARTITIONS), encode(event))
        log.submit(Append((entry,))).result(FAR_S)


def newest_in(server: RedisServer) -> dict[str, tuple[str, str]]:
    held = server.hashes("logfire:last:*").items()
    return {key.removeprefix("logfire:last:"): (told["at_ms"], told["value"]) for key, told in held}


def newest_told(log: KafkaLog) -> dict[str, tuple[str, str]]:
    told = {}
    for record in records(log, POINTS):
        match decode(record.headers, record.body).data:
            case MetricsCollected(batch):
                told[batch.labels[0]] = (str(batch.at_ms[0]), repr(float(batch.value[0])))
    return told


Points = dict[tuple[str, int], float]
Windows = dict[tuple[str, int, str], float]


def is_copied(victoria: VictoriaServer, log: KafkaLog) -> bool:
    """Every sample, and every window: those of the log hold every sample once they are closed."""
    points, windows = point_values(log), window_counts(log)
    return held(victoria) == (points, windows) and sum(windows.values()) == len(points)


def held(victoria: VictoriaServer) -> tuple[Points, Windows]:
    """Values by host and time, counts of windows by host, time, and whether they came late."""
    points: Points = {}
    windows: Windows = {}
    for labels, told in victoria.samples().items():
        key = dict(labels)
        for at_ms, value in told.items():
            if key["__name__"] == "load_value":
                points[key["host"], at_ms] = value
            elif key["__name__"] == "load_count":
                windows[key["host"], at_ms, key.get("amended", "")] = value
    return points, windows


def point_values(log: KafkaLog) -> Points:
    told = {}
    for record in records(log, POINTS):
        match decode(record.headers, record.body).data:
            case MetricsCollected(batch):
                told[host(batch.labels[0]), int(batch.at_ms[0])] = float(batch.value[0])
    return told


def window_counts(log: KafkaLog) -> Windows:
    told = {}
    for record in records(log, WINDOWS):
        data = decode(record.headers, record.body).data
        match data:
            case WindowClosed(batch, _) | WindowAmended(batch, _):
                late = isinstance(data, WindowAmended)
                times = batch.first_ms if late else batch.start_ms
                for i, text in enumerate(batch.labels):
                    key = (host(text), int(times[i]), "true" if late else "")
                    told[key] = float(batch.count[i])
    return told


def host(text: str) -> str:
    return text.partition('"host":"')[2].partition('"')[0]


def records(log: KafkaLog, topic: str) -> Iterator[Record]:
    for number in range(PARTITIONS):
        offset = 0
        while found := log.read_now(topic, number, offset):
            yield from found
            offset = found[-1].offset + 1


@pytest.mark.skipif(MORE == 1, reason="half a minute until a cut is seen: every night")
def test_what_kafka_forgot_a_worker_refills_from_another_nodes_database(
    kafka: str, kafka_prefix: str, tmp_path: Path, victoria: VictoriaServer
) -> None:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "WINDOW_SIZES": "1",
        "WINDOW_GRACE": "0",
    }
    config = KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)
    node = Child("node", ["serve"], settings, tmp_path)
    copying = {"INFLUXDB_URL": victoria.url, "INFLUXDB_WRITE": "both", "SNAPSHOT_FROM": node.url}
    worker = Child("worker", ["worker"], {**settings, **copying}, tmp_path)
    with closing(KafkaLog.open(config)) as log:
        try:
            for child in (node, worker):
                child.start()
            for child in (node, worker):
                until(child.is_ready, FAR_S, f"not ready: {child.tail()}")
            write(log)
            until(lambda: is_copied(victoria, log), FAR_S, worker.tail())
            victoria.program.stop()
            for _ in range(5):
                write(log)
            until(
                lambda: sum(window_counts(log).values()) == 6 * len(SERIES),
                FAR_S,
                "windows are closed",
            )
            points, windows = point_values(log), window_counts(log)
            until(lambda: lag_of(node) == 0, FAR_S, node.tail())
            asyncio.run(forget(config, log))
            victoria.program.start()
            until(lambda: held(victoria) == (points, windows), FAR_S, worker.tail())
        finally:
            for child in (worker, node):
                child.stop()


async def forget(config: KafkaConfig, log: KafkaLog) -> None:
    """As retention does it: all that there is."""
    admin = AIOKafkaAdminClient(**config.client_options())
    await admin.start()
    try:
        ends = {
            TopicPartition(config.topic(topic), number): end
            for (topic, number), end in log.ends().items()
            if topic in (POINTS, WINDOWS)
        }
        await admin.delete_records({at: RecordsToDelete(end) for at, end in ends.items()})
    finally:
        await admin.close()


def lag_of(node: Child) -> int:
    asked = {"tool": "get_server_status", "arguments": {}}
    told = httpx.post(f"{node.url}/logfire-mcp", json=asked, timeout=30).json()
    return int(told["lag"]["duckdb"]["records"])
