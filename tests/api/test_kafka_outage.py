"""A node whose only broker stands still or is killed: it says so, refuses writes, answers reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.server import Server
from projections.verify import projection_hashes, verify
from tests.api.kafka_nodes import collect, eventually, node_settings, points, query, reasons, stored
from tests.conftest import require_kafka
from tests.kafka_cluster import Cluster

REFUSED_S = 30.0
"""A write is refused within 20 s; this machine may be busy."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    require_kafka()
    cluster = Cluster(1)
    yield cluster
    cluster.stop()


def call_of(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


WRITE = call_of("collect_metrics", {"source": "fleet", "metrics": points(20), "request_id": "r"})
READ = call_of("query_metrics", {"metric_name": "load", "start_time": "-1h", "limit": 100})


@pytest.mark.parametrize("outage", ["pause", "kill"])
async def test_an_outage_is_told_and_got_over(
    cluster: Cluster, kafka_prefix: str, tmp_path: Path, outage: str
) -> None:
    settings = node_settings(cluster.bootstrap, kafka_prefix, tmp_path)
    async with (
        Server(settings) as node,
        httpx.AsyncClient(base_url=node.url, timeout=60) as client,
    ):
        await node.until_ready()
        await told_by_agents(node)
        samples = await stored(node)
        getattr(cluster, outage)(1)
        writing = asyncio.create_task(client.post("/logfire-mcp", json=WRITE))

        async def told() -> bool:
            return any("Kafka has not answered" in one for one in await reasons(client))

        await eventually(told, "a reason", REFUSED_S)
        read = await client.post("/logfire-mcp", json=READ)
        assert read.status_code == 200
        assert read.json()["results"][0]["count"] == samples
        status = (await client.post("/logfire-mcp", json=call_of("get_server_status", {}))).json()
        assert status["status"] == "degraded"
        assert status["components"]["kafka"].startswith("error: Kafka has not answered")
        assert "logfire_mcp_log_reachable 0.0" in (await client.get("/metrics")).text
        assert (await client.get("/health")).status_code == 200
        refused = await asyncio.wait_for(writing, REFUSED_S)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        if outage == "pause":
            cluster.resume(1)
        else:
            await asyncio.to_thread(cluster.restart, 1)
        await eventually(lambda: ready(client), "ready again")
        again = await client.post("/logfire-mcp", json=WRITE)
        assert again.status_code == 200
        await query(node, again.json()["position"])
        assert await stored(node) == samples + 20, "what was refused counts once at most"
        with node.projector.reading(60.0) as reader:
            assert verify(node.log, projection_hashes(reader)).equal
        await told_by_agents(node)


async def told_by_agents(node: Server) -> None:
    tail = node.tail
    assert tail is not None
    told_before = tail.told

    async def told() -> bool:
        await query(node, await collect(node, points(20)))
        return tail.told > told_before and tail.failure() is None

    await eventually(told, "records from agents", 90)


async def ready(client: httpx.AsyncClient) -> bool:
    return await reasons(client) == []


async def test_a_node_stops_in_bounded_time_while_the_broker_is_away(
    cluster: Cluster, kafka_prefix: str, tmp_path: Path
) -> None:
    settings = node_settings(cluster.bootstrap, kafka_prefix, tmp_path)
    async with (
        asyncio.timeout(60),
        Server(settings) as node,
        httpx.AsyncClient(base_url=node.url, timeout=60) as client,
    ):
        await node.until_ready()
        cluster.kill(1)
        writing = asyncio.create_task(client.post("/logfire-mcp", json=WRITE))
        await eventually(lambda: unready(client), "not ready")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 20
    await asyncio.gather(writing, return_exceptions=True)


async def unready(client: httpx.AsyncClient) -> bool:
    return not await ready(client)
