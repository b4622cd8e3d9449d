"""Settings: the environment, ``.env`` and options; every mistake is named with its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.config import Settings, load_settings, settings_table
from streams.errors import ConfigError


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings({})
    assert settings.data_dir == Path.home() / ".logfire-mcp"
    assert settings.db_path == settings.data_dir / "logfire_mcp.db"
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 8000, None)
    assert settings.window_sizes_s == (60,)
    assert settings.metrics_collection_interval_s == 30
    assert settings.body_bytes_max == 32 << 20


def test_the_logs_file_lies_in_the_data_directory_unless_it_is_said_otherwise() -> None:
    here = load_settings({"LOGFIRE_DATA_DIR": "/data"})
    assert here.db_path == Path("/data/logfire_mcp.db")
    there = load_settings({"LOGFIRE_DATA_DIR": "/data", "LOGFIRE_DB_PATH": "~/log.db"})
    assert there.db_path == Path.home() / "log.db"


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "# a comment\nLOGFIRE_MCP_PORT=1\nexport LOG_LEVEL='debug'\nTICK_INTERVAL=7\nEMPTY=\n"
    )
    environ = {"LOGFIRE_MCP_PORT": "2", "TICK_INTERVAL": "", "WINDOW_SIZES": "300, 60"}
    settings = load_settings(environ, dotenv)
    assert (settings.port, settings.log_level, settings.tick_s) == (2, "DEBUG", 7)
    assert settings.window_sizes_s == (60, 300)
    assert load_settings(environ, dotenv, port=3).port == 3


def test_no_file_is_no_error(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / ".env") == load_settings({})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"LOG_LEVEL=\xff\xfe")
    with pytest.raises(ConfigError, match=r"\.env cannot be read"):
        load_settings({}, dotenv)


@pytest.mark.parametrize(
    ("variable", "value", "valid"),
    [
        ("LOGFIRE_MCP_PORT", "http", "integer"),
        ("LOGFIRE_MCP_PORT", "65536", "65535"),
        ("LOGFIRE_MCP_PARTITIONS", "0", "greater than or equal to 1"),
        ("LOGFIRE_MCP_SERIES_MAX", "-1", "greater than 0"),
        ("LOGFIRE_MCP_BODY_BYTES_MAX", "1", "1024"),
        ("LOGFIRE_MCP_ALLOWED_ORIGINS", "example.com", "https://example.com"),
        ("WINDOW_SIZES", "60,90", "multiple of the smallest"),
        ("WINDOW_SIZES", ",", "one to 8 sizes"),
        ("WINDOW_SIZES", "0", "1 to 86400"),
        ("WINDOW_SIZES", "1m", "integer"),
        ("WINDOW_GRACE", "-1", "greater than or equal to 0"),
        ("TICK_INTERVAL", "0", "greater than or equal to 1"),
        ("METRICS_COLLECTION_INTERVAL", "soon", "integer"),
        ("LOG_LEVEL", "loud", "WARNING"),
        ("INFLUXDB_URL", "localhost", "http://localhost:8086"),
        ("HEALTH_CHECK_INTERVAL", "0", "greater than 0"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_valid(
    variable: str, value: str, valid: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable} is ")
    assert valid in message


@pytest.mark.parametrize("name", ["x.duckdb", "x.DuckDB"])
def test_the_log_cannot_have_the_name_of_the_duckdb_file_beside_it(name: str) -> None:
    with pytest.raises(ConfigError, match=r"LOGFIRE_DB_PATH .*does not end in \.duckdb"):
        load_settings({"LOGFIRE_DB_PATH": f"/data/{name}"})
    with pytest.raises(ConfigError, match="LOGFIRE_DB_PATH"):
        load_settings({}, db_path=Path("/data") / name)
    assert load_settings({"LOGFIRE_DB_PATH": "/data/duckdb.db"}).db_path.name == "duckdb.db"


def test_all_problems_are_told_at_once_and_secrets_are_not_repeated() -> None:
    wrong = {"LOGFIRE_MCP_PORT": "x", "TICK_INTERVAL": "y", "LOGFIRE_MCP_TOKEN": "hush hush"}
    with pytest.raises(ConfigError) as caught:
        load_settings(wrong, hots="a", partitions=0)
    message = str(caught.value)
    for named in ("LOGFIRE_MCP_PORT", "TICK_INTERVAL", "LOGFIRE_MCP_TOKEN", "hots"):
        assert named in message
    assert "option partitions is 0" in message
    assert "hush" not in message
    assert "hush" not in repr(load_settings({"LOGFIRE_MCP_TOKEN": "hush"}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match=r"LOGFIRE_MCP_HOST|option host"):
        load_settings({}, host=host)
    if host:
        settings = load_settings({"LOGFIRE_MCP_TOKEN": "secret", "LOGFIRE_MCP_HOST": host})
        assert settings.token == "secret"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_a_loopback_address_needs_none(host: str) -> None:
    assert load_settings({}, host=host).token is None


def test_the_table_tells_each_setting_that_acts_once() -> None:
    table = settings_table()
    variables = [variable for variable, _, _ in table]
    assert len(variables) == len(set(variables))
    assert "LOGFIRE_MCP_TOKEN" in variables
    assert {row[0]: row[1] for row in table}["LOGFIRE_DATA_DIR"] == "~/.logfire-mcp"
    assert all(meaning for _, _, meaning in table)
    assert len(Settings.model_fields) == len(table)
