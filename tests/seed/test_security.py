"""The seed's security list."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from mcp_api import LogfireMCPServer
from streams.config import Settings, load_settings
from streams.errors import ConfigError
from tests.api.processes import run
from tests.seed.served import Served

TOKEN = "hush-hush"


def test_tokens_come_from_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    """“Store sensitive tokens in environment variables”."""
    names = [
        str(field.json_schema_extra["variable"])
        for field in Settings.model_fields.values()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("secret")
    ]
    assert {"LOGFIRE_TOKEN", "INFLUXDB_TOKEN", "GRAFANA_API_KEY", "LOGFIRE_MCP_TOKEN"} <= set(names)
    ended = run("validate", "--json", "--data-dir", str(tmp_path), LOGFIRE_MCP_TOKEN=TOKEN)
    assert TOKEN not in ended.stdout + ended.stderr


async def test_metrics_are_behind_a_token_where_one_is_set(tmp_path: Path) -> None:
    """“Implement proper access controls for metrics”."""
    bearer = {"authorization": f"Bearer {TOKEN}"}
    settings = {"port": 0, "token": TOKEN, "default_targets": False}
    async with (
        LogfireMCPServer(tmp_path, **settings) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for path in ("/metrics", "/export", "/api/v1/query?query=up", "/federate"):
            assert (await client.get(path)).status_code == 401
        assert (await client.get("/metrics", headers=bearer)).status_code == 200
    with pytest.raises(ConfigError):
        load_settings({"LOGFIRE_MCP_HOST": "0.0.0.0"})


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": "x", "metrics": "all"},
        {"source": "x", "metrics": [], "drop table": 1},
        {"source": "x" * 10_000, "metrics": [{"name": "a", "value": 1, "metric_type": "gauge"}]},
        {"source": "x", "metrics": [{"name": "", "value": 1, "metric_type": "gauge"}]},
        {"source": "x", "metrics": [{"name": "a", "value": "NaN'; --", "metric_type": "gauge"}]},
    ],
)
def test_input_is_checked_and_refused_in_one_sentence(served: Served, arguments: object) -> None:
    """“Sanitize all input data”."""
    asked = {"tool": "collect_metrics", "arguments": arguments}
    answer = served.client.post("/logfire-mcp", json=asked)
    assert answer.status_code == 400, answer.text
    assert len(answer.json()["error"]["message"]) < 600


def test_hostile_names_are_escaped_in_every_export(served: Served) -> None:
    """“Sanitize all input data”."""
    tags = {"path": 'a"b\\c,d=e f'}
    point = {"name": "hostile", "value": 1.0, "metric_type": "gauge", "tags": tags}
    made = served.call("collect_metrics", source="seed", metrics=[point])
    for kind in ("csv", "prometheus", "influx", "json"):
        asked = {"format": kind, "metric_names": ["hostile"], "min_position": made["position"]}
        content = served.call("export_metrics", **asked)["content"]
        rows = [line for line in content.splitlines() if "hostile" in line and line[0] != "#"]
        assert len(rows) == 1, kind
    assert json.loads(content)


def test_other_pages_in_a_browser_may_not_call(served: Served) -> None:
    """“Implement proper access controls”."""
    answer = served.client.get("/metrics", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_how_long_points_are_kept_is_a_setting_on_kafka() -> None:
    """“Configurable data retention policies”; the embedded log keeps everything."""
    assert load_settings({"KAFKA_RETENTION_HOURS": "24"}).kafka_retention_hours == 24


def test_a_server_listens_on_this_machine_alone_unless_told_otherwise(served: Served) -> None:
    """“Local processing options available”."""
    assert load_settings({}).host == "127.0.0.1"
    components = served.call("get_server_status")["components"]
    for name in ("kafka", "redis", "influxdb", "logfire"):
        assert components[name] == "not_configured"
