"""The seed's integration examples, in our form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest

from mcp_api import LogfireMCPServer, MetricPoint, MetricType
from tests.api.processes import run
from tests.seed.served import Served


async def test_a_programs_own_metric_is_collected_from_python(tmp_path: Path) -> None:
    """Custom Metric Collection; ``await server._store_metric(metric)`` is ``collect``."""
    metric = MetricPoint(
        name="api_response_time",
        value=250.5,
        tags={"endpoint": "/api/users", "method": "GET"},
        timestamp=datetime.now(UTC).replace(tzinfo=None),  # as utcnow() gives it
        metric_type=MetricType.HISTOGRAM,
    )
    async with LogfireMCPServer(tmp_path, default_targets=False) as server:
        await server.collect([metric])
        answer = await server.query("api_response_time")
        assert answer["results"][0]["value"] == 250.5


async def test_the_registry_is_shown_by_prometheus_own_client(tmp_path: Path) -> None:
    """Prometheus Integration: ``generate_latest(server.metrics_registry)``."""
    async with LogfireMCPServer(tmp_path, default_targets=False) as server:
        await server.status()
        assert b"mcp_requests_total" in generate_latest(server.metrics_registry)


async def test_a_condition_is_evaluated_from_python(tmp_path: Path) -> None:
    """Test alert condition evaluation; ``_evaluate_alert_condition`` is ``evaluate``."""
    async with LogfireMCPServer(tmp_path, default_targets=False) as server:
        await server.collect([MetricPoint("system_cpu_usage", 91.0, {"host": "a"})])
        assert await server.evaluate("system_cpu_usage > 80")
        assert not await server.evaluate("system_cpu_usage > 99")


def test_the_grafana_dashboard_has_the_seeds_panels() -> None:
    """Grafana Dashboard: “MCP Ecosystem Monitoring” and its two panels."""
    board = json.loads(run("grafana", "dashboard").stdout)
    assert board["title"] == "MCP Ecosystem Monitoring"
    shown = {
        panel["title"]: [target["expr"] for target in panel.get("targets", ())]
        for panel in board["panels"]
    }
    assert shown["System CPU Usage"] == ["system_cpu_usage"]
    assert shown["MCP Server Health"] == ["mcp_server_health"]


def test_the_seeds_expressions_are_answered_as_grafana_asks_them(served: Served) -> None:
    """``system_cpu_usage``, ``mcp_server_health``."""
    for expression in ("system_cpu_usage", "mcp_server_health"):
        answer = served.client.post("/api/v1/query", data={"query": expression})
        assert answer.json()["status"] == "success"
