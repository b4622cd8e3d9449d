"""The seed's eight tools, with its own examples, and the answers that it shows."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.client import Client

from tests.seed.served import Served

EXAMPLES: dict[str, dict[str, Any]] = {
    "collect_metrics": {
        "source": "my_application",
        "metrics": [
            {
                "name": "cpu_usage",
                "value": 75.5,
                "metric_type": "gauge",
                "tags": {"host": "server01", "service": "api"},
            },
            {
                "name": "request_count",
                "value": 1000,
                "metric_type": "counter",
                "tags": {"endpoint": "/api/users", "method": "GET"},
            },
        ],
    },
    "query_metrics": {
        "metric_name": "cpu_usage",
        "start_time": "2024-01-01T00:00:00Z",
        "end_time": "2024-01-01T23:59:59Z",
        "tags": {"host": "server01"},
        "aggregation": "avg",
        "group_by": ["service"],
    },
    "health_check": {
        "target": "all",
        "endpoints": [
            "http://localhost:8000/task-master/health",
            "http://localhost:8000/crawl4ai/health",
        ],
    },
    "create_alert": {
        "name": "High CPU Usage Alert",
        "description": "Alert when CPU usage exceeds 80%",
        "condition": "cpu_usage > 80",
        "severity": "high",
        "enabled": True,
    },
    "manage_alerts": {"action": "list"},
    "system_overview": {"include_details": True, "time_range": "24h"},
    "export_metrics": {
        "format": "prometheus",
        "metric_names": ["cpu_usage", "memory_usage"],
        "start_time": "2024-01-01T00:00:00Z",
        "end_time": "2024-01-01T23:59:59Z",
    },
    "get_server_status": {},
}
"""Word for word."""

RANGE = {"start_time": "2024-01-01T00:00:00Z", "end_time": "2024-01-01T23:59:59Z"}


@pytest.mark.parametrize("tool", list(EXAMPLES))
def test_each_of_the_eight_tools_takes_the_seeds_own_example(served: Served, tool: str) -> None:
    """“The server provides 8 comprehensive tools”, each with its JSON."""
    assert served.call(tool, **EXAMPLES[tool])


async def test_the_eight_tools_are_those_that_mcp_lists(served: Served) -> None:
    """“8 MCP tools with full functionality”."""
    async with Client(f"{served.found.url}/mcp") as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
    assert listed == set(EXAMPLES)


def test_what_is_collected_is_answered_by_count_source_and_time(served: Served) -> None:
    """Metric Collection Response: status, collected_count, source, timestamp."""
    answer = served.call("collect_metrics", **EXAMPLES["collect_metrics"])
    assert (answer["status"], answer["collected_count"]) == ("success", 2)
    assert answer["source"] == "my_application"
    assert "T" in answer["timestamp"]


def test_a_query_is_answered_by_values_with_tags_and_times(served: Served) -> None:
    """Query Response: metric_name, aggregation, results of value, tags, timestamp; query_time."""
    tags = {"host": "server01", "service": "api"}
    point = {"name": "cpu_usage", "value": 75.5, "metric_type": "gauge", "tags": tags}
    points = [{**point, "timestamp": "2024-01-01T12:00:00Z"}]
    made = served.call("collect_metrics", source="my_application", metrics=points)
    asked = {**EXAMPLES["query_metrics"], "min_position": made["position"]}
    answer = served.call("query_metrics", **asked)
    assert (answer["metric_name"], answer["aggregation"]) == ("cpu_usage", "avg")
    [result] = answer["results"]
    assert (result["value"], result["tags"]) == (75.5, {"service": "api"})
    assert result["timestamp"].startswith("2024-01-01T")
    assert answer["query_time"]


def test_a_health_check_is_answered_check_by_check(served: Served) -> None:
    """Health Check Response: target, health_checks of name, endpoint, healthy, status_code,
    response_time, last_check; overall_healthy, check_time."""
    endpoint = f"{served.found.url}/health"
    answer = served.call("health_check", endpoints=[endpoint])
    [check] = answer["health_checks"]
    assert (check["endpoint"], check["healthy"], check["status_code"]) == (endpoint, True, 200)
    assert 0 < check["response_time"] < 10, "in seconds"
    assert check["name"]
    assert check["last_check"]
    assert answer["overall_healthy"] is True
    assert answer["check_time"]
    assert served.call("health_check", target="all")["target"] == "all"


def test_the_overview_is_answered_by_summary_system_servers_and_alerts(served: Served) -> None:
    """System Overview Response, every field of it."""
    answer = served.call("system_overview", **EXAMPLES["system_overview"])
    assert answer["time_range"] == "24h"
    assert answer["timestamp"]
    counts = {"total_mcp_servers", "healthy_servers", "active_alerts", "total_metrics"}
    assert counts <= set(answer["summary"])
    assert answer["summary"]["total_mcp_servers"] >= 5
    fields = {"name", "healthy", "value", "unit", "threshold"}
    assert all(fields <= set(each) for each in answer["system_metrics"])
    assert {each["threshold"] for each in answer["system_metrics"]} == {80, 85, 90}
    task_master = answer["mcp_servers"]["task-master-mcp-server"]
    assert {"healthy", "response_time", "last_check"} <= set(task_master)
    fields = {"id", "name", "severity", "enabled", "last_triggered"}
    assert all(fields <= set(each) for each in answer["alerts"])


def test_an_alert_that_is_created_is_listed_disabled_enabled_and_deleted(served: Served) -> None:
    """Create Alert and Manage Alerts."""
    rule = {**EXAMPLES["create_alert"], "name": "Made by the seed"}
    made = served.call("create_alert", **rule)
    assert made["status"]
    assert made["created_at"]
    listed = served.call("manage_alerts", action="list")
    assert listed["total_count"] == len(listed["alerts"])
    [alert] = [each for each in listed["alerts"] if each["id"] == made["alert_id"]]
    fields = {"name": rule["name"], "severity": "high", "enabled": True, "last_triggered": None}
    assert {name: alert[name] for name in fields} == fields
    for action in ("disable", "enable", "delete"):
        served.call("manage_alerts", action=action, alert_id=made["alert_id"])
    left = served.call("manage_alerts", action="list")["alerts"]
    assert made["alert_id"] not in {each["id"] for each in left}


def test_the_status_is_answered_by_components_metrics_and_system(served: Served) -> None:
    """Server Status."""
    answer = served.call("get_server_status")
    assert answer["server_name"] == "logfire-mcp"
    assert {"version", "status", "uptime", "system_info", "timestamp"} <= set(answer)
    components = {"database", "redis", "influxdb", "prometheus", "logfire"}
    assert components <= set(answer["components"])
    counts = {"total_metrics_stored", "active_alerts", "health_checks"}
    assert counts <= set(answer["metrics"])


@pytest.mark.parametrize("aggregation", ["avg", "sum", "min", "max", "count"])
def test_a_query_aggregates_in_each_way(served: Served, aggregation: str) -> None:
    """The argument aggregation: avg and its like."""
    name = f"aggregated_{aggregation}"
    served.collect(name, 1.0, n="1")
    position = served.collect(name, 3.0, n="2")
    asked = {"metric_name": name, "aggregation": aggregation, "min_position": position}
    [result] = served.call("query_metrics", **asked)["results"]
    assert result["value"] == {"avg": 2, "sum": 4, "min": 1, "max": 3, "count": 2}[aggregation]
