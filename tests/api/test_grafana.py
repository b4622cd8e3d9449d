"""`grafana install` sets Grafana up: what its HTTP API is asked, and what the dashboard shows.

Grafana itself is not to be had here: a server of the test answers as its documentation says, and
asks this server what the data source's *Save & test* asks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.discovery import Found
from tests.api.processes import run, serving
from tests.api.services import Asked, http_service

TOKEN = "hush-hush"
KEY = "glsa_key"
DASHBOARD = Path(__file__).parent.parent.parent / "docs/grafana/mcp-ecosystem.json"
SOURCE = "/api/datasources/uid/logfire-mcp"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Grafana:
    """Data sources and dashboards, kept as they came."""

    def __init__(self) -> None:
        self.source: dict[str, Any] = {}
        self.boards: dict[str, Any] = {}

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"message": "Invalid API key"}
        match asked.method, asked.path:
            case ("POST", "/api/datasources") if not self.source:
                self.source = json.loads(asked.body)
                return 200, {"message": "Datasource added"}
            case ("PUT", "/api/datasources/uid/logfire-mcp") if self.source:
                self.source = json.loads(asked.body)
                return 200, {"message": "Datasource updated"}
            case ("GET", "/api/datasources/uid/logfire-mcp") if self.source:
                return 200, self.source
            case ("GET", "/api/datasources/uid/logfire-mcp/health"):
                return self.tested()
            case ("POST", "/api/dashboards/db"):
                told = json.loads(asked.body)
                assert told["overwrite"]
                assert told["dashboard"]["id"] is None
                uid = told["dashboard"]["uid"]
                self.boards[uid] = told["dashboard"]
                return 200, {"uid": uid, "url": f"/d/{uid}/x", "status": "success"}
        return 404, {"message": "not found"}

    def tested(self) -> tuple[int, Any]:
        name = self.source["jsonData"].get("httpHeaderName1")
        hidden = {name: self.source["secureJsonData"]["httpHeaderValue1"]} if name else {}
        try:
            url = f"{self.source['url']}/api/v1/query"
            answer = httpx.post(url, data={"query": "1+1", "time": "4"}, headers=hidden)
        except httpx.HTTPError as error:
            return 400, {"status": "ERROR", "message": str(error)}
        if answer.status_code != 200:
            return 400, {"status": "ERROR", "message": answer.text}
        return 200, {"status": "OK", "message": "Successfully queried the Prometheus API."}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Found]]:
    data_dir = tmp_path_factory.mktemp("served")
    with serving(data_dir, LOGFIRE_MCP_TOKEN=TOKEN) as (_, found):
        yield data_dir, found


def installed(url: str, data_dir: Path, *options: str, key: str = KEY) -> Any:
    variables = {"GRAFANA_URL": url, "GRAFANA_API_KEY": key, "LOGFIRE_MCP_TOKEN": TOKEN}
    return run("grafana", "install", "--data-dir", str(data_dir), *options, **variables)


def test_the_data_source_and_the_dashboard_are_made_and_grafana_can_ask(
    server: tuple[Path, Found],
) -> None:
    data_dir, found = server
    grafana = Grafana()
    with http_service(grafana.answer) as service:
        ended = installed(service.url, data_dir)
    assert ended.returncode == 0, ended.stderr
    assert f"{service.url}/d/mcp-ecosystem/x" in ended.stdout
    assert "cannot ask" not in ended.stderr
    assert TOKEN not in ended.stdout + ended.stderr
    assert (grafana.source["type"], grafana.source["url"]) == ("prometheus", found.url)
    assert TOKEN not in json.dumps(grafana.source["jsonData"]), "Grafana shows that to everybody"
    assert grafana.boards["mcp-ecosystem"]["title"] == "MCP Ecosystem Monitoring"


def test_a_second_time_replaces_both(server: tuple[Path, Found]) -> None:
    data_dir, _ = server
    grafana = Grafana()
    with http_service(grafana.answer) as service:
        installed(service.url, data_dir)
        ended = installed(service.url, data_dir, "--server-url", "http://127.0.0.1:9/")
    assert ended.returncode == 0
    assert grafana.source["url"] == "http://127.0.0.1:9"
    assert "Grafana cannot ask http://127.0.0.1:9 yet" in ended.stderr
    assert len(grafana.boards) == 1


def test_a_key_that_grafana_refuses_is_named(server: tuple[Path, Found]) -> None:
    with http_service(Grafana().answer) as service:
        ended = installed(service.url, server[0], key="wrong-key")
    assert ended.returncode == 1
    assert "refuses GRAFANA_API_KEY" in ended.stderr
    assert "wrong-key" not in ended.stderr


def test_without_grafana_the_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    ended = run("grafana", "install", "--data-dir", str(tmp_path), GRAFANA_URL="http://127.0.0.1:9")
    assert ended.returncode == 1
    assert "GRAFANA_API_KEY is not set" in ended.stderr
    away = installed("http://127.0.0.1:9", tmp_path)
    assert away.returncode == 1
    assert "did not answer at GRAFANA_URL" in away.stderr


def test_the_dashboard_is_printed_for_an_import_by_hand() -> None:
    assert json.loads(run("grafana", "dashboard").stdout) == json.loads(DASHBOARD.read_bytes())


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_bytes())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def points(now_s: float) -> Iterator[dict[str, Any]]:
    """What the dashboard is about, over the last minutes."""
    gauges = ("mcp_server_health", "mcp_server_response_seconds", "mcp_server_uptime_ratio")
    usages = ("system_cpu_usage", "system_memory_usage", "system_disk_usage")
    counters = ("mcp_requests_total", "mcp_request_duration_seconds_sum")
    names = (*gauges, *usages, *counters, "mcp_request_duration_seconds_count")
    for name in names:
        for ago_s in (90, 60, 30, 0):
            tags = {"server": "shop"}
            if name.startswith("mcp_request"):
                tags |= {"method": "tools/call"}
            if name == "mcp_requests_total":
                tags |= {"status": "error"}
            yield {
                "name": name,
                "value": 120 - ago_s,
                "metric_type": "counter" if name.startswith("mcp_request") else "gauge",
                "tags": tags,
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s - ago_s)),
            }


def test_every_expression_of_the_dashboard_is_answered(server: tuple[Path, Found]) -> None:
    _, found = server
    now_s = time.time()
    with httpx.Client(base_url=found.url, headers=BEARER, timeout=30) as client:
        asked = {"source": "test", "metrics": list(points(now_s))}
        body = {"tool": "collect_metrics", "arguments": asked}
        told = client.post("/logfire-mcp", json=body).json()
        asked = {"metric_name": "system_cpu_usage", "min_position": told["position"]}
        client.post("/logfire-mcp", json={"tool": "query_metrics", "arguments": asked})
        assert len(expressions()) >= 9
        for expression in expressions():
            query = re.sub(r"\$__\w+", "2m", expression)
            form = {"query": query, "start": now_s - 60, "end": now_s, "step": 15}
            answer = client.post("/api/v1/query_range", data=form)
            assert answer.status_code == 200, answer.text
            assert answer.json()["data"]["result"], query


def test_the_dashboard_is_of_grafanas_current_schema_and_finds_its_data_source() -> None:
    board = json.loads(DASHBOARD.read_bytes())
    assert board["schemaVersion"] >= 41
    [variable] = board["templating"]["list"]
    assert (variable["query"], variable["current"]["value"]) == ("prometheus", "logfire-mcp")
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = {panel["title"] for panel in panels}
    assert {"System CPU Usage", "MCP Server Health", "Alerts Firing", "Error Ratio"} <= titles
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
