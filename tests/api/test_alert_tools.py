"""create_alert and manage_alerts against a whole server: made, fired, explained, silenced."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from mcp.client import Client
from mcp_types import Implementation, TextContent

from mcp_api.server import Server
from mcp_api.tools.specs import SPECS_BY_NAME
from tests.api.kafka_nodes import eventually
from tests.api.tools_rig import open_rig

ME = Implementation(name="a test", version="1")
RULE = {
    "name": "High load",
    "condition": "load > 80",
    "severity": "high",
    "description": "too much to do",
    "annotations": {"summary": "{{ $labels.host }} is at {{ $value }}"},
}


async def tool(client: httpx.AsyncClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The answer, which fits the tool's output schema."""
    answer = await client.post("/logfire-mcp", json={"tool": tool, "arguments": arguments})
    assert answer.status_code == 200, answer.text
    content = answer.json()
    jsonschema.validate(content, SPECS_BY_NAME[tool].output_schema)
    assert isinstance(content, dict)
    return content


async def refused(client: httpx.AsyncClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    answer = await client.post("/logfire-mcp", json={"tool": tool, "arguments": arguments})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return error


async def create(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    return await tool(client, "create_alert", **{**RULE, **more})


async def manage(client: httpx.AsyncClient, action: str, **more: Any) -> dict[str, Any]:
    return await tool(client, "manage_alerts", action=action, **more)


async def collect(client: httpx.AsyncClient, value: float, host: str = "a") -> None:
    point = {"name": "load", "value": value, "metric_type": "gauge", "tags": {"host": host}}
    answer = await tool(client, "collect_metrics", source="test", metrics=[point])
    seen = {"operation": "list_metrics", "min_position": answer["position"]}
    await tool(client, "query_metrics", **seen)


async def listed(client: httpx.AsyncClient, name: str = "High load") -> dict[str, Any]:
    [rule] = (await manage(client, "list", alert_id=name))["alerts"]
    assert isinstance(rule, dict)
    return rule


async def until(client: httpx.AsyncClient, state: str, name: str = "High load") -> dict[str, Any]:
    async def reached() -> bool:
        return bool((await listed(client, name))["state"] == state)

    await eventually(reached, f"{name} is {state}")
    return await listed(client, name)


async def test_a_rule_is_created_and_the_answer_has_the_contracts_fields(
    client: httpx.AsyncClient,
) -> None:
    answer = await create(client)
    assert answer["status"] == "success"
    assert answer["alert"]["id"] == answer["alert_id"]
    assert answer["alert"]["condition"] == "load > 80"
    assert answer["alert"]["version"] == 1
    assert answer["position"].startswith("alerts.events/0@")
    assert answer["warnings"] == ["no metric is named 'load' yet"]
    page = await manage(client, "list", min_position=answer["position"])
    mine = next(rule for rule in page["alerts"] if rule["name"] == "High load")
    assert mine == {
        **mine,
        "id": answer["alert_id"],
        "severity": "high",
        "enabled": True,
        "last_triggered": None,
        "state": "inactive",
        "trigger_count": 0,
    }
    assert page["total_count"] == len(page["alerts"])


async def test_a_server_that_starts_for_the_first_time_has_the_default_rules(
    client: httpx.AsyncClient,
) -> None:
    async def there() -> bool:
        return bool((await manage(client, "list"))["total_count"] == 4)

    await eventually(there, "four rules")
    names = {rule["name"]: rule["severity"] for rule in (await manage(client, "list"))["alerts"]}
    assert names == {
        "High CPU Usage": "high",
        "High Memory Usage": "high",
        "MCP Server Down": "critical",
        "High Error Rate": "medium",
    }


async def test_one_call_says_why_it_fired_who_made_it_and_who_was_told(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    await collect(client, 91.5)
    await collect(client, 10.0, host="b")
    fired = await until(client, "firing")
    assert fired["trigger_count"] == 1
    [alert] = fired["active"]
    assert alert["labels"]["host"] == "a"
    assert alert["value"] == 91.5
    await collect(client, 3.0)
    await until(client, "inactive")
    asked = {"tool": "manage_alerts", "arguments": {"action": "history", "alert_id": "High load"}}
    answer = await client.post("/logfire-mcp", json=asked)
    told = answer.json()
    assert len(answer.content) / 4 <= 2_000
    assert told["made"]["by"] == "local/http:127.0.0.1"
    assert told["in_force"]["condition"] == "load > 80"
    events = [entry["event"] for entry in told["history"]]
    assert [e for e in events if e in {"created", "fired", "resolved"}] == [
        "resolved",
        "fired",
        "created",
    ]
    why = next(entry for entry in told["history"] if entry["event"] == "fired")
    assert "91.5" in why["what"]
    assert "metrics.points/0@" in why["what"]
    assert why["labels"]["host"] == "a"
    assert "91.5" in told["summary"]
    assert "local/http:127.0.0.1" in told["summary"]


async def test_a_rule_is_changed_by_whom_it_is_read_and_the_ledger_says_from_what_to_what(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client)
    answer = await manage(
        client, "update", alert_id="High load", changes={"condition": "load > 95", "for": "1m"}
    )
    assert answer["alert"]["version"] == 2
    assert answer["alert"]["for"] == "1m"
    assert answer["alert"]["severity"] == "high"
    off = await manage(client, "disable", alert_id=made["alert_id"])
    assert off["alert"]["enabled"] is False
    assert (await listed(client))["state"] == "disabled"
    on = await manage(client, "enable", alert_id=made["alert_id"])
    assert on["alert"]["enabled"] is True
    history = (await manage(client, "history", alert_id="High load"))["history"]
    assert [entry["event"] for entry in history] == ["enabled", "disabled", "updated", "created"]
    assert "'load > 80' → 'load > 95'" in history[2]["what"]


async def test_a_deleted_rule_is_listed_no_more_but_its_ledger_stays(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client)
    gone = await manage(client, "delete", alert_id="High load")
    assert gone["alert_id"] == made["alert_id"]
    error = await refused(client, "manage_alerts", action="list", alert_id="High load")
    assert "there is no alert rule 'High load'" in error["message"]
    history = await manage(client, "history", alert_id=made["alert_id"])
    assert history["history"][0]["event"] == "deleted"


async def test_what_fires_is_acknowledged_and_silenced_and_the_silence_ended(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    await collect(client, 99.0)
    fired = await until(client, "firing")
    known = await manage(
        client,
        "acknowledge",
        alert_id="High load",
        fingerprint=fired["active"][0]["fingerprint"],
        comment="I am on it",
    )
    assert known["status"] == "success"
    shown = await listed(client)
    assert shown["active"][0]["acknowledged_by"] == "local/http:127.0.0.1"
    quiet = await manage(
        client,
        "silence",
        alert_id="High load",
        matchers=['host="a"'],
        duration="2h",
        comment="work",
    )
    page = await manage(client, "list", min_position=quiet["position"])
    [silence] = page["silences"]
    assert silence["id"] == quiet["silence_id"]
    assert silence["matchers"] == ['alertname="High load"', 'host="a"']
    ended = await manage(client, "unsilence", silence_id=quiet["silence_id"])
    after = await manage(client, "list", min_position=ended["position"])
    assert "silences" not in after
    history = await manage(client, "history", alert_id="High load")
    assert any("I am on it" in entry["what"] for entry in history["history"])


async def test_a_weekly_silence_needs_no_end(client: httpx.AsyncClient) -> None:
    weekly = {"weekdays": [6, 7], "at": "22:00", "minutes": 120, "timezone": "Europe/Berlin"}
    answer = await manage(client, "silence", matchers=['team="db"'], recurrence=weekly)
    assert answer["silences"][0]["recurrence"] == weekly


async def test_a_test_notification_is_asked_for_and_stands_in_the_ledger(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    answer = await manage(client, "test", alert_id="High load")
    assert answer["status"] == "success"
    history = await manage(client, "history", alert_id="High load")
    assert "tested" in [entry["event"] for entry in history["history"]]


async def test_a_repeated_call_with_one_request_id_makes_one_rule(
    client: httpx.AsyncClient,
) -> None:
    first = await create(client, request_id="once")
    second = await create(client, request_id="once")
    assert second["alert_id"] == first["alert_id"]
    assert second["position"] == first["position"]
    answer = await client.post(
        "/logfire-mcp",
        json={
            "tool": "create_alert",
            "arguments": {**RULE, "condition": "load > 1", "request_id": "once"},
        },
    )
    assert answer.status_code == 409


async def test_what_is_no_rule_is_refused_by_field_with_what_would_be_valid(
    client: httpx.AsyncClient,
) -> None:
    assert (
        "condition"
        in (await refused(client, "create_alert", name="x", condition="load >"))["message"]
    )
    error = await refused(client, "create_alert", name="x", condition="load > 1", sevrity="high")
    assert "did you mean 'severity'" in error["message"]
    error = await refused(client, "create_alert", **{**RULE, "for": "5 minutes"})
    assert error["field"] == "for"
    await create(client)
    error = await refused(client, "create_alert", **RULE)
    assert "has the same name, severity and labels" in error["message"]
    error = await refused(client, "manage_alerts", action="enable", alert_id="High lod")
    assert "did you mean 'High load'" in error["message"]
    error = await refused(client, "manage_alerts", action="update", alert_id="High load")
    assert error["field"] == "changes"
    error = await refused(
        client, "manage_alerts", action="update", alert_id="High load", changes={"cond": "x"}
    )
    assert "condition" in error["message"]
    error = await refused(client, "manage_alerts", action="silence", matchers=['a="b"'])
    assert error["field"] == "duration"


async def test_the_lint_names_what_is_probably_wrong(client: httpx.AsyncClient) -> None:
    await collect(client, 1.0)
    answer = await create(client, condition="laod > 1", name="a")
    assert answer["warnings"] == ["no metric is named 'laod' yet; the nearest: load"]
    answer = await create(client, condition='load{host="z"} > 1', name="b")
    assert "never has the value 'z'" in answer["warnings"][0]
    answer = await create(client, condition="load", name="c")
    assert "compares nothing" in answer["warnings"][0]


async def test_over_mcp_the_same_tools_answer_in_words(running_server: Server) -> None:
    async with Client(f"{running_server.url}/mcp", client_info=ME) as client:
        made = await client.call_tool("create_alert", RULE)
        assert made.structured_content["alert"]["name"] == "High load"
        told = await client.call_tool(
            "manage_alerts", {"action": "history", "alert_id": "High load"}
        )
        block = told.content[0]
        assert isinstance(block, TextContent)
        assert "was made by local/mcp:a test" in block.text
        assert len(block.text) + len(json.dumps(told.structured_content)) <= 8_000
        wrong = await client.call_tool("manage_alerts", {"action": "enable", "alert_id": "nothing"})
        assert wrong.is_error


async def test_a_name_that_two_rules_have_is_no_name_of_one(client: httpx.AsyncClient) -> None:
    ids = [(await create(client, severity=each))["alert_id"] for each in ("high", "low")]
    error = await refused(client, "manage_alerts", action="delete", alert_id="High load")
    assert error["field"] == "alert_id"
    assert all(rule_id in error["message"] for rule_id in ids)
    assert (await manage(client, "delete", alert_id=ids[0]))["status"] == "success"
    assert (await manage(client, "delete", alert_id="High load"))["alert_id"] == ids[1]


async def past(client: httpx.AsyncClient) -> None:
    """Ten samples of one host, one a minute: busy from the fourth to the sixth minute ago."""
    metrics = [
        {
            "name": "load",
            "value": 95.0 if 4 <= ago <= 6 else 20.0,
            "metric_type": "gauge",
            "tags": {"host": "a"},
            "timestamp": time.time() - 60 * ago,
        }
        for ago in range(10)
    ]
    answer = await tool(client, "collect_metrics", source="test", metrics=metrics)
    seen = {"operation": "list_metrics", "min_position": answer["position"]}
    await tool(client, "query_metrics", **seen)


async def test_a_dry_run_tells_how_often_it_would_have_fired_and_creates_nothing(
    client: httpx.AsyncClient,
) -> None:
    await past(client)
    answer = await create(client, dry_run=True, start_time="-10m")
    assert answer["status"] == "dry_run"
    assert answer["backtest"]["firings"] == 1
    assert answer["backtest"]["first_firings"][0]["labels"]["host"] == "a"
    assert "would have fired once" in answer["backtest"]["text"]
    error = await refused(client, "manage_alerts", action="history", alert_id="High load")
    assert "there is no alert rule" in error["message"]


async def test_a_backtest_tries_changes_out_and_leaves_the_rule_as_it_is(
    client: httpx.AsyncClient,
) -> None:
    await past(client)
    await create(client)
    asked = {"alert_id": "High load", "start_time": "-10m"}
    assert (await manage(client, "backtest", **asked))["backtest"]["firings"] == 1
    changed = await manage(client, "backtest", **asked, changes={"condition": "load > 99"})
    assert changed["backtest"]["firings"] == 0
    assert (await listed(client))["condition"] == "load > 80"


async def test_where_nobody_decides_in_time_the_answer_is_pending_with_its_position(
    tmp_path: Path,
) -> None:
    async with open_rig(tmp_path, wait_s=0.1) as rig:  # whose runner decides no commands
        answer = await rig.call("create_alert", **RULE)
        assert answer["status"] == "pending"
        assert answer["position"] == "commands/0@0"
        assert "min_position" in answer["hint"]
        page = await rig.call("manage_alerts", action="list", min_position=answer["position"])
        assert page["alerts"] == []


async def test_a_commands_position_waits_for_its_answer(client: httpx.AsyncClient) -> None:
    await create(client)
    page = await manage(client, "list", min_position="commands/0@0")
    assert page["total_count"] >= 1
