"""``query``: PromQL from the command line, as a table, a chart or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mcp_api.terminal_chart import bounds, sparkline
from tests.api.processes import run, serving

T0 = 1_767_268_800  # 2026-01-01T12:00:00Z
AT = "2026-01-01T12:00:00Z"
START = ("--start", "2026-01-01T11:59:00Z", "--end", AT, "--step", "15s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The data directory of a server with a counter, and a series whose tag would steer."""
    folder = tmp_path_factory.mktemp("asked")
    metrics = [
        {"name": name, "value": value, "metric_type": "gauge", "tags": tags, "timestamp": at_s}
        for name, value, tags, at_s in (
            *(("steps", n, {"host": "a"}, T0 - 60 + n * 15) for n in range(5)),
            ("odd", 7.5, {"host": "\x1b[2J[red]"}, T0),
        )
    ]
    with serving(folder) as (_, found):
        body = {"tool": "collect_metrics", "arguments": {"source": "cli", "metrics": metrics}}
        stored = httpx.post(f"{found.url}/logfire-mcp", json=body, timeout=30).json()
        asked = {"metric_name": "odd", "min_position": stored["position"]}
        body = {"tool": "query_metrics", "arguments": asked}
        assert httpx.post(f"{found.url}/logfire-mcp", json=body, timeout=30).status_code == 200
        yield str(folder)


def test_one_time_is_a_table(folder: str) -> None:
    ended = run("query", "steps", "--at", AT, "--data-dir", folder)
    assert ended.stdout.split() == ['steps{host="a",', 'source="cli"}', "4"]
    assert run("query", "1 / 4", "--data-dir", folder).stdout == "0.25\n"
    samples = run("query", "steps[20s]", "--at", AT, "--data-dir", folder).stdout
    assert f"3 @ {T0 - 15}" in samples
    assert f"4 @ {T0}" in samples


def test_a_range_is_a_chart(folder: str) -> None:
    ended = run("query", "steps or odd", *START, "--data-dir", folder)
    lines = ended.stdout.splitlines()
    assert "0 to 7.5" in lines[0]
    [steps] = [line for line in lines if "steps{" in line]
    assert "▁▂▃▄▅" in steps
    assert steps.split()[-3:] == ["0", "4", "4"]


def test_json_is_what_the_api_tells(folder: str) -> None:
    told = json.loads(run("query", "steps", *START, "--json", "--data-dir", folder).stdout)
    [series] = told["data"]["result"]
    assert [value for _, value in series["values"]] == ["0", "1", "2", "3", "4"]


def test_nothing_in_a_label_steers_the_terminal(folder: str) -> None:
    shown = run("query", "odd", "--at", AT, "--data-dir", folder).stdout
    assert "\x1b" not in shown
    assert "[red]" in shown


def test_what_goes_wrong_is_one_sentence(folder: str, tmp_path: Path) -> None:
    bad = run("query", "steps{", "--data-dir", folder)
    assert bad.returncode == 1
    assert "parse error" in bad.stderr
    assert "Nothing" in run("query", "nope", "--data-dir", folder).stderr
    nobody = run("query", "steps", "--data-dir", str(tmp_path))
    assert nobody.returncode == 1
    assert "no server is running" in nobody.stderr
    for wrong in (("--at", "now", "--start", "-1h"), ("--step", "1m"), ("--end", "now")):
        assert run("query", "steps", *wrong, "--data-dir", folder).returncode == 2
    assert run("query", "steps", "--at", "soon", "--data-dir", folder).returncode == 1


def test_a_sparkline_takes_any_numbers() -> None:
    inf, nan = float("inf"), float("nan")
    assert sparkline([1e308, -1e308, inf, nan, None], 5, *bounds([1e308, -1e308, inf, nan])) == (
        "█▁   "
    )
    assert sparkline([], 5, 0.0, 1.0) == ""
    assert len(sparkline([float(n) for n in range(1_000)], 80, 0.0, 999.0)) == 80
