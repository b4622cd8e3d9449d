"""Programs made for Prometheus ask us instead, and notice nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment

from mcp_api.server import Server
from tests.api.prometheus_requests import AT, T0
from tests.api.test_prometheus_api import a_few, filled
from tests.conftest import leave_out
from tests.effort import MORE

MCP_SERVER = "prometheus-mcp-server==1.6.2"


@pytest.fixture
async def url(client: httpx.AsyncClient, running_server: Server) -> str:
    """The address of a server with a few series."""
    await filled(client, a_few())
    return running_server.url


async def promtool(program: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        program, "query", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_promtool_asks_it_as_it_asks_prometheus(url: str, requires: Any) -> None:
    program = requires("promtool")

    async def asked(*arguments: str) -> str:
        code, out, err = await promtool(program, *arguments)
        assert (code, err) == (0, "")
        return out

    told = await asked("instant", "-o", "json", "--time", AT, url, 'up{job="node"}')
    assert [row["value"] for row in json.loads(told)] == [[T0, "1"]]
    assert "=> 1 @[1435781430]" in await asked(
        "instant", "--time", AT, url, "count(up{job='node'})"
    )
    span = (f"--start={T0 - 30}", f"--end={T0}")
    [line] = json.loads(await asked("range", "-o", "json", *span, "--step=15s", url, "req_total"))
    assert [value for _, value in line["values"]] == ["270", "285", "300"]
    assert "b:2" in await asked("series", '--match=up{job="node"}', *span, url)
    assert (await asked("labels", *span, url, "job")).split() == ["node", "prometheus"]
    assert (await asked("labels", *span, url, "nosuch")).split() == []


async def test_promtool_says_why_a_query_is_refused(url: str, requires: Any) -> None:
    program = requires("promtool")
    for arguments, sentence in (
        (("instant", url, "up{"), "unexpected end of input inside braces"),
        (("instant", "--time", AT, url, "up + on() odd"), "many-to-many matching not allowed"),
        (("range", "--start=1", "--end=20000", "--step=1s", url, "up"), "exceeded maximum"),
        (("series", "--match=up[5m]", url), "up[5m]"),
    ):
        code, _, err = await promtool(program, *arguments)
        assert code != 0
        assert sentence in err


@pytest.mark.skipif(MORE == 1, reason="installs a package: only where time is no matter")
async def test_an_mcp_server_made_for_prometheus_serves_all_its_tools(
    url: str, tmp_path: Path
) -> None:
    program = installed(tmp_path / "venv", MCP_SERVER)
    environment = {**get_default_environment(), "PROMETHEUS_URL": url, "HOME": str(tmp_path)}
    server = StdioServerParameters(command=str(program), env=environment, cwd=tmp_path)
    answers: dict[str, Any] = {}
    calls: dict[str, dict[str, Any]] = {
        "health_check": {},
        "execute_query": {"query": "up", "time": str(T0)},
        "execute_range_query": {
            "query": "rate(req_total[1m])",
            "start": str(T0 - 60),
            "end": AT,
            "step": "30s",
        },
        "list_metrics": {"filter_pattern": "req"},
        "get_metric_metadata": {"metric": "req_total"},
        "get_targets": {"state": "any"},
    }
    async with Client(server, mode="legacy") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == set(calls)
        for name, arguments in calls.items():
            answer = await client.call_tool(name, arguments)
            assert not answer.is_error, (name, answer.content)
            answers[name] = answer.structured_content
    assert answers["health_check"]["prometheus_connectivity"] == "healthy"
    assert {row["value"][1] for row in answers["execute_query"]["result"]} == {"0", "1"}
    [row] = answers["execute_range_query"]["result"]
    assert row["values"] == [[T0 - 60, "1"], [T0 - 30, "1"], [T0, "1"]]
    assert answers["list_metrics"]["metrics"] == ["req_total"]
    assert "counter" in json.dumps(answers["get_metric_metadata"])
    assert answers["get_targets"]["activeTargets"] == []


def installed(venv: Path, package: str) -> Path:
    """The program of a package in a virtual environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = (venv / "bin" / "python", "-m", "pip", "install", "-q", package)
    ran = subprocess.run(pip, capture_output=True, text=True, check=False, env=dict(os.environ))
    if ran.returncode != 0:
        leave_out(f"pip cannot install {package}: {ran.stderr.strip()[-300:]}")
    return venv / "bin" / package.partition("=")[0]
