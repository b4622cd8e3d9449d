"""MCP over Streamable HTTP, with clients that are not ours, in both protocol eras."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, Implementation, TextContent

from mcp_api.server import Server
from mcp_api.tools.specs import SPECS
from streams.events.topics import POINTS
from tests.api.processes import quick_settings

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
ME = Implementation(name="a test", version="1")

MANY = {
    "source": "sdk",
    "metrics": [
        {
            "name": "load",
            "value": i,
            "metric_type": "gauge",
            "tags": {"host": f"h{i % 3}", "i": f"{i}"},
        }
        for i in range(1_000)
    ],
}


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


def connect(server: Server, mode: str) -> Client:
    return Client(f"{server.url}/mcp", mode=mode, client_info=ME)


@ERAS
async def test_the_tools_are_listed_exactly_as_specified(running_server: Server, mode: str) -> None:
    async with connect(running_server, mode) as client:
        listed = (await client.list_tools()).tools
        assert client.server_info is not None
        assert client.server_info.name == "logfire-mcp"
        assert "query_metrics" in (client.instructions or "")
    shown = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]
    assert shown == [spec.definition() for spec in SPECS]


@ERAS
async def test_a_thousand_metrics_are_collected_queried_and_exported(
    running_server: Server, mode: str
) -> None:
    async with connect(running_server, mode) as client:
        written = (await client.call_tool("collect_metrics", MANY)).structured_content
        assert (written["status"], written["collected_count"]) == ("success", 1_000)
        asked = {"metric_name": "load", "min_position": written["position"]}
        result = await client.call_tool(
            "query_metrics", {**asked, "group_by": ["host"], "aggregation": "count", "chart": True}
        )
        counts = {row["tags"]["host"]: row["count"] for row in result.structured_content["results"]}
        assert counts == {"h0": 334, "h1": 333, "h2": 333}
        assert "h0" in text_of(result)
        picture = result.content[1]
        assert isinstance(picture, ImageContent)
        assert base64.b64decode(picture.data).startswith(b"\x89PNG")
        one = {"metric_names": ["load"], "tags": {"i": "7"}}
        for name in ("json", "csv", "prometheus", "influx", "parquet"):
            exported = await client.call_tool("export_metrics", {"format": name, **one})
            assert not exported.is_error
            told = exported.structured_content
            assert told["row_count"] == 1 if name != "parquet" else told["url"]


@ERAS
async def test_an_error_is_a_result_that_a_model_can_read(
    running_server: Server, mode: str
) -> None:
    async with connect(running_server, mode) as client:
        result = await client.call_tool("query_metrics", {"metric": "load"})
        assert result.is_error
        assert "did you mean 'metric_name'" in text_of(result)
        nothing_good = {"source": "a", "metrics": [{"name": "", "value": 1}]}
        result = await client.call_tool("collect_metrics", nothing_good)
        assert result.is_error


@ERAS
async def test_an_unknown_tool_is_a_protocol_error_with_the_names(
    running_server: Server, mode: str
) -> None:
    async with connect(running_server, mode) as client:
        with pytest.raises(MCPError, match="query_metrics"):
            await client.call_tool("query_metric", {})


@ERAS
async def test_events_carry_the_name_of_the_client(running_server: Server, mode: str) -> None:
    async with connect(running_server, mode) as client:
        await client.call_tool("collect_metrics", MANY)
    records = await running_server.log.read(POINTS, 0, 0)
    actors = {record.headers.get("ce_actor") for record in records}
    assert "local/mcp:a test" in actors


async def _raw(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> httpx.Response:
    accept = {"accept": "application/json, text/event-stream"}
    return await client.post("/mcp", json=body, headers={**accept, **headers})


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


async def test_a_client_of_the_handshake_era_survives_a_restart(tmp_path: Path) -> None:
    opening = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "long-lived\nclient", "version": "1"},
        },
    }
    async with (
        Server(quick_settings(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        session = (await _raw(client, opening)).headers["mcp-session-id"]
    async with (
        Server(quick_settings(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
        answer = await _raw(client, _call("collect_metrics", MANY), **headers)
        assert answer.json()["result"]["structuredContent"]["status"] == "success"
        records = await server.log.read(POINTS, 0, 0)
        assert "local/mcp:long-livedclient" in {r.headers.get("ce_actor") for r in records}


async def test_a_client_without_a_name_or_with_a_made_up_session_is_just_mcp(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    for session in ("", "nonsense", "!!!.x", "A" * 2_000 + ".x", "____.x"):
        headers = {"mcp-protocol-version": "2025-06-18", "mcp-session-id": session}
        answer = await _raw(client, _call("collect_metrics", MANY), **headers)
        assert answer.json()["result"]["structuredContent"]["status"] == "success"
    records = await running_server.log.read(POINTS, 0, 0)
    collected = [r for r in records if r.headers["ce_type"] == "metrics.collected.v1"]
    assert {r.headers["ce_actor"] for r in collected} == {"local/mcp"}


async def test_the_first_requests_wait_together_while_the_sdk_is_loaded(
    client: httpx.AsyncClient,
) -> None:
    headers = {"mcp-protocol-version": "2025-06-18"}
    calls = [_raw(client, _call("get_server_status", {}), **headers) for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert all(
        answer.json()["result"]["structuredContent"]["server_name"] == "logfire-mcp"
        for answer in answers
    )


async def _inspector(npx: str, server: Server, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        npx,
        "-y",
        "@modelcontextprotocol/inspector",
        "--cli",
        f"{server.url}/mcp",
        "--transport",
        "http",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, err.decode()
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_the_inspectors_command_line_lists_and_calls(
    running_server: Server, requires: Callable[[str], str]
) -> None:
    npx = requires("npx")
    listed = await _inspector(npx, running_server, "--method", "tools/list")
    assert [tool["name"] for tool in listed["tools"]] == [spec.name for spec in SPECS]
    call = ("--method", "tools/call", "--tool-name")
    metrics = json.dumps(MANY["metrics"])
    collected = await _inspector(
        npx,
        running_server,
        *call,
        "collect_metrics",
        *("--tool-arg", "source=inspector", "--tool-arg", f"metrics={metrics}"),
    )
    assert collected["structuredContent"]["collected_count"] == 1_000
    position = collected["structuredContent"]["position"]
    read = await _inspector(
        npx,
        running_server,
        *call,
        "query_metrics",
        *("--tool-arg", "metric_name=load", "--tool-arg", 'group_by=["host"]'),
        *("--tool-arg", f"min_position={position}"),
    )
    assert len(read["structuredContent"]["results"]) == 3
