"""All eight tools, by clients of both protocol eras, over HTTP, over stdio, and without MCP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from mcp_types import CallToolResult

from mcp_api.server import Server
from mcp_api.tools.specs import SPECS, SPECS_BY_NAME
from tests.api.test_mcp_protocol import ERAS, connect, text_of
from tests.api.test_stdio import client as stdio_client

Answer = Mapping[str, Any]
Ask = Callable[[str, dict[str, Any]], Awaitable[Answer]]

VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
LOAD = {"name": "load", "value": 3, "metric_type": "gauge", "tags": {"host": "a"}}


async def ask_all(ask: Ask) -> None:
    """Each tool once, and what it says is true."""
    asked = set()

    async def tool(name: str, /, **arguments: Any) -> Answer:
        asked.add(name)
        content = await ask(name, arguments)
        jsonschema.validate(content, SPECS_BY_NAME[name].output_schema)
        return content

    written = await tool("collect_metrics", source="all", metrics=[LOAD])
    assert written["collected_count"] == 1
    seen = {"min_position": written["position"]}
    [found] = (await tool("query_metrics", metric_name="load", **seen))["results"]
    assert found["value"] == 3
    checks = (await tool("health_check", target="system"))["health_checks"]
    assert [check["threshold"] for check in checks] == [80, 85, 90]
    made = await tool("create_alert", name="High load", condition="load > 80")
    assert made["status"] == "success"
    listed = await tool("manage_alerts", action="list", min_position=made["position"])
    assert made["alert_id"] in {rule["id"] for rule in listed["alerts"]}
    overview = await tool("system_overview", include_details=True, min_position=made["position"])
    assert overview["summary"]["total_metrics"] >= 1
    assert made["alert_id"] in {rule["id"] for rule in overview["alerts"]}
    exported = await tool("export_metrics", format="csv", metric_names=["load"])
    assert exported["row_count"] == 1
    assert (await tool("get_server_status"))["metrics"]["total_metrics_stored"] >= 1
    assert asked == {spec.name for spec in SPECS}
    assert len(asked) == 8


def content_of(result: CallToolResult) -> Answer:
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    assert text_of(result)
    content: Answer = result.structured_content
    return content


@ERAS
async def test_a_client_of_either_era_runs_all_tools_over_http(
    running_server: Server, mode: str
) -> None:
    async with connect(running_server, mode) as client:
        assert client.protocol_version == VERSIONS[mode]

        async def ask(name: str, arguments: dict[str, Any]) -> Answer:
            return content_of(await client.call_tool(name, arguments))

        await ask_all(ask)


@ERAS
async def test_a_client_of_either_era_runs_all_tools_over_stdio(tmp_path: Path, mode: str) -> None:
    async with stdio_client(tmp_path, mode) as client:

        async def ask(name: str, arguments: dict[str, Any]) -> Answer:
            return content_of(await client.call(name, **arguments))

        await ask_all(ask)


async def test_plain_http_answers_for_all_tools(client: httpx.AsyncClient) -> None:
    async def ask(name: str, arguments: dict[str, Any]) -> Answer:
        answer = await client.post("/logfire-mcp", json={"tool": name, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        content: Answer = answer.json()
        return content

    await ask_all(ask)
