"""The seed's list of features, each by one short call of the real server."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.seed.served import Served, until


def test_metrics_are_stored_as_they_come(served: Served) -> None:
    """“Real-time collection and storage of system and application metrics”."""
    position = served.collect("orders", 12.0, shop="north")
    asked = {"metric_name": "orders", "aggregation": "last", "min_position": position}
    assert served.call("query_metrics", **asked)["results"][0]["value"] == 12
    until(lambda: served.has("system_cpu_usage"), "this machine is measured")


def test_mcp_servers_and_components_of_the_system_are_checked(served: Served) -> None:
    """“Automated health checks for MCP servers and system components”."""
    checks = served.call("health_check", target="all")["health_checks"]
    names = {check["name"] for check in checks}
    assert {"System CPU", "System Memory", "System Disk", "task-master-mcp-server"} <= names
    [checked] = [check for check in checks if check["name"] == "task-master-mcp-server"]
    assert checked["state"] in {"unknown", "healthy"}
    assert checked["last_check"], "it was asked"


def test_one_call_gives_the_whole_overview(served: Served) -> None:
    """“Comprehensive dashboard-style overview of ecosystem health”."""
    answer = served.call("system_overview")
    assert {"summary", "system_metrics", "mcp_servers", "alerts"} <= set(answer)


@pytest.mark.parametrize("kind", ["json", "csv", "prometheus", "influx", "influxdb"])
def test_metrics_are_exported_in_each_format(served: Served, kind: str) -> None:
    """“Export metrics in multiple formats (JSON, CSV, Prometheus, InfluxDB)”."""
    position = served.collect("exported", 4.5, host="a b")
    asked = {"format": kind, "metric_names": ["exported"], "min_position": position}
    content = served.call("export_metrics", **asked)["content"]
    assert "4.5" in content
    match kind:
        case "json":
            assert json.loads(content)
        case "csv":
            assert "exported" in content.splitlines()[1]
        case "prometheus":
            [family] = text_string_to_metric_families(content)
            assert family.samples[0].labels["host"] == "a b"
        case _:
            assert re.match(r"exported,host=a\\ b", content)


def test_this_machine_is_measured_in_the_background(served: Served) -> None:
    """“Continuous monitoring with configurable intervals”."""
    for name in ("system_cpu_usage", "system_memory_usage", "system_disk_usage"):
        until(lambda: served.has(name), name)  # noqa: B023 - it is called here


def test_the_server_has_a_registry_for_prometheus(served: Served) -> None:
    """“Built-in Prometheus metrics registry for monitoring”."""
    served.call("get_server_status")
    page = served.client.get("/metrics").text
    families = {family.name for family in text_string_to_metric_families(page)}
    assert {"mcp_requests", "mcp_request_duration_seconds"} <= families
    assert {"system_cpu_percent", "system_memory_percent", "system_disk_percent"} <= families


def test_collected_series_are_there_for_another_prometheus(served: Served) -> None:
    """“Prometheus metrics integration”."""
    served.call("query_metrics", metric_name="kept", min_position=served.collect("kept", 2.5))
    page = served.client.get("/federate", params={"match[]": "kept"}).text
    [family] = text_string_to_metric_families(page)
    assert family.samples[0].value == 2.5


def test_a_dashboard_is_told_of_changes_over_a_websocket(served: Served) -> None:
    """“Real-time monitoring dashboards”."""
    served.collect("watched", 1.0)
    address = f"ws://{urlsplit(served.found.url).netloc}/ws"
    subscription = {"id": "w", "feed": "metrics", "promql": "watched", "interval": "1s"}
    with connect(address) as socket:
        socket.send(json.dumps({"subscribe": subscription}))
        values: list[float] = []
        until(lambda: _values(socket.recv(60), values) == [1], "the snapshot")
        served.collect("watched", 2.0)
        until(lambda: _values(socket.recv(60), values)[-1] == 2, "the change")


def _values(message: str | bytes, seen: list[float]) -> list[float]:
    seen += [one["value"] for one in json.loads(message).get("series", ())]
    return seen


def test_each_backend_says_whether_it_is_connected(served: Served) -> None:
    """“SQLite, Redis, and InfluxDB support”."""
    components = served.call("get_server_status")["components"]
    assert components["database"] == "connected"
    assert (components["redis"], components["influxdb"]) == ("not_configured", "not_configured")
