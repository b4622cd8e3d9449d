"""The producers of this process: they measure at once, go on, and survive what fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
import psutil
import pytest

from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode
from streams.events.labels import check_series, parse_series
from streams.events.topics import POINTS
from streams.ingest.cpu_usage import CpuUsage
from streams.ingest.demo import STEP_MS, fleet_batch, run_demo
from streams.ingest.edge import Edge
from streams.ingest.json_points import parse_arguments
from streams.ingest.periodic import every
from streams.ingest.samples import Sample, as_request
from streams.ingest.series_limits import SeriesLimits
from streams.ingest.system import SystemCollector, run_collector
from streams.log.sqlite_log import SqliteLog

NOW_MS = 1_795_000_003_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog.open(tmp_path / "log.db", linger_ms=0)
    yield opened
    opened.close()


def written(log: SqliteLog) -> list[MetricsCollected]:
    events = []
    offset = 0
    while records := log.read_now(POINTS, 0, offset):
        for record in records:
            data = decode(record.headers, record.body).data
            assert isinstance(data, MetricsCollected)
            events.append(data)
        offset += len(records)
    return events


def test_a_sample_of_the_machine_has_what_is_promised() -> None:
    batch = SystemCollector("box").sample(NOW_MS).batch
    series = {parse_series(text)[0]: parse_series(text)[1] for text in batch.labels}
    assert series.keys() >= {
        "system_cpu_usage",
        "system_memory_usage",
        "system_disk_usage",
        "system_network_receive_bytes_total",
        "system_network_transmit_bytes_total",
        "process_cpu_usage",
        "process_resident_memory_bytes",
        "process_threads",
    }
    assert all(labels == {"host": "box", "source": "system"} for labels in series.values())
    assert set(batch.at_ms.tolist()) == {NOW_MS}
    kinds = dict(zip(series, batch.types, strict=True))
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds.items())
    values = dict(zip(series, batch.value.tolist(), strict=True))
    for percent in ("system_cpu_usage", "system_memory_usage", "system_disk_usage"):
        assert 0 <= values[percent] <= 100


def test_what_cannot_be_measured_is_left_out_told_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector = SystemCollector("box", disk_path="/no/such/place")
    with caplog.at_level(logging.WARNING):
        batches = [collector.sample(NOW_MS).batch for _ in range(3)]
    names = [parse_series(text)[0] for text in batches[-1].labels]
    assert "system_disk_usage" not in names
    assert "system_memory_usage" in names
    assert batches[-1].value[names.index("system_collector_errors_total")] == 3
    assert [record.message.split()[0] for record in caplog.records] == ["disk"]


def test_a_dead_process_does_not_end_the_collector() -> None:
    collector = SystemCollector("box")

    class Gone(psutil.Process):
        def oneshot(self) -> NoReturn:
            raise psutil.NoSuchProcess(self.pid)

    collector._process = Gone()
    names = [parse_series(text)[0] for text in collector.sample(NOW_MS).batch.labels]
    assert "process_threads" not in names
    assert "system_cpu_usage" in names


async def test_the_collector_writes_until_it_is_stopped(log: SqliteLog) -> None:
    stop = asyncio.Event()
    rounds = 0

    def clock() -> int:
        nonlocal rounds
        rounds += 1
        if rounds == 6:
            stop.set()
        return NOW_MS + rounds

    edge = Edge(log, SeriesLimits(), clock=lambda: NOW_MS)
    await run_collector(edge, 0.001, "box", stop=stop, clock=clock)
    events = written(log)
    assert len(events) == 6
    assert [int(event.batch.at_ms[0]) - NOW_MS for event in events] == [1, 2, 3, 4, 5, 6]


async def test_a_collector_that_is_stopped_before_it_begins_writes_nothing(log: SqliteLog) -> None:
    stop = asyncio.Event()
    stop.set()
    await run_collector(Edge(log, SeriesLimits()), 30, stop=stop)
    assert written(log) == []


async def test_a_round_that_the_log_refuses_is_lost_and_told(
    log: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    edge = Edge(log, SeriesLimits())
    log.close()
    stop = asyncio.Event()
    rounds = 0

    async def write() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            stop.set()
        await edge.collect(as_request("test", [Sample("m", 1.0, NOW_MS)]), actor="test")

    with caplog.at_level(logging.WARNING):
        await every(0, write, name="test", stop=stop)
    assert rounds == 3
    assert len(caplog.records) == 3
    assert "a round was lost" in caplog.text


def test_samples_of_this_process_are_as_a_request_of_them() -> None:
    point = {"name": "m", "value": 1.5, "metric_type": "gauge", "unit": "s", "tags": {"a": "b"}}
    sent = parse_arguments({"source": "x", "metrics": [point]}, NOW_MS).batch
    own = as_request("x", [Sample("m", 1.5, NOW_MS, unit="s", labels={"a": "b"})]).batch
    assert (own.labels, own.types, own.units) == (sent.labels, sent.types, sent.units)
    assert (own.at_ms.tolist(), own.value.tolist()) == (sent.at_ms.tolist(), sent.value.tolist())
    with pytest.raises(ValueError, match="name is empty"):
        as_request("x", [Sample("", 1.0, NOW_MS)])


def test_the_fleet_is_the_same_whenever_it_is_asked() -> None:
    first, again = (fleet_batch(NOW_MS, STEP_MS, seed=3).batch for _ in range(2))
    assert first.labels == again.labels
    assert first.at_ms.tobytes() == again.at_ms.tobytes()
    assert first.value.tobytes() == again.value.tobytes()
    other = fleet_batch(NOW_MS, STEP_MS, seed=4).batch
    assert other.value.tobytes() != first.value.tobytes()
    check_series(first.labels)


@pytest.mark.parametrize("hosts", [1, 8, 50])
def test_the_fleet_says_each_thing_once_and_never_of_the_future(hosts: int) -> None:
    seen: set[tuple[int, int]] = set()
    for step in range(30):
        batch = fleet_batch(NOW_MS + step * STEP_MS, STEP_MS, hosts=hosts).batch
        assert int(batch.at_ms.max()) <= NOW_MS + step * STEP_MS
        now = set(zip(batch.series.tolist(), batch.at_ms.tolist(), strict=True))
        assert len(now) == len(batch)
        assert not now & seen
        seen |= now
        assert np.isfinite(batch.value).all()


def test_the_fleets_counters_rise_and_are_reset_by_deployments() -> None:
    days = [fleet_batch(NOW_MS + step * 60_000, 60_000).batch for step in range(2 * 24 * 60)]
    counters = [i for i, kind in enumerate(days[0].types) if kind == "counter"]
    values = np.array([[day.value[day.series == i][0] for i in counters[::20]] for day in days])
    falls = np.diff(values, axis=0) < 0
    assert (values >= 0).all()
    assert set(falls.sum(axis=0)) <= {7, 8, 9}


async def test_the_demo_writes_its_past_and_goes_on(log: SqliteLog) -> None:
    stop = asyncio.Event()
    now_ms = NOW_MS

    def clock() -> int:
        nonlocal now_ms
        now_ms += 5
        if now_ms > NOW_MS + 500:
            stop.set()
        return now_ms

    edge = Edge(log, SeriesLimits(), clock=lambda: NOW_MS)
    await run_demo(edge, hosts=2, step_ms=10, backfill_ms=3_000, stop=stop, clock=clock)
    events = written(log)
    batches = [event.batch for event in events]
    gauges = [at for batch in batches for at in batch.at_ms[batch.series == 0].tolist()]
    assert gauges == sorted(gauges)
    assert len(gauges) == len(set(gauges)) == (gauges[-1] - gauges[0]) // 10 + 1
    assert gauges[0] == NOW_MS - 3_000 + 10
    assert gauges[-1] > NOW_MS + 400
    assert len(events) < 100


def test_cpu_usage_is_the_same_measurement_in_every_thread() -> None:
    usage = CpuUsage()
    with ThreadPoolExecutor(max_workers=1) as pool:
        total = sum(range(20_000_000))  # busy for more than one tick of the system's clock
        assert total > 0
        assert 0 < pool.submit(usage.percent).result() <= 100
