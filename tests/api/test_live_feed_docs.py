"""docs/live-feed.md keeps what it promises: its examples run, its limits are the server's."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable

import httpx

from mcp_api.listener import PING_S, SOCKET_MESSAGE_BYTES_MAX
from mcp_api.live_feed.metrics_feed import EXPRESSIONS_MAX, SERIES_MAX
from mcp_api.live_feed.outbox import BYTES_MAX, MESSAGES_MAX
from mcp_api.live_feed.session import SUBSCRIPTIONS_MAX, TRY_AGAIN_LATER
from mcp_api.server import Server
from projections.source import TOPICS
from tests.api.live_clients import socket_url
from tests.api.processes import ROOT
from tests.api.test_alert_tools import tool

PAGE = (ROOT / "docs" / "live-feed.md").read_text()


def example(language: str, url: str) -> str:
    """The page's, talking to the server at this URL."""
    [code] = re.findall(rf"^```{language} run\n(.+?)^```$", PAGE, re.M | re.S)
    told = "ws://localhost:8000/ws"
    assert code.count(told) == 1
    return str(code).replace(told, socket_url(url))


async def first_line(*command: str) -> str:
    """What a program prints first; it is ended then."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            return (await process.stdout.readline()).decode()
    finally:
        process.kill()
        await process.wait()


async def test_the_python_example_prints_messages(running_server: Server) -> None:
    code = example("python", running_server.url)
    assert len(code.splitlines()) <= 12
    message = json.loads(await first_line(sys.executable, "-c", code))
    assert (message["id"], message["type"], message["alerts"]) == ("a", "snapshot", [])


async def test_the_browsers_example_knows_the_series(
    running_server: Server, client: httpx.AsyncClient, requires: Callable[[str], str]
) -> None:
    point = {"name": "system_cpu_usage", "value": 95.5, "metric_type": "gauge", "tags": {}}
    await collect_point(client, point)
    code = example("js", running_server.url)
    requires("npx")  # with it comes node
    line = await first_line("node", "--experimental-websocket", "-e", code)
    assert line.startswith("Map(1)")


async def collect_point(client: httpx.AsyncClient, point: dict[str, object]) -> None:
    answer = await tool(client, "collect_metrics", source="test", metrics=[point])
    seen = {"operation": "list_metrics", "min_position": answer["position"]}
    await tool(client, "query_metrics", **seen)


def test_the_limits_are_those_of_the_server() -> None:
    page = PAGE.replace("\n", " ")
    for told in (
        f"{BYTES_MAX >> 20} MiB or {MESSAGES_MAX:,} messages",
        f"close code {TRY_AGAIN_LATER}",
        f"a ping every {PING_S:g} s",
        f"at most {SUBSCRIPTIONS_MAX} subscriptions",
        f"at most {SOCKET_MESSAGE_BYTES_MAX >> 10} KiB",
        f"{EXPRESSIONS_MAX} different expressions",
        f"at most {SERIES_MAX:,} series",
        ", ".join(f"`{topic}`" for topic in TOPICS),
    ):
        assert told in page
