"""`validate` says whether an installation is sound, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from mcp_api import LogfireMCPServer, MetricPoint
from mcp_api.discovery import Found
from mcp_api.tools.specs import SPECS
from tests.api.processes import run, serving

Checks = dict[tuple[str, str], dict[str, Any]]

POINTS = [
    {"name": "load", "value": n, "metric_type": "gauge", "tags": {"n": str(n)}} for n in (1, 2)
]


def validated(data_dir: Path, *options: str, code: int = 0, **more: str) -> Checks:
    """The checks by part and name; all that is on stdout is one JSON object."""
    ended = run("validate", "--json", "--data-dir", str(data_dir), *options, **more)
    told = json.loads(ended.stdout)
    assert ended.returncode == code, ended.stdout
    assert told["valid"] is (code == 0)
    return {(check["part"], check["name"]): check for check in told["checks"]}


def measured(data_dir: Path) -> Checks:
    """With the load test, whatever this machine's speed is."""
    ended = run("validate", "--load-test", "--json", "--data-dir", str(data_dir))
    checks = json.loads(ended.stdout)["checks"]
    return {(check["part"], check["name"]): check for check in checks}


def called(found: Found, tool: str, **arguments: Any) -> dict[str, Any]:
    asked = {"tool": tool, "arguments": arguments}
    answer = httpx.post(f"{found.url}/logfire-mcp", json=asked, timeout=30)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def collect(found: Found) -> None:
    """Returns when the points are in the database."""
    position = called(found, "collect_metrics", source="test", metrics=POINTS)["position"]
    called(found, "query_metrics", metric_name="load", min_position=position)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Found]]:
    """A data directory with points and the server that has it."""
    data_dir = tmp_path_factory.mktemp("used")
    with serving(data_dir) as (_, found):
        collect(found)
        yield data_dir, found


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("stopped")
    with serving(data_dir) as (_, found):
        collect(found)
    return data_dir


@pytest.fixture
def left(stopped: Path, tmp_path: Path) -> Path:
    """A data directory with points, whose server has stopped; a test's own copy."""
    return shutil.copytree(stopped, tmp_path / "left")


def test_a_new_installation_is_sound_and_what_is_not_there_yet_does_not_count(
    tmp_path: Path,
) -> None:
    checks = validated(tmp_path / "new")
    assert checks["configuration", "settings"]["state"] == "ok"
    assert checks["disk", "room"]["data"]["free_bytes"] > 0
    assert checks["disk", "writing and fsync"]["data"]["fsync_ms_median"] > 0
    for part in (("log", "records"), ("database", "equals the log"), ("server", "runs")):
        assert checks[part]["state"] == "skipped"
        assert "serve" in checks[part]["text"]
    assert not (tmp_path / "new").exists()


def test_beside_a_running_server_all_of_it_is_checked(used: tuple[Path, Found]) -> None:
    data_dir, found = used
    checks = validated(data_dir)
    assert "in use by another process" in checks["log", "owner"]["text"]
    assert checks["log", "records"]["data"]["records"]["metrics.points"] >= 1
    assert checks["database", "equals the log"]["data"]["rows"]["points"] == len(POINTS)
    assert found.url in checks["server", "runs"]["text"]
    assert checks["server", "is ready"]["state"] == "ok"
    names = {spec.name for spec in SPECS}
    assert set(checks["server", "tools by MCP"]["data"]["tools"]) == names
    assert checks["server", "its own status"]["data"]["components"]["database"] == "connected"


def test_without_a_server_the_files_are_read(left: Path) -> None:
    checks = validated(left)
    assert checks["log", "records"]["state"] == "ok"
    assert checks["database", "equals the log"]["data"]["rows"]["points"] == len(POINTS)
    assert checks["server", "runs"]["state"] == "skipped"


