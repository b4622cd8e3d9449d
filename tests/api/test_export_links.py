"""The link of a large export leads a client to it: by the name it knows, with the token it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ResourceLink

from mcp_api.server import Server
from tests.api.processes import quick_settings
from tests.api.test_mcp_protocol import ERAS, MANY

TOKEN = {"authorization": "Bearer s3cret"}


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Server]:
    """Wants a token, and has another name beside its own."""
    async with Server(
        quick_settings(tmp_path, token="s3cret", allowed_hosts=("metrics.example.org",))
    ) as server:
        await server.until_ready()
        yield server


@ERAS
async def test_the_link_works_for_the_client_that_holds_the_token(
    guarded: Server, mode: str
) -> None:
    async with httpx.AsyncClient(headers=TOKEN) as http:
        transport = streamable_http_client(f"{guarded.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            written = (await client.call_tool("collect_metrics", MANY)).structured_content
            asked = {"format": "csv", "min_position": written["position"]}
            result = await client.call_tool("export_metrics", asked)
        [link] = [block for block in result.content if isinstance(block, ResourceLink)]
        assert str(link.uri) == result.structured_content["url"]
        assert "s3cret" not in str(link.uri)
        whole = await http.get(str(link.uri))
        assert whole.status_code == 200
        assert len(whole.text.splitlines()) == 1_001
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(str(link.uri))).status_code == 401


@pytest.mark.parametrize(
    ("headers", "begin"),
    [
        ({}, None),
        ({"host": "metrics.example.org"}, "http://metrics.example.org/export?"),
        ({"host": "localhost:9"}, "http://localhost:9/export?"),
        (
            {"host": "metrics.example.org", "x-forwarded-proto": "https"},
            "https://metrics.example.org/export?",
        ),
        ({"x-forwarded-host": "evil.example.org", "x-forwarded-proto": "gopher"}, None),
    ],
)
async def test_the_link_begins_with_the_address_that_the_client_used(
    guarded: Server, headers: dict[str, str], begin: str | None
) -> None:
    asked = {"tool": "export_metrics", "arguments": {"format": "parquet"}}
    async with httpx.AsyncClient(base_url=guarded.url, headers=TOKEN) as http:
        told = (await http.post("/logfire-mcp", json=asked, headers=headers)).json()
    assert told["url"].startswith(begin or f"{guarded.url}/export?")
