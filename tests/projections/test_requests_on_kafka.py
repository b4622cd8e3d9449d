"""A request that two nodes wrote to a real Kafka counts once on every node."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from projections.duck import DuckProjection
from projections.rebuild import rebuild_file
from projections.verify import verify
from streams.events.catalogue import Envelope, Event, Ticked
from streams.events.codec import encode
from streams.events.topics import POINTS
from streams.ingest.edge import Collected, Edge
from streams.ingest.json_points import parse_body
from streams.ingest.merging import Merger, Request
from streams.ingest.series_limits import SeriesLimits
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry
from streams.log.wall_clock import wall_clock_ms
from tests.projections.making import everything, hashes, stored
from tests.projections.test_requests import PARTITIONS, of_points, of_windows

SERIES = 20
BODY = json.dumps(
    {
        "source": "agent",
        "metrics": [{"name": f"m{i}", "value": i, "metric_type": "gauge"} for i in range(SERIES)],
        "request_id": "once",
    }
).encode()


@pytest.fixture
def nodes(kafka: str, kafka_prefix: str) -> Iterator[list[KafkaLog]]:
    config = KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)
    nodes = [KafkaLog.open(config) for _ in range(2)]
    yield nodes
    for node in nodes:
        node.close()


def write_and_die(log: KafkaLog, now_ms: int) -> None:
    """What a node leaves that is killed when its data is acknowledged and its key's record not."""
    batch = parse_body(BODY, now_ms).batch
    written = Merger(PARTITIONS).entries([Request(batch, "local", "edge", now_ms, "local/once")])
    log.submit(Append(tuple(one.entry for one in written))).result(30)


async def collect(log: KafkaLog, now_ms: int) -> Collected:
    edge = Edge(log, SeriesLimits(), clock=lambda: now_ms)
    collected = await edge.collect(parse_body(BODY, now_ms), actor="local")
    await edge.close()
    return collected


def test_points_without_a_time_that_two_nodes_received_at_two_times_count_once(
    nodes: list[KafkaLog], tmp_path: Path
) -> None:
    first, second = nodes
    now_ms = wall_clock_ms()
    write_and_die(first, now_ms)
    with closing(DuckProjection.open(tmp_path / "second.duckdb", second)) as projection:
        everything(second, projection)
    retry = asyncio.run(collect(second, now_ms + 5_000))
    assert (retry.collected_count, retry.duplicate) == (SERIES, False), "no node knew the key"
    assert asyncio.run(collect(first, now_ms + 9_000)).duplicate, "now they do"
    tick = encode(Event(Envelope("tick", "test", now_ms), Ticked(now_ms + 600_000)))
    ticks = tuple(Entry(POINTS, partition, tick) for partition in range(PARTITIONS))
    first.submit(Append(ticks)).result(30)

    with closing(DuckProjection.open(tmp_path / "second.duckdb", second)) as projection:
        everything(second, projection)
        assert {at_ms for _, at_ms, _ in stored(projection)} == {now_ms}
        assert len(stored(projection)) == projection.duplicates() == SERIES
        assert (of_points(projection), SERIES) == of_windows(first, random.Random(1))
        assert verify(second, hashes(projection)).equal
        rebuild_file(tmp_path / "first.duckdb", first)
        with closing(DuckProjection.open(tmp_path / "first.duckdb", first)) as other:
            assert hashes(other) == hashes(projection)
