"""The server inside somebody's own program, and every example of docs/python.md."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from inspect import signature
from math import nan
from pathlib import Path
from typing import Any

import httpx
import pytest

import mcp_api
from mcp_api import (
    AlertSeverity,
    LogfireMCPServer,
    MetricPoint,
    MetricType,
    SyncLogfireMCPServer,
)
from mcp_api.discovery import announced
from streams.errors import ConfigError, InputError, LogLocked
from streams.events.rules import Rule
from tests.api.processes import QUICK, ROOT

PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python run\n(.+?)^```$.*?^```\n(.+?)^```$", PAGE, re.M | re.S)
QUIET: dict[str, Any] = {
    "default_targets": False,
    "metrics_collection_interval_s": 0,
    "tick_s": 1,
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LogfireMCPServer]:
    async with LogfireMCPServer(tmp_path / "data", **QUIET) as server:
        yield server


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_it_says(
    code: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    exec(compile(code, "docs/python.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == output


def test_every_method_is_in_the_documents_table() -> None:
    public = {name for name in vars(LogfireMCPServer) if not name.startswith("_")}
    named = set(re.findall(r"`(\w+)[(`]", PAGE.partition("## All methods")[2]))
    assert public - {"url", "metrics_registry", "until_ready"} <= named


async def test_a_timestamp_without_a_zone_is_utc(server: LogfireMCPServer) -> None:
    now = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=250_000)
    there = timezone(timedelta(hours=5))
    points = [
        MetricPoint("at", 1, {"zone": "none"}, now.replace(tzinfo=None)),
        MetricPoint("at", 1, {"zone": "utc"}, now),
        MetricPoint("at", 1, {"zone": "east"}, now.astimezone(there)),
    ]
    await server.collect(points)
    rows = b"".join([piece async for piece in server.export("csv", metric_names=["at"])])
    times = {line.split(",")[1] for line in rows.decode().splitlines()[1:]}
    assert times == {now.strftime("%Y-%m-%dT%H:%M:%S.250Z")}


async def test_a_point_is_collected_as_the_tool_collects_it(server: LogfireMCPServer) -> None:
    answer = await server.collect(
        [
            MetricPoint("calls_total", 3, {"a": "b"}, None, MetricType.COUNTER),
            MetricPoint("odd", nan, unit="percent"),
            MetricPoint("", 1),
        ],
        source="me",
    )
    assert (answer["collected_count"], answer["source"]) == (2, "me")
    assert [one["index"] for one in answer["rejected"]] == [2]
    told = (await server.query("calls_total", operation="describe"))["metrics"][0]
    assert told["type"] == "counter"
    result = await server.query(promql="odd != odd")
    assert result["results"][0]["tags"]["source"] == "me"


async def test_where_all_points_are_bad_it_is_an_error(server: LogfireMCPServer) -> None:
    with pytest.raises(InputError, match="name is empty"):
        await server.collect([MetricPoint("", 1)])


async def test_what_was_written_is_seen_at_once(server: LogfireMCPServer) -> None:
    for number in range(5):
        await server.collect([MetricPoint("step", number)])
        [active] = (await server.evaluate("step")).active
        assert active.value == number
        await server.create_alert(f"rule {number}", "step > 9", AlertSeverity.LOW)
        names = [one["name"] for one in (await server.manage_alerts())["alerts"]]
        assert f"rule {number}" in names


CONDITIONS = [
    ("", "is empty"),
    ("load >", "cannot be evaluated"),
    ("1 > bool 0", "is a number"),
    ("load[5m]", "is a range of samples"),
]


@pytest.mark.parametrize(("condition", "said"), CONDITIONS)
async def test_what_is_no_condition_is_refused(
    server: LogfireMCPServer, condition: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        await server.evaluate(condition)
    assert refused.value.field == "condition"


async def test_a_condition_is_false_where_no_series_meets_it(server: LogfireMCPServer) -> None:
    await server.collect([MetricPoint("load", 1)])
    assert not await server.evaluate("load > 80")
    assert not await server.evaluate("nobody_sends_this > 0")


async def test_an_argument_that_no_tool_has_is_refused_by_name(server: LogfireMCPServer) -> None:
    with pytest.raises(InputError, match="agregation"):
        await server.query("load", agregation="avg")
    with pytest.raises(InputError, match="no_such_tool"):
        await server.call("no_such_tool")


async def test_all_tools_answer(server: LogfireMCPServer) -> None:
    assert (await server.health_check("system"))["target"] == "system"
    assert (await server.overview("1h", include_details=True))["time_range"] == "1h"
    assert (await server.status())["server_name"] == "logfire-mcp"
    now = datetime.now(UTC)
    found = await server.query("none", start_time=now - timedelta(hours=1), end_time=now)
    assert found["results"] == []


def test_it_works_without_an_event_loop_from_any_thread(tmp_path: Path) -> None:
    with SyncLogfireMCPServer(tmp_path, **QUIET) as server, ThreadPoolExecutor(4) as threads:
        server.until_ready()
        stored = [
            threads.submit(server.collect, [MetricPoint("load", number, {"i": f"{number}"})])
            for number in range(8)
        ]
        assert [one.result()["collected_count"] for one in stored] == [1] * 8
        assert len(server.evaluate("load > 3").active) == 4
        assert b"".join(server.export("csv", metric_names=["load"])).count(b"\n") == 9
        assert server.status()["server_name"] == "logfire-mcp"
        with pytest.raises(InputError):
            server.evaluate("load >")
        with pytest.raises(LogLocked), SyncLogfireMCPServer(tmp_path, **QUIET):
            pass


def test_both_have_the_same_methods() -> None:
    def public(of: type) -> dict[str, list[str]]:
        return {
            name: [*signature(value).parameters]
            for name, value in vars(of).items()
            if not name.startswith("_") and callable(value)
        }

    assert public(SyncLogfireMCPServer) == public(LogfireMCPServer)


async def test_nothing_listens_unless_a_port_is_given(tmp_path: Path) -> None:
    async with LogfireMCPServer(tmp_path, **QUIET) as server:
        await server.until_ready()
        assert server.url == ""
        assert announced(tmp_path) is None
        with pytest.raises(LogLocked):
            async with LogfireMCPServer(tmp_path, **QUIET):
                pass
    async with (
        LogfireMCPServer(tmp_path, port=0, **QUIET) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.get("/health")).json()["status"] == "alive"


def test_a_setting_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no setting 'nonsense'"):
        LogfireMCPServer(tmp_path, nonsense=1)
    with pytest.raises(ConfigError, match="tick_s"):
        LogfireMCPServer(tmp_path, tick_s=0)


def test_the_severities_are_those_of_rules() -> None:
    for severity in AlertSeverity:
        rule = Rule(id="a", version=1, name="a", condition="a > 1", severity=severity.value)
        assert rule.severity == severity
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = mcp_api.Nonsense
