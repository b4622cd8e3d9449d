"""A client that closes its connection ends its query."""

from __future__ import annotations

import asyncio
import urllib.parse
from pathlib import Path

import httpx

from mcp_api.guard import GuardLimits
from mcp_api.prometheus_api.route import QUERIES_AT_ONCE
from mcp_api.server import Server
from tests.api.processes import quick_settings

COSTLY = " + ".join(["sum(sum_over_time(vector(1)[1000000s:1s]))"] * 64)
"""Minutes of work, all within its limits."""


async def test_queries_that_nobody_waits_for_make_room_for_others(tmp_path: Path) -> None:
    patient = GuardLimits(request_s=600.0, call_s=600.0)
    async with Server(quick_settings(tmp_path), limits=patient) as server:
        await server.until_ready()
        for _ in range(QUERIES_AT_ONCE):
            await asked_and_left(server.url)
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            answer = await client.get("/api/v1/query", params={"query": "1 + 1"})
            assert answer.json()["data"]["result"][1] == "2"
            left = (
                'logfire_mcp_http_requests_total{method="GET",route="/api/v1/query",'
                f'status="disconnected"}} {QUERIES_AT_ONCE}.0'
            )
            for _ in range(10_000):  # the second may still be ending
                if left in (await client.get("/metrics")).text:
                    break
            else:
                raise AssertionError("the queries went on")


async def asked_and_left(url: str) -> None:
    """Closes the connection as soon as the query has been read."""
    _, writer = await asyncio.open_connection("127.0.0.1", urllib.parse.urlsplit(url).port)
    asked = urllib.parse.urlencode({"query": COSTLY})
    writer.write(f"GET /api/v1/query?{asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
