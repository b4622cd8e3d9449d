"""Backtests of a whole server: over its own past, as JSON lines, and on the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx

from mcp_api.discovery import Found
from tests.api.kafka_nodes import eventually
from tests.api.processes import run, serving

RULES = """
groups:
  - name: machines
    rules:
      - alert: Busy
        expr: load > 80
        labels: {severity: high}
      - record: load:avg
        expr: avg(load)
"""


def past(ago_s: float = 600.0) -> list[dict[str, Any]]:
    """A sample a minute: busy in the third to the fifth minute."""
    begin_s = time.time() - ago_s
    return [
        {
            "name": "load",
            "value": 95.0 if 3 <= minute <= 5 else 20.0,
            "metric_type": "gauge",
            "tags": {"host": "a"},
            "timestamp": begin_s + 60 * minute,
        }
        for minute in range(10)
    ]


async def tool(client: httpx.AsyncClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    answer = await client.post("/logfire-mcp", json={"tool": tool, "arguments": arguments})
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert isinstance(content, dict)
    return content


async def collect(client: httpx.AsyncClient, metrics: list[dict[str, Any]]) -> None:
    position = (await tool(client, "collect_metrics", source="t", metrics=metrics))["position"]
    await tool(client, "query_metrics", operation="list_metrics", min_position=position)


async def backtest(client: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    answer = await client.post("/admin/backtest", json=wanted)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_backtest_over_what_has_just_happened_finds_the_same_firing(
    client: httpx.AsyncClient,
) -> None:
    await tool(client, "create_alert", name="Busy", condition="load > 80")
    busy = {"name": "load", "value": 95.0, "metric_type": "gauge", "tags": {"host": "a"}}
    await collect(client, [busy])

    async def fires() -> bool:
        listed = await tool(client, "manage_alerts", action="list", alert_id="Busy")
        return bool(listed["alerts"][0]["state"] == "firing")

    await eventually(fires, "Busy fires")
    *_, done = await backtest(client, name="Busy", start="-5m")
    assert (done["event"], done["name"]) == ("done", "Busy")
    found = done["backtest"]
    assert (found["firings"], found["alerts"], found["flaps"]) == (1, 1, 0)
    difference = {"happened": 1, "same": 1, "only_in_backtest": 0, "only_in_reality": 0}
    assert found["difference"] == difference


async def test_a_rule_of_the_callers_own_is_tried_out(client: httpx.AsyncClient) -> None:
    await collect(client, past())
    rule = {"id": "x", "version": 1, "name": "Busy", "condition": "load > 80"}
    *_, done = await backtest(client, rule=rule, start="-15m")
    [firing] = done["backtest"]["first_firings"]
    assert firing["labels"]["host"] == "a"
    assert firing["to"] is not None
    listed = await tool(client, "manage_alerts", action="list")
    assert all(one["name"] != "Busy" for one in listed["alerts"])


async def test_what_cannot_be_tried_out_is_told_in_the_last_line(
    client: httpx.AsyncClient,
) -> None:
    [unknown] = await backtest(client, name="nothing")
    assert unknown["event"] == "error"
    assert "there is no alert rule 'nothing'" in unknown["error"]["message"]
    wrong = {"id": "x", "version": 1, "name": "Busy", "condition": "load >"}
    [broken] = await backtest(client, rule=wrong)
    assert "condition" in broken["error"]["message"]
    [turned] = await backtest(
        client, rule=wrong | {"condition": "load > 1"}, start="now", end="-1h"
    )
    assert "no evaluation" in turned["error"]["message"]
    answer = await client.post("/admin/backtest", json={"since": "-1h"})
    assert answer.status_code == 400


def test_the_command_tries_out_a_rule_file_and_a_rule_of_the_server(tmp_path: Path) -> None:
    file = tmp_path / "machines.yml"
    file.write_text(RULES)
    data = tmp_path / "data"
    with serving(data) as (_, found):
        _collect(found)
        tried = run("rules", "backtest", str(file), "--from", "-15m", "--data-dir", str(data))
        assert tried.returncode == 0, tried.stderr
        assert "Busy: it would have fired once" in tried.stdout
        assert "host=a" in tried.stdout
        named = run("rules", "backtest", "High CPU Usage", "--data-dir", str(data))
        assert named.returncode == 0, named.stderr
        assert named.stdout.startswith("High CPU Usage: ")
        unknown = run("rules", "backtest", "no such rule", "--data-dir", str(data))
        assert unknown.returncode == 1
        assert "there is no alert rule 'no such rule'" in unknown.stderr


def _collect(found: Found) -> None:
    arguments: dict[str, Any] = {"source": "t", "metrics": past()}
    for name in ("collect_metrics", "query_metrics"):
        body = {"tool": name, "arguments": arguments}
        answer = httpx.post(f"{found.url}/logfire-mcp", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        arguments = {"operation": "list_metrics", "min_position": answer.json().get("position", "")}
