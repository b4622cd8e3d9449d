"""The seed's storage: a SQLite file, Redis, InfluxDB, memory."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from mcp_api import LogfireMCPServer, MetricPoint
from tests.projections.sink_servers import RedisServer, VictoriaServer
from tests.seed.served import Served, until

KEYS = "logfire:last:*sold*"


def test_the_log_is_a_sqlite_file(served: Served) -> None:
    """“Local metrics and alert storage with async operations”; its name is the seed's."""
    path = served.data_dir / "logfire_mcp.db"
    served.collect("stored", 1.0)
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        assert db.execute("SELECT count(*) FROM records").fetchone()[0] > 0
    finally:
        db.close()


def test_what_was_collected_is_there_at_once_from_memory(served: Served) -> None:
    """“High-performance caching for real-time metrics”."""
    for value in (1.0, 2.0, 3.0):
        position = served.collect("at_once", value)
        asked = {"metric_name": "at_once", "aggregation": "last", "min_position": position}
        assert served.call("query_metrics", **asked)["results"][0]["value"] == value


async def test_redis_has_the_newest_values_for_a_time_and_influxdb_every_sample(
    requires: Callable[[str], str], tmp_path: Path
) -> None:
    """“Distributed metrics caching with TTL support”, “Time series database integration for
    long-term storage”."""
    redis = RedisServer(requires("redis-server"), tmp_path, keeps=False)
    influx = VictoriaServer(requires("victoria-metrics"), tmp_path / "influx")
    sinks = {"redis_url": redis.url, "influxdb_url": influx.url, "influxdb_write": "points"}
    try:
        async with LogfireMCPServer(tmp_path / "data", default_targets=False, **sinks) as server:
            await server.collect([MetricPoint("sold", 7.0, {"shop": "a"})])
            await asyncio.to_thread(until, lambda: bool(redis.hashes(KEYS)), "Redis has it")
            await asyncio.to_thread(until, lambda: _shops(influx) == {"a"}, "InfluxDB has it")
            with redis.client() as client:
                [key] = client.scan_iter(KEYS)
                assert float(client.hget(key, "value")) == 7
                assert client.ttl(key) > 0
            parts = (await server.status())["components"]
            assert (parts["redis"], parts["influxdb"]) == ("connected", "connected")
    finally:
        redis.program.kill()
        influx.program.kill()


def _shops(influx: VictoriaServer) -> set[str]:
    return {shop for key in influx.samples() if (shop := dict(key).get("shop"))}


async def test_a_thousand_metrics_take_less_than_a_megabyte(tmp_path: Path) -> None:
    """“SQLite: ~1MB per 1K metrics”; ours counts log and database."""
    points = [MetricPoint(f"m{n}", n / 7, {"n": str(n)}) for n in range(1_000)]
    async with LogfireMCPServer(tmp_path, default_targets=False) as server:
        for _ in range(20):
            await server.collect(points)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20 << 20
