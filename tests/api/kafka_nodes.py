"""Serve nodes on a real Kafka, in this process, and what is asked of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from mcp_api.server import Server
from streams.config import Settings
from tests.api.processes import quick_settings

WAIT_S = 60.0
POLL_S = 0.05


def node_settings(bootstrap: str, prefix: str, data_dir: Path, **more: Any) -> Settings:
    """Of one node; three partitions a topic."""
    return quick_settings(
        data_dir,
        kafka_bootstrap_servers=(bootstrap,),
        kafka_topic_prefix=prefix,
        kafka_partitions=3,
        **more,
    )


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = WAIT_S
) -> None:
    """Returns once the condition holds; fails with ``what`` when the time is over."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not in {timeout_s:g} s"
        await asyncio.to_thread(threading.Event().wait, POLL_S)


def points(hosts: int, value: float = 1.0) -> list[dict[str, Any]]:
    """One point each of a fleet, so that every partition gets some."""
    return [
        {"name": "load", "value": value, "metric_type": "gauge", "tags": {"host": f"web-{i}"}}
        for i in range(hosts)
    ]


async def collect(node: Server, metrics: list[dict[str, Any]], **more: Any) -> str:
    """Stores the points through a node; their position."""
    arguments = {"source": "fleet", "metrics": metrics, **more}
    answer = await node.calls.call("collect_metrics", arguments, actor="test")
    assert not answer.is_error, answer.text
    position = answer.content["position"]
    assert isinstance(position, str)
    return position


async def query(node: Server, position: str = "") -> list[Any]:
    """What a node knows of every host, once it has reached the position."""
    arguments = {
        "metric_name": "load",
        "start_time": "-1h",
        "aggregation": "count",
        "group_by": ["host"],
        "limit": 100,
        **({"min_position": position} if position else {}),
    }
    answer = await node.calls.call("query_metrics", arguments, actor="test")
    assert not answer.is_error, answer.text
    results = answer.content["results"]
    assert isinstance(results, list)
    return results


async def stored(node: Server) -> int:
    """How many samples a node has."""
    return int((await status(node))["metrics"]["total_metrics_stored"])


async def status(node: Server) -> dict[str, Any]:
    """A node's ``get_server_status``."""
    return (await node.calls.call("get_server_status", {}, actor="test")).content


async def reasons(client: httpx.AsyncClient) -> list[str]:
    """What ``/ready`` tells; empty when it is ready."""
    answer = await client.get("/ready")
    told = answer.json()["reasons"]
    assert isinstance(told, list)
    assert (answer.status_code == 200) == (not told)
    return told
