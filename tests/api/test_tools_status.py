"""get_server_status tells the truth, and errors become what transports need."""

from __future__ import annotations

import asyncio

import pytest

from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.toolbox import READS_AT_ONCE, READS_WAITING_MAX
from streams.errors import (
    InputError,
    LogUnavailable,
    NotCaughtUp,
    Overloaded,
    ProjectionDamaged,
    QueryTooExpensive,
    RequestConflict,
    TooLarge,
)
from streams.events.alerting import NotificationFailed
from streams.events.rules import RuleCreated
from tests.api.tools_rig import NOW_MS, open_rig, point
from tests.projections.alert_making import alert, moved, requested, rule, tell, told


async def test_the_answer_has_the_contracts_fields(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("a", 1), point("b", 2)])
        answer = await rig.answer("get_server_status")
    content = answer.content
    assert content["server_name"] == "logfire-mcp"
    assert content["status"] == "healthy"
    assert content["problems"] == []
    assert content["uptime"] == 0
    assert content["timestamp"] == "2026-01-01T12:00:00Z"
    assert content["components"] == {
        "database": "connected",
        "redis": "not_configured",
        "influxdb": "not_configured",
        "prometheus": "connected",
        "logfire": "not_configured",
        "otlp": "not_configured",
        "kafka": "not_configured",
    }
    assert content["metrics"]["total_metrics_stored"] == 2
    assert content["metrics"]["active_alerts"] == 0
    assert content["metrics"]["health_checks"] == 0
    assert set(content["lag"]) == {"duckdb", "windows"}
    assert content["system_info"]["pid"] > 0
    assert content["as_of"]["position"]
    assert "healthy" in answer.text


async def test_active_alerts_are_those_that_fire_not_the_rules(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        cpu = rule()
        tell(rig.log, RuleCreated(cpu))
        tell(rig.log, moved(alert(cpu, "a"), "inactive", "pending", NOW_MS))
        tell(rig.log, moved(alert(cpu, "b"), "inactive", "firing", NOW_MS))
        tell(rig.log, moved(alert(cpu, "b"), "firing", "no_data", NOW_MS))
        for id_ in ("1", "2", "3"):
            tell(rig.log, requested(id_, "ops", alert(cpu, "b")))
        tell(rig.log, NotificationFailed("1", "ops", 1, NOW_MS, "away", NOW_MS + 1))
        tell(rig.log, NotificationFailed("2", "ops", 1, NOW_MS, "gone"))
        await told(rig.projector, rig.log)
        metrics = (await rig.call("get_server_status"))["metrics"]
    assert metrics["active_alerts"] == 1
    assert (metrics["pending_alerts"], metrics["alert_rules"]) == (1, 1)
    assert (metrics["notifications_outstanding"], metrics["notifications_failed"]) == (2, 1)


async def test_a_read_side_that_does_not_work_is_told_rather_than_hidden(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("a", 1)])
    async with open_rig(tmp_path, project=False) as rig:
        answer = await rig.answer("get_server_status")
    content = answer.content
    assert content["status"] == "degraded"
    assert content["components"]["database"].startswith("error: ")
    assert content["metrics"]["total_metrics_stored"] is None
    assert content["metrics"]["active_alerts"] is None
    assert "Problem: database" in answer.text


async def test_more_reads_than_may_wait_are_refused_and_the_others_answered(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("a", 1)])
        asked = [rig.call("query_metrics", metric_name="a") for _ in range(100)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        again = await rig.call("query_metrics", metric_name="a")
    assert len(refused) == 100 - READS_AT_ONCE - READS_WAITING_MAX
    assert all(error.status == 503 for error in refused)
    assert all(isinstance(answer, dict | Overloaded) for answer in answers)
    assert again["results"]


async def test_it_takes_no_arguments(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InputError, match="it takes none"):
            await rig.call("get_server_status", verbose=True)


@pytest.mark.parametrize(
    ("error", "status", "headers", "content"),
    [
        (InputError("x is bad", field="x"), 400, {}, {"message": "x is bad", "field": "x"}),
        (InputError("bad"), 400, {}, {"message": "bad"}),
        (RequestConflict("key"), 409, {}, {"message": "key"}),
        (TooLarge("much"), 413, {}, {"message": "much"}),
        (
            Overloaded("full", retry_after_s=3),
            429,
            {"Retry-After": "3"},
            {"message": "full", "retry_after_s": 3},
        ),
        (
            NotCaughtUp("behind"),
            503,
            {"Retry-After": "1"},
            {"message": "behind", "retry_after_s": 1},
        ),
        (QueryTooExpensive("slow"), 422, {}, {"message": "slow"}),
        (
            LogUnavailable("disk"),
            503,
            {"Retry-After": "5"},
            {"message": "disk", "retry_after_s": 5},
        ),
        (
            ProjectionDamaged("file"),
            503,
            {"Retry-After": "5"},
            {"message": "file", "retry_after_s": 5},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_has_a_status_and_one_sentence(error, status, headers, content) -> None:
    assert http_status(error) == (status, headers)
    assert error_content(error) == {"error": content}


def test_an_error_that_is_not_ours_tells_nothing() -> None:
    error = KeyError("/secret/path")
    assert http_status(error) == (500, {})
    assert "secret" not in error_content(error)["error"]["message"]
