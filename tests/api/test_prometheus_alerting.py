"""`/api/v1/rules` and `/api/v1/alerts` answer in the shapes that Prometheus documents.

https://prometheus.io/docs/prometheus/latest/querying/api/#rules
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mcp_api.prometheus_api.route import PrometheusApi
from projections.projector import Projector
from streams.events.alerting import RuleEvaluationFailed
from streams.events.codec import iso_time
from streams.events.rules import RuleCreated
from streams.events.topics import ALERTS
from tests.projections.alert_making import alert, moved, rule, tell
from tests.projections.making import BEGIN_MS, open_log

T = BEGIN_MS
NEVER = "0001-01-01T00:00:00Z"
CPU = rule(
    "High CPU",
    severity="high",
    for_ms=90_000,
    keep_firing_for_ms=500,
    labels={"team": "core"},
    annotations={"summary": "{{ $labels.host }}"},
    description="It is busy.",
)
QUIET = rule("Quiet", condition="up == 0")
OFF = rule("Off", enabled=False)
RECORDED = rule("Load", record="load:avg", condition="avg(load)", labels={"of": "all"})


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    log = open_log(tmp_path)
    for one in (CPU, QUIET, OFF, RECORDED):
        tell(log, RuleCreated(one), T)
    tell(log, RuleEvaluationFailed(RECORDED.id, 1, RECORDED.name, T, "too many series"))
    fired = moved(
        alert(CPU, "a", active_ms=T),
        "inactive",
        "firing",
        T + 5,
        annotations={"summary": "a"},
    )
    tell(log, fired)
    tell(log, moved(alert(CPU, "b", active_ms=T), "inactive", "firing", T + 5))
    kept = alert(CPU, "b", active_ms=T, value="-Inf")
    tell(log, moved(kept, "firing", "recovering", T + 6))
    tell(log, moved(alert(CPU, "c", active_ms=T + 7), "inactive", "pending", T + 7))
    lost = msgspec.structs.replace(alert(CPU, "a", active_ms=T), value=None)
    tell(log, moved(lost, "firing", "no_data", T + 8))
    projector = Projector(log, tmp_path / "projection.duckdb")
    projector.start()
    await projector.wait_for({(ALERTS, 0): log.ends()[ALERTS, 0] - 1}, 20.0)
    api = PrometheusApi(projector, call_s=20.0)
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    api.close()
    projector.stop(20.0)
    log.close()


async def got(client: httpx.AsyncClient, path: str, **asked: str) -> Any:
    answer = await client.get(f"/api/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "success"
    return answer.json()["data"]


async def told(client: httpx.AsyncClient, **asked: str) -> list[str]:
    groups = (await got(client, "rules", **asked))["groups"]
    return [one["name"] for group in groups for one in group["rules"]]


async def test_alerts_that_have_fired_fire_until_they_are_resolved(
    client: httpx.AsyncClient,
) -> None:
    labels = {"alertname": "High CPU"}
    assert await got(client, "alerts") == {
        "alerts": [
            {
                "labels": labels | {"host": "a"},
                "annotations": {},
                "state": "firing",
                "activeAt": iso_time(T),
                "value": "NaN",
            },
            {
                "labels": labels | {"host": "b"},
                "annotations": {},
                "state": "firing",
                "activeAt": iso_time(T),
                "keepFiringSince": iso_time(T + 6),
                "value": "-Inf",
            },
            {
                "labels": labels | {"host": "c"},
                "annotations": {},
                "state": "pending",
                "activeAt": iso_time(T + 7),
                "value": "9.15e+01",
            },
        ]
    }


async def test_rules_are_one_group_with_their_alerts(client: httpx.AsyncClient) -> None:
    [group] = (await got(client, "rules"))["groups"]
    cpu, load, quiet = group.pop("rules")
    assert group == {
        "name": "rules",
        "file": "alerts.events",
        "interval": 0,
        "limit": 0,
        "evaluationTime": 0,
        "lastEvaluation": NEVER,
    }
    assert cpu.pop("alerts") == (await got(client, "alerts"))["alerts"]
    health = {"health": "ok", "evaluationTime": 0, "lastEvaluation": NEVER}
    assert cpu == {
        "state": "firing",
        "name": "High CPU",
        "query": "cpu_usage > 80",
        "duration": 90,
        "keepFiringFor": 0.5,
        "labels": {"severity": "high", "team": "core"},
        "annotations": {"description": "It is busy.", "summary": "{{ $labels.host }}"},
        "type": "alerting",
        **health,
    }
    assert (quiet["state"], quiet["alerts"]) == ("inactive", [])
    assert load == {
        "name": "load:avg",
        "query": "avg(load)",
        "labels": {"of": "all"},
        "type": "recording",
        **health,
        "health": "err",
        "lastError": "too many series",
    }


async def test_rules_are_filtered_as_dashboards_filter_them(client: httpx.AsyncClient) -> None:
    assert await told(client) == ["High CPU", "load:avg", "Quiet"]
    assert await told(client, type="alert") == ["High CPU", "Quiet"]
    assert await told(client, type="record") == ["load:avg"]
    assert await told(client, **{"rule_name[]": "Quiet"}) == ["Quiet"]
    assert await told(client, **{"rule_name[]": "Off"}) == []
    assert await told(client, **{"rule_group[]": "rules", "file[]": "alerts.events"}) != []
    assert await told(client, **{"rule_group[]": "others"}) == []
    [group] = (await got(client, "rules", exclude_alerts="true"))["groups"]
    assert [one.get("alerts", []) for one in group["rules"]] == [[], [], []]
    assert group["rules"][0]["state"] == "firing"


async def test_rules_are_selected_by_their_own_labels(client: httpx.AsyncClient) -> None:
    assert await told(client, **{"match[]": '{team="core"}'}) == ["High CPU"]
    assert await told(client, **{"match[]": '{severity=~"hi.*", team!=""}'}) == ["High CPU"]
    assert await told(client, **{"match[]": '{team!~".+", of="all"}'}) == ["load:avg"]
    assert await told(client, **{"match[]": '{team="others"}'}) == []
    answer = await client.get("/api/v1/rules?match[]={team='core'}&match[]={of='all'}")
    [group] = answer.json()["data"]["groups"]
    assert [one["name"] for one in group["rules"]] == ["High CPU", "load:avg"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "all"),
        ("match[]", "{team=core}"),
        ("match[]", '{team=~"("}'),
        ("match[]", "rate(up[5m])"),
        ("exclude_alerts", "maybe"),
    ],
)
async def test_what_cannot_be_filtered_by_is_refused(
    client: httpx.AsyncClient, name: str, value: str
) -> None:
    answer = await client.get("/api/v1/rules", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
    assert name in answer.json()["error"]
