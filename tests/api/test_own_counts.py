"""What this server counts of its own requests: on /metrics, in the log, and in an alert."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from mcp_api.server import Server
from streams.ingest.counters import CounterSamples
from tests.api.kafka_nodes import eventually
from tests.api.processes import quick_settings
from tests.api.test_alert_tools import tool
from tests.api.test_health_check import serving, web

AT_MS = 1_700_000_000_000


async def scraped(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """The page's samples by name and label values, in the order of the labels' names."""
    page = (await client.get("/metrics")).text
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
    }


async def test_calls_are_counted_by_tool_and_status(client: httpx.AsyncClient) -> None:
    await tool(client, "get_server_status")
    body = {"tool": "query_metrics", "arguments": {"metric": "x"}}
    assert (await client.post("/logfire-mcp", json=body)).status_code == 400
    point = {"name": "x", "value": "many", "metric_type": "gauge"}
    body = {"tool": "collect_metrics", "arguments": {"source": "a", "metrics": [point]}}
    assert (await client.post("/logfire-mcp", json=body)).status_code == 400
    found = await scraped(client)
    requests, own = "mcp_requests_total", "logfire-mcp"
    assert found[requests, "get_server_status", own, "ok"] == 1
    assert found[requests, "query_metrics", own, "error"] == 1
    assert found[requests, "collect_metrics", own, "error"] == 1
    assert found["mcp_request_duration_seconds_count", "query_metrics", own] == 1
    assert found["mcp_request_duration_seconds_sum", "query_metrics", own] > 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_each_request_of_mcp_is_counted_once(
    running_server: Server, client: httpx.AsyncClient, mode: str
) -> None:
    async with Client(f"{running_server.url}/mcp", mode=mode) as mcp:
        await mcp.list_tools()
        await mcp.call_tool("get_server_status", {})
        with pytest.raises(MCPError):
            await mcp.call_tool("no_such_tool", {})
    found = await scraped(client)
    requests = {key[1:]: value for key, value in found.items() if key[0] == "mcp_requests_total"}
    opening = "initialize" if mode == "legacy" else "server/discover"
    assert requests == {
        (opening, "logfire-mcp", "ok"): 1,
        ("tools/list", "logfire-mcp", "ok"): 1,
        ("get_server_status", "logfire-mcp", "ok"): 1,
        ("tools/call", "logfire-mcp", "error"): 1,
    }


async def test_a_method_that_nobody_knows_makes_no_series_of_its_own(
    client: httpx.AsyncClient,
) -> None:
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    for number in range(3):
        asked = {"jsonrpc": "2.0", "id": number, "method": f"made/up/{number}"}
        await client.post("/mcp", json=asked, headers=headers)
    found = await scraped(client)
    assert found["mcp_requests_total", "other", "logfire-mcp", "error"] == 3


async def test_the_page_has_the_health_of_targets_and_this_machine(tmp_path: Path) -> None:
    with web() as well, web() as ill:
        ill.status = 500
        targets = {
            name: {"endpoint": one.url, "interval": "60s", "failures": 1}
            for name, one in (("well", well), ("ill", ill))
        }
        async with serving(tmp_path, targets) as client:
            await tool(client, "health_check")

            async def told() -> bool:
                found = await scraped(client)
                health = {key[1]: v for key, v in found.items() if key[0] == "mcp_server_health"}
                return health == {"well": 1.0, "ill": 0.0}

            await eventually(told, "the page has the health of both")
            found = await scraped(client)
            for name in ("system_cpu_percent", "system_memory_percent", "system_disk_percent"):
                assert 0 <= found[name,] <= 100


async def test_failing_calls_make_the_default_rule_fire(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, metrics_collection_interval_s=1, host_label="here")
    async with Server(settings) as server, httpx.AsyncClient(base_url=server.url) as client:
        await server.until_ready()
        for _ in range(5):
            body = {"tool": "query_metrics", "arguments": {}}
            assert (await client.post("/logfire-mcp", json=body)).status_code == 400

        async def fires() -> bool:
            rules = (await tool(client, "manage_alerts", action="list"))["alerts"]
            return ("high-error-rate", "firing") in [(one["id"], one["state"]) for one in rules]

        await eventually(fires, "the rule fires")
        expr = 'mcp_requests_total{status="error"}'
        rows = (await tool(client, "query_metrics", promql=expr))["results"]
        assert [(row["tags"]["host"], row["value"]) for row in rows] == [("here", 5.0)]


def test_a_counter_begins_at_zero_once_it_is_stored() -> None:
    registry = CollectorRegistry()
    calls = Counter("calls", "Calls.", ("method",), registry=registry)
    seconds = Histogram("call_seconds", "How long.", unit="seconds", registry=registry)
    counters = CounterSamples(lambda: [*calls.collect(), *seconds.collect()], {"host": "a"})

    def taken(at_ms: int) -> list[tuple[str, dict[str, str], int, float]]:
        samples = counters.take(at_ms)
        found = [(one.name, dict(one.labels), one.at_ms - AT_MS, one.value) for one in samples]
        return [one for one in found if one[0].startswith("calls")]

    assert taken(AT_MS) == []
    calls.labels("get").inc(3)
    labels = {"host": "a", "method": "get"}
    begun = [("calls_total", labels, -1, 0.0), ("calls_total", labels, 0, 3.0)]
    assert taken(AT_MS) == begun
    assert taken(AT_MS) == begun  # what was not stored has not begun
    counters.stored(counters.take(AT_MS))
    assert taken(AT_MS + 9) == [("calls_total", labels, 9, 3.0)]


def test_a_histogram_is_stored_as_its_count_and_sum() -> None:
    seconds = Histogram("wait", "How long.", unit="seconds", registry=CollectorRegistry())
    seconds.observe(0.25)
    counters = CounterSamples(seconds.collect, {})
    counters.stored(counters.take(AT_MS))
    found = [(one.name, one.value, one.unit, one.type) for one in counters.take(AT_MS)]
    assert found == [
        ("wait_seconds_count", 1.0, "", "counter"),
        ("wait_seconds_sum", 0.25, "seconds", "counter"),
    ]
