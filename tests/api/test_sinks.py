"""What a server tells of InfluxDB and Redis, and that it copies what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.server import Server
from tests.api.kafka_nodes import collect, eventually, node_settings, points, status
from tests.api.processes import quick_settings
from tests.projections.influx_server import Answer, InfluxServer, influx_server
from tests.projections.sink_servers import RedisServer


@pytest.fixture
def influx() -> Iterator[InfluxServer]:
    with influx_server() as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path, requires: Callable[[str], str]) -> Iterator[RedisServer]:
    server = RedisServer(requires("redis-server"), tmp_path, password="hush")
    yield server
    server.program.stop()


async def component(node: Server, name: str, said: str) -> None:
    async def tells() -> bool:
        return said in (await status(node))["components"][name]

    await eventually(tells, f"{name} is {said}")


async def test_a_server_copies_what_it_takes_and_tells_when_it_cannot(
    tmp_path: Path, influx: InfluxServer, redis_server: RedisServer
) -> None:
    more: dict[str, Any] = {
        "redis_url": redis_server.url,
        "redis_prefix": "ours:",
        "influxdb_url": influx.url,
        "influxdb_token": "hush",
        "influxdb_write": "points",
    }
    async with Server(quick_settings(tmp_path / "data", **more)) as node:
        await node.until_ready()
        await collect(node, points(3))
        for name in ("redis", "influxdb"):
            await component(node, name, "connected")

        async def copied() -> bool:
            return len(influx.lines) >= 3 and len(redis_server.hashes("ours:last:*")) == 3

        await eventually(copied, "the points are copied")
        redis_server.program.kill()
        influx.decide = lambda _: Answer(401, text="hush is wrong")
        await collect(node, points(3))
        for name in ("redis", "influxdb"):
            await component(node, name, "error: ")
        told = await status(node)
        async with httpx.AsyncClient(base_url=node.url) as client:
            page = (await client.get("/metrics")).text
    assert told["status"] == "degraded"
    assert {problem.partition(":")[0] for problem in told["problems"]} == {"redis", "influxdb"}
    assert told["lag"]["redis"]["records"] > 0
    assert "hush" not in str(told)
    assert "hush" not in page
    assert 'logfire_mcp_sink_up{sink="redis"} 0.0' in page
    assert 'logfire_mcp_sink_rows{outcome="written",sink="influxdb"}' in page


async def test_a_node_without_processors_says_who_writes(
    kafka: str, kafka_prefix: str, tmp_path: Path
) -> None:
    settings = node_settings(kafka, kafka_prefix, tmp_path, redis_url="redis://127.0.0.1:1/0")
    async with Server(settings) as node:
        assert (await status(node))["components"]["redis"] == "written by the workers"