async def test_beside_a_program_that_embeds_the_server_the_log_is_read(tmp_path: Path) -> None:
    async with LogfireMCPServer(tmp_path, default_targets=False) as server:
        await server.collect([MetricPoint("load", 1.0)])
        checks = await asyncio.to_thread(validated, tmp_path)
    assert checks["log", "records"]["state"] == "ok"
    assert checks["database", "equals the log"]["state"] == "skipped"
    assert checks["server", "runs"]["state"] == "skipped"


def test_a_damaged_record_is_found_and_nothing_is_read_on(left: Path) -> None:
    with sqlite3.connect(left / "logfire_mcp.db") as db:
        db.execute(
            "UPDATE records SET body=zeroblob(length(body)) WHERE id=(SELECT min(id) FROM records)"
        )
    db.close()
    checks = validated(left, code=1)
    assert checks["log", "records"]["state"] == "failed"
    assert "damaged" in checks["log", "records"]["text"]
    assert checks["database", "equals the log"]["state"] == "skipped"


def test_a_database_that_differs_from_the_log_is_found(left: Path) -> None:
    with duckdb.connect(str(left / "logfire_mcp.duckdb")) as db:
        db.execute("UPDATE points SET value = value + 1")
    check = validated(left, code=1)["database", "equals the log"]
    assert check["text"].startswith("points: stored ")
    assert "rebuild" in check["todo"]


def test_a_wrong_setting_is_named_with_what_is_valid(tmp_path: Path) -> None:
    checks = validated(tmp_path, code=1, TICK_INTERVAL="often")
    assert list(checks) == [("configuration", "settings")]
    assert "TICK_INTERVAL is 'often'" in checks["configuration", "settings"]["text"]


def test_files_that_settings_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "targets.toml").write_text('[targets]\nshop = "gopher://shop"\n')
    checks = validated(
        tmp_path,
        code=1,
        HEALTH_TARGETS=str(tmp_path / "targets.toml"),
        ALERT_RECEIVERS='{"receivers": {"ops": {"kind": "pigeon", "url": "x"}}}',
    )
    assert "gopher" in checks["configuration", "health targets"]["text"]
    assert "pigeon" in checks["configuration", "alert receivers"]["text"]


def test_a_variable_that_no_setting_reads_is_told_with_the_one_that_may_be_meant(
    tmp_path: Path,
) -> None:
    check = validated(tmp_path, code=1, LOGFIRE_MCP_PROT="1")["configuration", "names of variables"]
    assert "LOGFIRE_MCP_PROT; LOGFIRE_MCP_PORT may be meant" in check["text"]


def test_each_setting_is_told_with_its_source_and_no_secret(tmp_path: Path) -> None:
    ended = run(
        "validate",
        "--json",
        "--data-dir",
        str(tmp_path),
        LOGFIRE_MCP_TOKEN="hush",
        LOG_LEVEL="ERROR",
    )
    assert "hush" not in ended.stdout + ended.stderr
    told = json.loads(ended.stdout)["checks"][0]["data"]["settings"]
    assert told["LOGFIRE_MCP_TOKEN"] == {"value": "***", "source": "environment"}
    assert told["LOG_LEVEL"] == {"value": "ERROR", "source": "environment"}
    assert told["LOGFIRE_DATA_DIR"] == {"value": str(tmp_path), "source": "option"}
    assert told["WINDOW_SIZES"] == {"value": "60", "source": "default"}


def test_people_see_a_line_a_check_and_what_to_do(tmp_path: Path) -> None:
    well = run("validate", "--data-dir", str(tmp_path))
    assert well.returncode == 0
    assert "✓" in well.stdout
    assert "–" in well.stdout
    assert "✗" not in well.stdout
    assert "All is well" in well.stdout
    ill = run("validate", "--data-dir", str(tmp_path), TICK_INTERVAL="often")
    assert ill.returncode == 1
    assert "✗" in ill.stdout
    assert "→ correct the setting" in ill.stdout
    assert "1 of 1 checks failed." in ill.stdout
