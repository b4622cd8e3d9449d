"""The seed's commands for trouble, for tests and for validation, in our form."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.api.processes import run
from tests.api.test_validate import validated
from tests.seed.served import Served


def test_the_status_can_be_asked_by_curl(served: Served) -> None:
    """``curl -X POST …/logfire-mcp -d '{"tool": "get_server_status", "arguments": {}}'``."""
    body = b'{"tool": "get_server_status", "arguments": {}}'
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{served.found.url}/logfire-mcp", content=body, headers=headers)
    assert answer.json()["server_name"] == "logfire-mcp"


def test_a_metric_can_be_collected_by_curl(served: Served) -> None:
    """“Verify metric collection”, the seed's body as it stands."""
    body = b"""{
    "tool": "collect_metrics",
    "arguments": {
      "source": "health_check",
      "metrics": [{"name": "test_metric", "value": 1, "metric_type": "gauge"}]
    }
  }"""
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{served.found.url}/logfire-mcp", content=body, headers=headers)
    assert (answer.json()["status"], answer.json()["collected_count"]) == ("success", 1)


def test_connections_are_checked_by_one_command(tmp_path: Path) -> None:
    """“Check Logfire connectivity”, Redis by ``redis-cli ping``, InfluxDB by ``curl …/ping``."""
    away = {
        "LOGFIRE_TOKEN": "pylf_v1_us_x",
        "LOGFIRE_BASE_URL": "http://127.0.0.1:9",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "INFLUXDB_URL": "http://127.0.0.1:9",
    }
    checks = validated(tmp_path, "--integration", code=1, **away)
    for name in (("telemetry", "Logfire"), ("services", "Redis"), ("services", "InfluxDB")):
        assert checks[name]["state"] == "failed"
        assert checks[name]["todo"]


def test_resources_and_the_size_of_the_database_are_shown(served: Served) -> None:
    """``df -h``, ``du -h logfire_mcp.db``."""
    checks = validated(served.data_dir)
    assert checks["disk", "room"]["data"]["free_bytes"] > 0
    assert checks["log", "records"]["data"]["bytes"] > 0


def test_an_installation_is_validated_by_one_command_with_an_exit_code(served: Served) -> None:
    """``python validate_server.py`` is ``logfire-mcp-server validate``."""
    ended = run("validate", "--data-dir", str(served.data_dir))
    assert ended.returncode == 0, ended.stdout
    assert "All is well" in ended.stdout


def test_a_machine_reads_the_validation_as_json(served: Served) -> None:
    """“Check validation report for diagnostics”."""
    ended = run("validate", "--json", "--data-dir", str(served.data_dir))
    assert json.loads(ended.stdout)["valid"] is True


def test_validation_asks_services_and_measures_where_it_is_told_to() -> None:
    """``validate_server.py --integration`` and ``--load-test``."""
    shown = run("validate", "--help").stdout
    assert "--integration" in shown
    assert "--load-test" in shown
