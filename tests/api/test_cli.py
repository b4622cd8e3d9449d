"""The command line, as a person and a script use it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.discovery import Found, announced
from streams.events.topics import TOPICS
from tests.api.processes import PROGRAM, ROOT, environment, run, serving

COMMANDS = (
    *("serve", "worker", "mcp", "demo", "tail", "replay", "requeue"),
    *("query", "rules", "targets", "export", "rebuild", "verify"),
)


def tool(found: Found, tool: str, /, **arguments: Any) -> dict[str, Any]:
    body = {"tool": tool, "arguments": arguments}
    answer = httpx.post(f"{found.url}/logfire-mcp", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def fill(found: Found, values: tuple[Any, ...] = (1, 2.5, "NaN", "+Inf")) -> str:
    """Some points, projected when it returns."""
    metrics = [
        {"name": "load", "value": value, "metric_type": "gauge", "tags": {"n": f"{n}"}}
        for n, value in enumerate(values)
    ]
    position = tool(found, "collect_metrics", source="cli", metrics=metrics)["position"]
    tool(found, "query_metrics", metric_name="load", min_position=position)
    assert isinstance(position, str)
    return position


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose server was stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    with serving(folder) as (_, found):
        fill(found)
    return folder


def test_help_teaches_every_command_by_examples() -> None:
    whole = run("--help").stdout
    assert "Examples:" in whole
    for command in COMMANDS:
        assert f"  {command} " in whole
        shown = run(command, "--help")
        assert shown.returncode == 0
        if command not in {"rebuild", "verify"}:
            assert "Examples:" in shown.stdout
            assert "logfire-mcp-server" in shown.stdout


def test_version_is_told() -> None:
    assert re.fullmatch(r"logfire-mcp-server, version \S+\n", run("--version").stdout)


def test_the_topics_offered_are_those_of_the_catalogue() -> None:
    shown = run("tail", "--help").stdout
    assert f"[{'|'.join(TOPICS)}]" in shown


def test_serve_prints_where_to_look_and_how_to_connect(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--data-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(LOGFIRE_MCP_TOKEN="s3cret"),
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ready"):
            break
    found = announced(tmp_path)
    assert found is not None
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    text = "".join(lines)
    for wanted in (
        f"{found.url}/mcp",
        f"{found.url}/logfire-mcp",
        f"{found.url}/metrics",
        str(tmp_path),
        f"claude mcp add --transport http logfire-mcp {found.url}/mcp",
        '"mcpServers"',
    ):
        assert wanted in text
    assert "s3cret" not in text + rest + errors
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_sigterm_stops_it_cleanly_in_under_two_seconds(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, found):
        with httpx.Client(base_url=found.url) as client:  # an idle connection does not hold it up
            client.get("/health")
            began = time.monotonic()
            process.terminate()
            assert process.wait(timeout=30) == 0
            assert time.monotonic() - began < 10  # the goal is 2 s on a machine that is not busy
        assert announced(tmp_path) is None


def failing(*arguments: str, code: int = 1, **more: str) -> str:
    ended = run(*arguments, **more)
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    if code == 1:
        assert len(ended.stderr.strip().splitlines()) <= 2
    return ended.stderr


def test_a_port_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = failing("serve", "--port", port, "--data-dir", str(tmp_path))
    assert port in told
    assert "--port" in told


def test_a_directory_in_use_is_told_with_the_server_that_has_it(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, found):
        told = failing("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert str(process.pid) in told
    assert found.url in told


def test_a_damaged_log_is_refused_loudly(tmp_path: Path) -> None:
    (tmp_path / "logfire_mcp.db").write_bytes(os.urandom(8_192))
    assert "logfire_mcp.db" in failing("serve", "--port", "0", "--data-dir", str(tmp_path))


def test_other_machines_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    told = failing("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))
    assert "LOGFIRE_MCP_TOKEN" in told


def test_a_host_that_is_not_known_is_told(tmp_path: Path) -> None:
    told = failing(
        *("serve", "--host", "host.invalid", "--port", "0", "--data-dir", str(tmp_path)),
        LOGFIRE_MCP_TOKEN="t",
    )
    assert "host.invalid" in told


def test_what_is_not_an_option_is_a_usage_error() -> None:
    failing("serve", "--nope", code=2)
    failing("export", "--format", "xml", code=2)
    failing("export", "--tag", "host", code=2)


def test_commands_on_an_empty_directory_say_to_start_the_server(tmp_path: Path) -> None:
    for command in ("tail", "replay", "verify", "rebuild", "export"):
        assert "start the server" in failing(command, "--data-dir", str(tmp_path))


def test_tail_shows_readable_lines_while_the_server_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, found):
        fill(found, (42,))
        shown = run("tail", "--no-follow", "--data-dir", str(tmp_path)).stdout
        assert "load{n=0,source=cli}=42" in shown
        assert "by local/http:127.0.0.1" in shown
        follower = subprocess.Popen(
            [*PROGRAM, "tail", "--topic", "metrics.points", "--data-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1"),
        )
        assert follower.stdout is not None
        follower.stdout.readline()  # it reads
        fill(found, (4711,))
        assert any("=4711" in line for line in follower.stdout)
        follower.send_signal(signal.SIGINT)
        follower.wait(timeout=30)
        follower.stdout.close()


def test_nothing_in_a_label_steers_the_terminal(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, found):
        metric = {"name": "x\x1b[2J", "value": 1, "metric_type": "gauge", "tags": {"a": "\r\n"}}
        tool(found, "collect_metrics", source="cli", metrics=[metric])
        shown = run("tail", "--no-follow", "--data-dir", str(tmp_path)).stdout
    assert "\x1b" not in shown
    assert "x�[2J" in shown


def replayed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    ended = run("replay", "--data-dir", str(folder), *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_replay_prints_every_event_exactly(stopped: Path) -> None:
    events = replayed(stopped)
    collected = [e for e in events if e["headers"]["ce_type"] == "metrics.collected.v1"]
    assert len(collected) == 1
    batch = collected[0]["data"]["batch"]
    assert batch["value"] == [1.0, 2.5, "NaN", "+Inf"]
    assert batch["labels"][0] == '{"__name__":"load","n":"0","source":"cli"}'
    assert len(batch["at_ms"]) == 4
    assert collected[0]["headers"]["ce_actor"] == "local/http:127.0.0.1"
    places = [(e["topic"], e["partition"], e["offset"]) for e in events]
    assert len(set(places)) == len(places)
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)


def test_replay_takes_a_range_and_topics(stopped: Path) -> None:
    events = replayed(stopped)
    middle = events[len(events) // 2]["at"]
    early, late = replayed(stopped, "--until", middle), replayed(stopped, "--from", middle)
    assert early + late == events
    assert all(e["at"] < middle for e in early)
    windows = replayed(stopped, "--topic", "metrics.windows")
    assert {e["topic"] for e in windows} <= {"metrics.windows"}
    assert "--from" in failing("replay", "--from", "yesterday", "--data-dir", str(stopped))


def test_verify_and_rebuild_work_without_a_server(stopped: Path) -> None:
    for command, word in (("verify", "Equal"), ("rebuild", "Rebuilt"), ("verify", "Equal")):
        ended = run(command, "--data-dir", str(stopped))
        assert ended.returncode == 0, ended.stderr
        assert word in ended.stdout


def test_verify_and_rebuild_go_through_the_server_that_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, found):
        position = fill(found)
        for command, word in (("verify", "Equal"), ("rebuild", "Rebuilt"), ("verify", "Equal")):
            ended = run(command, "--data-dir", str(tmp_path))
            assert ended.returncode == 0, ended.stderr
            assert word in ended.stdout
        read = tool(found, "query_metrics", metric_name="load", min_position=position)
        assert read["results"][0]["count"] == 4


def test_a_database_that_is_not_readable_is_set_aside_and_rebuilt(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, found):
        position = fill(found)
    (tmp_path / "logfire_mcp.duckdb").write_bytes(b"rubbish" * 1_000)
    with serving(tmp_path) as (_, found):
        read = tool(found, "query_metrics", metric_name="load", min_position=position)
        assert read["results"][0]["count"] == 4
    assert list(tmp_path.glob("logfire_mcp.duckdb.damaged-*"))


def test_export_is_the_same_with_and_without_a_server(
    tmp_path: Path, requires: Callable[[str], str]
) -> None:
    (tmp_path / "out").mkdir()
    times = ("--start", "-1h", "--end", "2099-01-01T00:00:00Z")
    formats = ("json", "csv", "prometheus", "influx", "parquet")

    def export(place: str) -> dict[str, bytes]:
        for name in formats:
            out = tmp_path / "out" / f"{place}.{name}"
            command = ("export", "--format", name, "--metric", "load", *times, "-o", str(out))
            ended = run(*command, "--tag", "n==~[012]", "--data-dir", str(tmp_path))
            assert ended.returncode == 0, ended.stderr
        return {name: (tmp_path / "out" / f"{place}.{name}").read_bytes() for name in formats}

    with serving(tmp_path) as (_, found):
        fill(found, (1, 2, 3, 4))
        running = export("running")
    assert export("stopped") == running
    assert len(json.loads(running["json"])) == 3
    checked = subprocess.run(
        [requires("promtool"), "check", "metrics"],
        input=running["prometheus"],
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert not list((tmp_path / "out").glob(".*")), "no parts are left"
    assert b"load" in run("export", "--data-dir", str(tmp_path)).stdout.encode()


def test_the_demo_is_lively_in_a_directory_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path, "--hosts", "3", command="demo") as (_, found):
        listed: dict[str, Any] = {"metrics": []}
        while len(listed["metrics"]) < 5:
            listed = tool(found, "query_metrics", operation="list_metrics")
        asked = {"metric_name": "cpu_usage", "group_by": ["host"], "start_time": "-2h"}
        assert len(tool(found, "query_metrics", **asked)["results"]) == 3
