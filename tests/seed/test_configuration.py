"""The seed's ``.env``, its constants, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_api import AlertSeverity, MetricType
from streams.config import load_settings, settings_table
from tests.api.processes import run
from tests.seed.served import Served

DOTENV = """
# Logfire Configuration (Required)
LOGFIRE_TOKEN=pylf_v1_us_your_token_here
LOGFIRE_PROJECT_NAME=logfire-mcp-server
LOGFIRE_SERVICE_NAME=logfire-mcp
ENVIRONMENT=production

# Database Configuration
LOGFIRE_DB_PATH=./logfire_mcp.db

# Optional: Redis Configuration
REDIS_URL=redis://localhost:6379/0

# Optional: InfluxDB Configuration
INFLUXDB_URL=http://localhost:8086
INFLUXDB_TOKEN=your_influxdb_token
INFLUXDB_ORG=your_organization
INFLUXDB_BUCKET=metrics

# Optional: Grafana Integration
GRAFANA_URL=http://localhost:3000
GRAFANA_API_KEY=your_grafana_api_key
"""
"""Word for word."""

VARIABLES = [line.partition("=")[0] for line in DOTENV.splitlines() if "=" in line]


def test_the_seeds_env_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """“Create a `.env` file with your configuration”."""
    (tmp_path / ".env").write_text(DOTENV)
    settings = load_settings({}, tmp_path / ".env")
    assert settings.logfire_token == "pylf_v1_us_your_token_here"
    assert settings.logfire_project_name == "logfire-mcp-server"
    assert (settings.logfire_service_name, settings.environment) == ("logfire-mcp", "production")
    assert settings.db_path == Path("logfire_mcp.db")
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.influxdb_url == "http://localhost:8086"
    assert (settings.influxdb_org, settings.influxdb_bucket) == ("your_organization", "metrics")
    assert settings.influxdb_token == "your_influxdb_token"
    assert settings.grafana_url == "http://localhost:3000"
    assert settings.grafana_api_key == "your_grafana_api_key"


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_of_the_seed_acts(variable: str) -> None:
    """Each is in ``--help`` and the table of settings with what it does."""
    meanings = {name: meaning for name, _, meaning in settings_table()}
    assert meanings[variable]


def test_no_token_of_logfire_is_needed(served: Served) -> None:
    """“Logfire Configuration (Required)” is not: without it nothing leaves the machine."""
    assert served.call("get_server_status")["components"]["logfire"] == "not_configured"


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
def test_a_metric_is_of_one_of_four_types(served: Served, kind: str) -> None:
    """“Supported metric types”: ``MetricType.COUNTER``, GAUGE, HISTOGRAM, SUMMARY."""
    assert MetricType[kind.upper()] == kind
    name = f"of_type_{kind}"
    points = [{"name": name, "value": 1.5, "metric_type": kind}]
    made = served.call("collect_metrics", source="seed", metrics=points)
    asked = {"operation": "describe", "metric_name": name, "min_position": made["position"]}
    assert kind in str(served.call("query_metrics", **asked))


def test_the_severities_are_constants_in_python() -> None:
    """``AlertSeverity.CRITICAL``, HIGH, MEDIUM, LOW, INFO."""
    names = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]
    assert [each.name for each in AlertSeverity] == names
    assert [each.value for each in AlertSeverity] == [name.lower() for name in names]


def test_the_intervals_are_the_seeds_by_default_and_can_be_set() -> None:
    """``HEALTH_CHECK_INTERVAL = 30``, ``HEALTH_CHECK_TIMEOUT = 10``,
    ``METRICS_COLLECTION_INTERVAL = 30``, ``ALERT_EVALUATION_INTERVAL = 30``."""
    settings = load_settings({})
    assert settings.health_check_interval_s == 30
    assert settings.health_check_timeout_s == 10
    assert settings.metrics_collection_interval_s == 30
    assert settings.alert_evaluation_interval_s is None, "each tick: 5 s"
    assert settings.tick_s == 5
    given = {
        "HEALTH_CHECK_INTERVAL": "60",
        "HEALTH_CHECK_TIMEOUT": "5",
        "METRICS_COLLECTION_INTERVAL": "15",
        "ALERT_EVALUATION_INTERVAL": "30",
    }
    settings = load_settings(given)
    assert (settings.health_check_interval_s, settings.health_check_timeout_s) == (60, 5)
    assert settings.metrics_collection_interval_s == 15
    assert settings.alert_evaluation_interval_s == 30


def test_debug_logging_is_one_variable(tmp_path: Path) -> None:
    """``export LOG_LEVEL=DEBUG``."""
    assert load_settings({"LOG_LEVEL": "DEBUG"}).log_level == "DEBUG"
    ended = run("validate", "--data-dir", str(tmp_path), LOG_LEVEL="LOUD")
    assert "LOG_LEVEL is 'LOUD'; valid: 'DEBUG'" in " ".join(ended.stdout.split())
