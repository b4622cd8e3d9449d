"""system_overview against a whole server, and how small its answer stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from mcp_api.tools.specs import SPECS_BY_NAME
from mcp_api.tools.system_overview import SERVERS_SHOWN
from streams.events.health import HealthChanged, HealthChecked, Target, TargetRegistered
from streams.events.rules import RuleCreated
from streams.events.topics import ALERTS, HEALTH_RESULTS
from streams.log.protocol import Append, Entry
from tests.api.kafka_nodes import eventually
from tests.api.test_alert_tools import collect, create, refused, tool, until
from tests.api.test_health_check import checked, one, serving, web
from tests.api.tools_rig import NOW_MS, Rig, open_rig, point
from tests.projections.alert_making import alert, fact, moved, rule

MINUTE = 60_000
CONTRACT = {
    "summary": {"total_mcp_servers", "healthy_servers", "active_alerts", "total_metrics"},
    "server": {"healthy", "response_time", "last_check"},
    "alert": {"id", "name", "severity", "enabled", "last_triggered"},
    "system": {"name", "healthy", "value", "unit", "threshold"},
}


async def overview(client: httpx.AsyncClient, **arguments: Any) -> dict[str, Any]:
    return await tool(client, "system_overview", **arguments)


async def test_the_answer_has_the_contracts_fields(tmp_path: Path) -> None:
    with web() as site:
        async with serving(tmp_path, {"shop": site.url, "job": {"kind": "heartbeat"}}) as client:
            await one(client, "shop")

            async def known() -> bool:
                found = await overview(client)
                return bool(found["summary"]["healthy_servers"] == 1 and len(found["alerts"]) == 4)

            await eventually(known, "the shop is healthy, the default rules are there")
            found = await overview(client, include_details=True, time_range="1h")
    assert found["time_range"] == "1h"
    assert found["summary"].keys() >= CONTRACT["summary"]
    assert (found["summary"]["total_mcp_servers"], found["summary"]["active_alerts"]) == (2, 0)
    assert found["summary"]["total_metrics"] > 0
    assert set(found["mcp_servers"]) == {"shop", "job"}
    shop, job = found["mcp_servers"]["shop"], found["mcp_servers"]["job"]
    assert shop.keys() >= CONTRACT["server"]
    assert (shop["healthy"], shop["state"], shop["transitions"]) == (True, "healthy", 1)
    assert 0 < shop["response_time"] < 60
    assert (job["healthy"], job["state"], job["last_check"]) == (False, "unknown", None)
    assert all(each.keys() >= CONTRACT["alert"] for each in found["alerts"])
    names = [each["name"] for each in found["system_metrics"]]
    assert names == ["System CPU", "System Memory", "System Disk"]
    assert all(each.keys() >= CONTRACT["system"] for each in found["system_metrics"])
    assert all(0 <= each["value"] <= 100 for each in found["system_metrics"])
    assert found["details"]["lag"].keys() == {"duckdb"}
    assert "mcp_server_health" in json.dumps(found["details"]["busiest_metrics"])
    assert found["as_of"]["position"]


async def test_what_fires_counts_and_the_past_is_as_it_was(client: httpx.AsyncClient) -> None:
    before = (await overview(client))["timestamp"]
    await create(client)
    await tool(client, "create_alert", name="Load", condition="load", record="job:load")
    await collect(client, 91.5)
    await until(client, "firing")
    now = await overview(client, include_details=True)
    assert (now["summary"]["active_alerts"], now["summary"]["alerts_fired"]) == (1, 1)
    first = now["alerts"][0]
    assert "Load" not in {each["name"] for each in now["alerts"]}, "it records, and alerts nobody"
    assert (first["name"], first["firing"], first["fired"]) == ("High load", 1, 1)
    assert first["last_triggered"] is not None
    [firing] = now["details"]["firing"]
    assert firing["id"] == first["id"]
    assert now["details"]["most_fired"] == [{"id": first["id"], "fired": 1}]
    assert firing["labels"] == "host=a, source=test"
    assert firing["value"] == 91.5
    fired = now["timestamp"]
    await collect(client, 3.0)
    await until(client, "inactive")
    assert (await overview(client))["summary"]["active_alerts"] == 0
    then = await overview(client, at=fired)
    assert then["summary"]["active_alerts"] == 1
    assert then["timestamp"] == fired
    earlier = await overview(client, at=before)
    assert earlier["summary"]["active_alerts"] in (0, None)
    assert "High load" not in {each["name"] for each in earlier["alerts"]}


async def test_a_server_that_is_down_is_told_first_and_was_well_before(tmp_path: Path) -> None:
    with web() as site:
        line = {"endpoint": site.url, "failures": 1}
        async with serving(tmp_path, {"shop": line, "also": site.url}) as client:
            await checked(client)

            async def healthy() -> bool:
                return bool((await overview(client))["summary"]["healthy_servers"] == 2)

            await eventually(healthy, "both are healthy")
            well = (await overview(client))["timestamp"]
            site.status = 500
            await one(client, "shop")

            async def down() -> bool:
                return next(iter((await overview(client))["mcp_servers"])) == "shop"

            await eventually(down, "the shop is down")
            shop = (await overview(client))["mcp_servers"]["shop"]
            assert (shop["healthy"], shop["state"]) == (False, "unhealthy")
            assert "500" in shop["reason"]
            then = await overview(client, at=well)
            assert then["summary"]["healthy_servers"] == 2
            assert then["mcp_servers"]["shop"]["healthy"] is True


async def test_what_cannot_be_asked_is_refused_by_its_field(client: httpx.AsyncClient) -> None:
    assert (await refused(client, "system_overview", at="now+1h"))["field"] == "at"
    assert (await refused(client, "system_overview", at="yesterday"))["field"] == "at"
    error = await refused(client, "system_overview", time_range="2h")
    assert "1h, 24h, 7d, 30d" in error["message"]
    assert (await refused(client, "system_overview", details=True))["field"] == "details"


async def test_from_before_anything_is_stored_it_says_so_instead_of_zero(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        empty = await rig.call("system_overview")
        assert empty["summary"]["active_alerts"] == 0
        await tell(rig, RuleCreated(rule("High CPU")), NOW_MS - MINUTE)
        early = await rig.answer("system_overview", at="-1h")
        assert early.content["summary"] == {
            "total_mcp_servers": None,
            "healthy_servers": None,
            "active_alerts": None,
            "total_metrics": 0,
            "alerts_fired": None,
        }
        assert "2026-01-01T11:59:00Z" in early.content["why_empty"]["reason"]
        assert early.content["why_empty"]["reason"] in early.text
        cpu = early.content["system_metrics"][0]
        assert (cpu["value"], cpu["healthy"]) == (None, None)
        assert "system_cpu_usage" in cpu["reason"]


async def test_of_several_hosts_the_worst_is_shown(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        samples = [("a", 20.0), ("b", 91.25), ("c", 30.0)]
        cpu = [point("system_cpu_usage", value, host=host) for host, value in samples]
        old = point("system_memory_usage", 99, NOW_MS - 6 * MINUTE, host="a")
        position = await rig.collect([*cpu, old])
        answer = await rig.call("system_overview", min_position=position)
        shown, memory, _ = answer["system_metrics"]
        assert shown == {
            "name": "System CPU",
            "healthy": False,
            "value": 91.25,
            "unit": "percent",
            "threshold": 80,
            "host": "b",
            "hosts": 3,
        }
        assert "host" not in memory, "a sample of six minutes ago says nothing of now"
        then = await rig.call("system_overview", at="-5m")
        assert [each["value"] for each in then["system_metrics"]] == [None, 99, None]


async def tell(rig: Rig, data: Any, at_ms: int, topic: str = ALERTS) -> None:
    place = Append((Entry(topic, 0, fact(data, at_ms)),))
    position = rig.log.submit(place).result().positions[0]
    await rig.projector.wait_for({(topic, 0): position.offset})


async def crowd(rig: Rig, targets: int, rules: int) -> None:
    """Targets that are well, but for every fifth; rules, every fifth of which fires."""
    entries = []
    for number in range(targets):
        name = f"server-of-a-fleet-{number:04d}"
        url = f"https://{name}.example.org/health"
        registered = TargetRegistered(Target(name=name, kind="http", endpoint=url))
        cause, state = ("refused", "unhealthy") if number % 5 == 0 else ("ok", "healthy")
        check = HealthChecked(target=name, endpoint=url, at_ms=NOW_MS, cause=cause, latency_ms=2.5)
        turn = HealthChanged(
            target=name, before="unknown", after=state, at_ms=NOW_MS, reason="connection refused"
        )
        entries.append((ALERTS, registered))
        entries += [(HEALTH_RESULTS, each) for each in (registered, check, turn)]
    for number in range(rules):
        made = rule(f"A rule of many {number:04d}")
        entries.append((ALERTS, RuleCreated(made)))
        if number % 5 == 0:
            fired = moved(alert(made, "a"), "inactive", "firing", NOW_MS)
            entries.append((ALERTS, fired))
    many = tuple(Entry(topic, 0, fact(data, NOW_MS)) for topic, data in entries)
    positions = rig.log.submit(Append(many)).result().positions
    await rig.projector.wait_for({(each.topic, 0): each.offset for each in positions})


@pytest.mark.parametrize("details", [False, True])
async def test_a_large_fleet_makes_no_large_answer(tmp_path: Path, details: bool) -> None:
    async with open_rig(tmp_path) as rig:
        await crowd(rig, 400, 200)
        answer = await rig.answer("system_overview", include_details=details)
        content = answer.content
        assert content["summary"] == {
            "total_mcp_servers": 400,
            "healthy_servers": 320,
            "active_alerts": 40,
            "total_metrics": 0,
            "alerts_fired": 40,
        }
        size = len(json.dumps(content, ensure_ascii=False)) + len(answer.text)
        assert size / 4 <= (8_000 if details else 2_500)
        assert content["truncated"] is True
        assert "health_check" in content["hint"]
        assert "manage_alerts" in content["hint"]
        servers = list(content["mcp_servers"].values())
        assert not any(each["healthy"] for each in servers[:SERVERS_SHOWN]), "what fails is first"
        assert content["alerts"][0]["firing"] == 1
        assert len(content["alerts"]) >= 10


async def test_a_usual_answer_is_small(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await crowd(rig, 10, 8)
        answer = await rig.answer("system_overview", include_details=True)
        size = len(json.dumps(answer.content, ensure_ascii=False)) + len(answer.text)
        assert size / 4 <= 2_000
        assert answer.content["truncated"] is False
        assert "8 of 10 servers are healthy; 2 alerts fire" in answer.text


def test_the_seeds_own_answer_fits_the_schema() -> None:
    """Ours only adds to it."""
    cpu = {"name": "System CPU", "healthy": True, "value": 45.2, "unit": "percent", "threshold": 80}
    server = {"healthy": True, "response_time": 0.023, "last_check": "2024-01-01T00:00:00Z"}
    alert_001 = {"id": "alert_001", "name": "High Memory Usage", "severity": "medium"}
    seed = {
        "timestamp": "2024-01-01T00:00:00Z",
        "time_range": "24h",
        "summary": {
            "total_mcp_servers": 5,
            "healthy_servers": 5,
            "active_alerts": 2,
            "total_metrics": 1250,
        },
        "system_metrics": [cpu],
        "mcp_servers": {"task-master-mcp-server": server},
        "alerts": [{**alert_001, "enabled": True, "last_triggered": None}],
    }
    ours = {"as_of": {"time": None, "position": ""}, "truncated": False}
    jsonschema.validate(seed | ours, SPECS_BY_NAME["system_overview"].output_schema)
