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
from tests.api.tools_rig import open_rig, point


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
        "kafka": "not_configured",
    }
    assert content["metrics"]["total_metrics_stored"] == 2
    assert content["metrics"]["active_alerts"] == 0
    assert content["metrics"]["health_checks"] == 0
    assert set(content["lag"]) == {"duckdb", "windows"}
    assert content["system_info"]["pid"] > 0
    assert content["as_of"]["position"]
    assert "healthy" in answer.text


async def test_what_is_configured_but_not_used_is_not_called_connected(tmp_path) -> None:
    async with open_rig(tmp_path, REDIS_URL="redis://localhost:6379/0") as rig:
        components = (await rig.call("get_server_status"))["components"]
    assert components["redis"] == "configured, but not used by this version"


async def test_a_read_side_that_does_not_work_is_told_rather_than_hidden(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("a", 1)])
    async with open_rig(tmp_path, project=False) as rig:
        answer = await rig.answer("get_server_status")
    content = answer.content
    assert content["status"] == "degraded"
    assert content["components"]["database"].startswith("error: ")
    assert content["metrics"]["total_metrics_stored"] is None
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
