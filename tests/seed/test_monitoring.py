"""What is monitored without being asked: the seed's servers, system metrics and alerts."""

from __future__ import annotations

import pytest

from tests.seed.served import Served, until

SERVERS = {
    "task-master-mcp-server": "task-master",
    "crawl4ai-mcp": "crawl4ai",
    "context7-mcp": "context7",
    "surrealdb-mcp": "surrealdb",
    "magic-mcp": "magic",
}
ALERTS = {
    "High CPU Usage": ("system_cpu_usage > 80", "high"),
    "High Memory Usage": ("system_memory_usage > 85", "high"),
    "MCP Server Down": ("mcp_server_health == 0", "critical"),
    "High Error Rate": ("> 0.05", "medium"),
}


@pytest.mark.parametrize("name", list(SERVERS))
def test_a_default_mcp_server_is_monitored(served: Served, name: str) -> None:
    """“The server automatically monitors these MCP servers”; one that never answered is unknown."""
    [check] = served.call("health_check", target=name)["health_checks"]
    assert check["endpoint"] == f"http://localhost:8000/{SERVERS[name]}/health"
    assert check["state"] in {"unknown", "healthy"}


@pytest.mark.parametrize(
    "metric",
    [
        "system_cpu_usage",
        "system_memory_usage",
        "system_disk_usage",
        "system_network_receive_bytes_total",
        "system_network_transmit_bytes_total",
        "process_cpu_usage",
        "process_resident_memory_bytes",
    ],
)
def test_a_system_metric_is_collected(served: Served, metric: str) -> None:
    """“CPU Usage, Memory Usage, Disk Usage, Network I/O, Process Metrics”."""
    until(lambda: served.has(metric), metric)
    [result] = served.call("query_metrics", metric_name=metric, aggregation="last")["results"]
    assert result["value"] >= 0


@pytest.mark.parametrize("name", list(ALERTS))
def test_a_default_alert_is_configured(served: Served, name: str) -> None:
    """“CPU > 80%, memory > 85%, health check fails, error rate > 5% in 5 minutes”."""
    condition, severity = ALERTS[name]
    alerts = {each["name"]: each for each in served.call("manage_alerts", action="list")["alerts"]}
    assert alerts[name]["severity"] == severity
    assert alerts[name]["enabled"] is True
    assert condition in alerts[name]["condition"]


def test_the_error_rate_is_that_of_five_minutes(served: Served) -> None:
    """“Triggers when error rate > 5% in 5 minutes”."""
    alerts = {each["name"]: each for each in served.call("manage_alerts", action="list")["alerts"]}
    assert "[5m]" in alerts["High Error Rate"]["condition"]
