"""`MetricsProducer` on a real broker: what it takes is in the log, what it loses it says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from math import isnan
from typing import Any

import numpy as np
import pytest

from streams import KafkaConfig, MetricsProducer, SyncMetricsProducer
from streams.errors import InputError, LogUnavailable
from streams.events.batch import POINTS_MAX, MetricBatch
from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode
from streams.events.labels import parse_series, series_partition
from streams.events.slices import numbered, slices_of
from streams.events.topics import POINTS
from streams.ingest.json_points import parse_arguments
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import BODY_BYTES_MAX, Record
from streams.log.wall_clock import wall_clock_ms
from tests.conftest import require_kafka
from tests.flow.ingesting import records, samples
from tests.kafka_cluster import Cluster

PARTITIONS = 3
NOW_MS = wall_clock_ms()
WITHIN_S = 60.0


@pytest.fixture
def log(kafka: str, kafka_prefix: str) -> Iterator[KafkaLog]:
    log = KafkaLog.open(KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS))
    yield log
    log.close()


def batch_of(record: Record) -> MetricBatch:
    data = decode(record.headers, record.body).data
    assert isinstance(data, MetricsCollected)
    return data.batch


async def test_a_point_is_what_collect_metrics_would_have_made_of_it(log: KafkaLog) -> None:
    point: dict[str, Any] = {
        "name": "load",
        "value": 2,
        "metric_type": "counter",
        "tags": {"host": "ä", "empty": ""},
        "timestamp": "2026-01-31T12:00:00+01:00",
        "unit": "s",
    }
    sent = parse_arguments({"source": "shop", "metrics": [point]}, NOW_MS).batch
    async with MetricsProducer(log.config, source="shop") as producer:
        assert await producer.send(
            "load",
            2,
            {"host": "ä", "empty": ""},
            metric_type="counter",
            unit="s",
            timestamp="2026-01-31T12:00:00+01:00",
        )
    (record,) = records(log, POINTS)
    own = batch_of(record)
    assert (own.labels, own.types, own.units) == (sent.labels, sent.types, sent.units)
    assert (own.at_ms.tolist(), own.value.tolist()) == (sent.at_ms.tolist(), sent.value.tolist())
    assert record.headers["ce_actor"] == "shop"
    assert producer.stats.acked == producer.stats.sent == 1


async def test_times_and_values_are_taken_in_every_form(log: KafkaLog) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    async with MetricsProducer(log.config, source="shop") as producer:
        handle = producer.series("h", {"a": "b"}, unit="s")
        await producer.send(handle, np.float32(1.5), timestamp=moment)
        await producer.send("f", float("nan"), timestamp=moment.timestamp())
        await producer.send("i", np.int64(3), timestamp=int(moment.timestamp() * 1000))
        await producer.send("n", 1.0)
        await producer.send_many([handle, handle], [1, 2], at_ms=[5, 6])
        await producer.send_many((handle,), np.array([7.0, 8.0]), index=[0, 0], at_ms=9)
        await producer.send_many([], [])
    at_ms = int(moment.timestamp() * 1000)
    found = samples(log)
    assert found.pop(("h", "shop", at_ms)) == [1.5]
    assert isnan(found.pop(("f", "shop", at_ms))[0])
    assert found.pop(("i", "shop", at_ms)) == [3.0]
    assert found.pop(("h", "shop", 5)) == [1.0]
    assert found.pop(("h", "shop", 6)) == [2.0]
    assert found.pop(("h", "shop", 9)) == [7.0, 8.0]
    ((name, _, now_ms),) = found
    assert name == "n"
    assert NOW_MS <= now_ms <= wall_clock_ms()


async def test_columns_are_cut_by_partition_and_keep_their_order(log: KafkaLog) -> None:
    series_count, points = 997, 130_000
    async with MetricsProducer(log.config, source="shop") as producer:
        series = tuple(producer.series("m", {"n": str(n)}) for n in range(series_count))
        index = np.arange(points) % series_count
        taken = await producer.send_many(series, np.arange(points), index=index, at_ms=NOW_MS)
        assert taken == points
        await producer.flush()
        assert producer.stats.acked == points
    seen: dict[str, list[float]] = {}
    for record in records(log, POINTS):
        batch = batch_of(record)
        assert len(batch) <= POINTS_MAX
        assert len(record.body) <= BODY_BYTES_MAX
        (one,) = slices_of(record.headers, len(batch))
        assert (one.first, one.count, one.start) == (0, len(batch), 0)
        assert numbered(one.key) is not None
        for number, value in zip(batch.series.tolist(), batch.value.tolist(), strict=True):
            text = batch.labels[number]
            assert series_partition(text, PARTITIONS) == record.partition
            seen.setdefault(parse_series(text)[1]["n"], []).append(value)
    assert len(seen) == series_count
    for n, values in seen.items():
        assert values == [float(value) for value in range(int(n), points, series_count)]


async def test_a_record_too_large_is_halved(log: KafkaLog) -> None:
    async with MetricsProducer(log.config, source="shop") as producer:
        rng = np.random.default_rng(1)
        series = [
            producer.series("m", {"n": rng.bytes(400).hex(), "m": str(n)}) for n in range(8_000)
        ]
        await producer.send_many(series, rng.uniform(size=8_000))
    assert sum(len(batch_of(record)) for record in records(log, POINTS)) == 8_000
    assert max(len(record.body) for record in records(log, POINTS)) <= BODY_BYTES_MAX


async def test_a_series_stated_with_two_types_has_that_of_its_last_point(log: KafkaLog) -> None:
    async with MetricsProducer(log.config, source="shop") as producer:
        await producer.send("m", 1.0)
        await producer.send("m", 2.0, metric_type="counter")
        await producer.send("m", 3.0)
        await producer.flush()
        await producer.send("m", 4.0, metric_type="counter")
    first, second = (batch_of(record) for record in records(log, POINTS))
    assert (first.types, first.value.tolist()) == (("gauge",), [1.0, 2.0, 3.0])
    assert (second.types, second.value.tolist()) == (("counter",), [4.0])


async def test_what_collect_metrics_refuses_is_refused_at_once(log: KafkaLog) -> None:
    late = NOW_MS + 3_600_000
    async with MetricsProducer(log.config, source="shop", series_max=2) as producer:
        handle = producer.series("m")
        async with MetricsProducer(log.config, source="other") as other:
            foreign = other.series("m")
        for why, call in {
            "name is empty": producer.send("", 1),
            "name is 5": producer.send(5, 1),  # type: ignore[arg-type]
            "metric_type is": producer.send("m", 1, metric_type="gague"),
            'tag "a" is 1': producer.send("m", 1, {"a": 1}),  # type: ignore[dict-item]
            "tag 'source' is taken": producer.send("m", 1, {"source": "x"}),
            "tags is 5": producer.send("m", 1, 5),  # type: ignore[arg-type]
            "unit is longer": producer.send("m", 1, unit="s" * 65),
            "value is true": producer.send("m", True),
            'value is "1"': producer.send("m", "1"),  # type: ignore[arg-type]
            "64-bit floats": producer.send("m", 10**400),
            "without an offset": producer.send("m", 1, timestamp="2026-01-31T12:00:00"),
            "give it a time zone": producer.send("m", 1, timestamp=datetime(2026, 1, 31)),  # noqa: DTZ001
            "after the time of receipt": producer.send("m", 1, timestamp=late),
            "another producer": producer.send(foreign, 1),
            "2 values of 1 series": producer.send_many([handle], [1, 2]),
            "index names others": producer.send_many([handle], [1, 2], index=[0, 1]),
            "2 values and 1 in the index": producer.send_many([handle], [1, 2], index=[0]),
            "2 values and 1 times": producer.send_many([handle] * 2, [1, 2], at_ms=[1]),
            "point 1: timestamp lies": producer.send_many([handle] * 2, [1, 2], at_ms=[1, late]),
            "before 1970": producer.send_many([handle], [1], at_ms=-1),
            "values has": producer.send_many([handle], [True]),
            "at_ms has": producer.send_many([handle], [1], at_ms=[0.5]),
            "made by another": producer.send_many([foreign], [1]),
        }.items():
            with pytest.raises(InputError, match=why):
                await call
        await producer.send("n", 1)
        with pytest.raises(InputError, match="2 series already"):
            await producer.send("o", 1)
    for source in ("", 5, "x" * 513):
        with pytest.raises(InputError, match="source is"):
            MetricsProducer(log.config, source=source)  # type: ignore[arg-type]
    assert samples(log) == {("n", "shop", next(iter(samples(log)))[2]): [1.0]}


async def test_points_go_out_after_a_while_without_a_flush(log: KafkaLog) -> None:
    async with MetricsProducer(log.config, source="shop", linger_s=0.01) as producer:
        for value in range(3):
            await producer.send("m", float(value))
            by = asyncio.get_running_loop().time() + WITHIN_S
            while producer.stats.acked <= value:
                assert asyncio.get_running_loop().time() < by
                await asyncio.wait_for(asyncio.to_thread(log.ends), WITHIN_S)
    assert len(records(log, POINTS)) == 3


async def test_what_is_on_its_way_is_bounded_and_sending_waits(log: KafkaLog) -> None:
    async with MetricsProducer(log.config, source="shop", points_in_flight_max=100) as producer:
        handle = producer.series("m")
        for value in range(1_000):
            assert await producer.send(handle, float(value))
            assert producer.stats.in_flight <= 100
        assert await producer.send_many([handle] * 1_000, range(1_000)) == 1_000
        assert producer.stats.in_flight <= 100
    assert (producer.stats.sent, producer.stats.acked, producer.stats.dropped) == (2_000, 2_000, 0)
    assert sum(map(len, samples(log).values())) == 2_000


async def test_a_producer_that_may_drop_never_waits_and_counts(log: KafkaLog) -> None:
    async with MetricsProducer(
        log.config, source="shop", points_in_flight_max=100, drop_when_full=True, linger_s=30
    ) as producer:
        taken = sum([await producer.send("m", float(value)) for value in range(150)])
        many = await producer.send_many([producer.series("m")] * 50, range(50))
    stats = producer.stats
    assert (stats.sent, stats.dropped) == (taken + many, 200 - taken - many)
    assert 100 <= stats.sent < 200
    assert sum(map(len, samples(log).values())) == stats.acked == stats.sent


def test_the_synchronous_one_takes_points_from_many_threads(log: KafkaLog) -> None:
    with SyncMetricsProducer(log.config, source="shop", points_in_flight_max=500) as producer:
        handle = producer.series("h")

        def work(number: int) -> None:
            for value in range(500):
                assert producer.send("m", float(value), {"thread": str(number), "n": str(value)})
            assert producer.send_many([handle] * 500, range(500)) == 500

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        producer.flush()
        assert producer.stats.acked == producer.stats.sent == 8_000
    assert sum(map(len, samples(log).values())) == 8_000
    assert not [each for each in threading.enumerate() if each.name == "metrics-producer"]
    producer.close()
    with pytest.raises(LogUnavailable, match="not open"):
        producer.send("m", 1)


async def test_where_there_is_no_topic_it_says_so(kafka: str, kafka_prefix: str) -> None:
    config = KafkaConfig((kafka,), prefix=f"{kafka_prefix}none.")
    with pytest.raises(LogUnavailable, match="there is no topic"):
        async with MetricsProducer(config, source="shop"):
            pass
    with (
        pytest.raises(LogUnavailable, match="there is no topic"),
        SyncMetricsProducer(config, source="shop"),
    ):
        pass


def test_an_outage_is_bridged_and_a_longer_one_is_told() -> None:
    require_kafka()
    cluster = Cluster(1)
    try:
        config = KafkaConfig((cluster.bootstrap,), partitions=PARTITIONS)
        log = KafkaLog.open(config)
        with SyncMetricsProducer(config, source="shop") as producer:
            producer.send("m", 0.0, timestamp=1)
            producer.flush()
            cluster.kill(1)
            for second in range(2, 12):
                producer.send("m", float(second), timestamp=second)
            hasty = SyncMetricsProducer(config, source="hasty", delivery_timeout_s=1)
            with pytest.raises(LogUnavailable, match="1 points were not acknowledged"):
                _send_without_broker(cluster, hasty)
            producer.flush()
        assert producer.stats.acked == producer.stats.sent == 11
        assert len([name for name, source, _ in samples(log) if source == "shop"]) == 11
        log.close()
    finally:
        cluster.stop()


def _send_without_broker(cluster: Cluster, producer: SyncMetricsProducer) -> None:
    """Connects, loses the broker, gets it back only once the point has failed."""
    cluster.restart(1)
    with producer:
        cluster.kill(1)
        producer.send("m", 1.0)
        try:
            producer.flush()
        finally:
            assert (producer.stats.failed, producer.stats.acked) == (1, 0)
            cluster.restart(1)


def test_importing_the_package_loads_no_kafka_client() -> None:
    code = "import streams, sys; assert not {'aiokafka', 'numpy', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = "import streams; streams.MetricsProducer; streams.KafkaConfig; streams.nothing"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "has no attribute 'nothing'" in ended.stderr
