"""Tools, pages and streams over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from mcp_api.admin_routes import Progress, one_at_a_time
from mcp_api.asgi import Message
from mcp_api.caller import Caller
from mcp_api.server import Server
from projections.rebuild import Rebuilt
from tests.api.asgi_calls import answer_of, call, scope_of
from tests.api.processes import quick_settings


def points(count: int, name: str = "cpu_usage") -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "value": i,
            "metric_type": "gauge",
            "tags": {"host": f"h{i % 4}", "i": f"{i}"},
        }
        for i in range(count)
    ]


async def tool(client: httpx.AsyncClient, tool: str, /, **arguments: Any) -> httpx.Response:
    return await client.post("/logfire-mcp", json={"tool": tool, "arguments": arguments})


async def test_the_seeds_two_calls_answer_in_the_contracts_shape(client: httpx.AsyncClient) -> None:
    status = (await tool(client, "get_server_status")).json()
    assert status["server_name"] == "logfire-mcp"
    assert status["status"] == "healthy"
    collected = await tool(
        client,
        "collect_metrics",
        source="health_check",
        metrics=[{"name": "test_metric", "value": 1, "metric_type": "gauge"}],
    )
    assert collected.status_code == 200
    answer = collected.json()
    assert (answer["status"], answer["collected_count"], answer["source"]) == (
        "success",
        1,
        "health_check",
    )
    assert answer["position"].startswith("metrics.points/0@")


async def test_what_was_written_is_read_at_its_position(client: httpx.AsyncClient) -> None:
    written = (await tool(client, "collect_metrics", source="app", metrics=points(1_000))).json()
    read = await tool(
        client,
        "query_metrics",
        metric_name="cpu_usage",
        aggregation="count",
        group_by=["host"],
        min_position=written["position"],
    )
    assert {row["tags"]["host"]: row["count"] for row in read.json()["results"]} == {
        f"h{i}": 250 for i in range(4)
    }


async def test_bad_points_are_refused_one_by_one(client: httpx.AsyncClient) -> None:
    metrics = [*points(2), {"name": "", "value": 1, "metric_type": "gauge"}]
    answer = await tool(client, "collect_metrics", source="app", metrics=metrics)
    assert answer.status_code == 200
    assert answer.json()["collected_count"] == 2
    assert [one["index"] for one in answer.json()["rejected"]] == [2]


async def test_only_bad_points_are_a_400_with_the_reason(client: httpx.AsyncClient) -> None:
    metrics = [{"name": "x", "value": "many", "metric_type": "gauge"}]
    answer = await tool(client, "collect_metrics", source="app", metrics=metrics)
    assert answer.status_code == 400
    assert "many" in answer.json()["error"]["message"]


async def test_a_retry_with_the_same_key_counts_once(client: httpx.AsyncClient) -> None:
    body = {"tool": "collect_metrics", "arguments": {"source": "a", "metrics": points(10)}}
    headers = {"idempotency-key": "one"}
    first = (await client.post("/logfire-mcp", json=body, headers=headers)).json()
    again = (await client.post("/logfire-mcp", json=body, headers=headers)).json()
    assert again["duplicate"] is True
    assert again["position"] == first["position"]
    body["arguments"]["metrics"] = points(11)  # type: ignore[index]
    other = await client.post("/logfire-mcp", json=body, headers=headers)
    assert other.status_code == 409


async def test_a_large_body_is_parsed_beside_the_event_loop(client: httpx.AsyncClient) -> None:
    many = points(20_000)
    asked = asyncio.create_task(tool(client, "collect_metrics", source="app", metrics=many))
    assert (await client.get("/health")).status_code == 200
    assert (await asked).json()["collected_count"] == 20_000


METHODS = [
    ("GET", "/health", 200),
    ("GET", "/health/", 200),
    ("HEAD", "/health", 200),
    ("GET", "/ready", 200),
    ("GET", "/", 200),
    ("GET", "/metrics", 200),
    ("GET", "/nowhere", 404),
    ("GET", "/logfire-mcp", 405),
    ("DELETE", "/logfire-mcp", 405),
    ("OPTIONS", "/logfire-mcp", 405),
    ("GET", "/mcp", 405),
    ("DELETE", "/mcp", 405),
    ("POST", "/health", 405),
    ("PUT", "/export", 405),
]


async def test_each_route_takes_its_methods(client: httpx.AsyncClient) -> None:
    for method, path, status in METHODS:
        answer = await client.request(method, path)
        assert answer.status_code == status, (method, path)
        if status == 404:
            assert "POST /logfire-mcp" in answer.json()["error"]["message"]
        if status == 405:
            assert answer.headers["allow"]


async def test_the_index_says_where_to_look(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    text = (await client.get("/")).text
    assert f"{running_server.url}/mcp" in text
    assert "/logfire-mcp" in text


async def test_our_own_metrics_pass_promtool(
    client: httpx.AsyncClient, requires: Callable[[str], str]
) -> None:
    await tool(client, "collect_metrics", source="app", metrics=points(5))
    await tool(client, "nonsense")
    await client.get("/nowhere")
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    for line in (
        'logfire_mcp_points_total{outcome="accepted"} 5.0',
        'logfire_mcp_tool_calls_total{outcome="ok",tool="collect_metrics"} 1.0',
        'logfire_mcp_http_requests_total{method="GET",route="none",status="404"} 1.0',
        "logfire_mcp_edge_points_in_flight 0.0",
        "logfire_mcp_alerts_firing 0.0",
        'logfire_mcp_alerts{state="pending"} 0.0',
        'logfire_mcp_notifications{outcome="failed"} 0.0',
        'logfire_mcp_processor_lag_records{partition="0",processor="windows"}',
        'logfire_mcp_projection_lag_seconds{projection="duckdb"}',
        "process_resident_memory_bytes",
    ):
        assert line in page.text
    checked = await asyncio.create_subprocess_exec(
        requires("promtool"), "check", "metrics", stdin=-1, stdout=-1, stderr=-1
    )
    out, err = await checked.communicate(page.content)
    assert checked.returncode == 0, out + err


async def test_an_export_streams_every_format(client: httpx.AsyncClient) -> None:
    written = (await tool(client, "collect_metrics", source="app", metrics=points(3_000))).json()
    asked = {"metric_names": "cpu_usage", "min_position": written["position"]}
    answers = {
        name: await client.get("/export", params={"format": name, **asked})
        for name in ("json", "csv", "prometheus", "influx", "parquet")
    }
    for answer in answers.values():
        assert answer.status_code == 200
        assert answer.headers["x-row-count"] == "3000"
        assert "attachment" in answer.headers["content-disposition"]
    assert len(answers["json"].json()) == 3_000
    assert len(answers["csv"].text.splitlines()) == 3_001
    assert len(answers["influx"].text.splitlines()) == 3_000
    assert answers["parquet"].content[:4] == b"PAR1"


async def test_the_link_of_an_export_that_is_too_large_leads_to_it(
    client: httpx.AsyncClient,
) -> None:
    written = (await tool(client, "collect_metrics", source="app", metrics=points(3_000))).json()
    told = (await tool(client, "export_metrics", min_position=written["position"])).json()
    assert "content" not in told
    assert len((await client.get(told["url"])).json()) == 3_000


NO_EXPORTS = [
    ("format=xml", "format"),
    ("nonsense=1", "nonsense"),
    ("tags=[", "tags"),
    ("start_time=yesterday", "start_time"),
    ("min_position=x", "min_position"),
    ("format=%FF", "UTF-8"),
    ("&".join(f"metric_names=m{i}" for i in range(400)), "256"),
]


async def test_an_export_that_makes_no_sense_is_refused(client: httpx.AsyncClient) -> None:
    for query, word in NO_EXPORTS:
        answer = await client.get(f"/export?{query}")
        assert answer.status_code == 400
        assert word in answer.json()["error"]["message"]


async def _lines(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await client.post(path)
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_rebuild_while_serving_changes_nothing(client: httpx.AsyncClient) -> None:
    written = (await tool(client, "collect_metrics", source="app", metrics=points(500))).json()
    asked = {"metric_name": "cpu_usage", "min_position": written["position"]}
    before = (await tool(client, "query_metrics", **asked)).json()["results"][0]
    done = (await _lines(client, "/admin/rebuild"))[-1]
    assert done["event"] == "done"
    assert done["points"] == 500
    after = (await tool(client, "query_metrics", **asked)).json()["results"][0]
    assert (after["value"], after["count"]) == (before["value"], before["count"])


async def test_verify_tells_hashes_and_their_positions(client: httpx.AsyncClient) -> None:
    written = (await tool(client, "collect_metrics", source="app", metrics=points(7))).json()
    await tool(client, "query_metrics", metric_name="x", min_position=written["position"])
    done = (await _lines(client, "/admin/verify"))[-1]
    assert done["event"] == "done"
    assert done["tables"]["points"][0] == 7


async def test_one_work_at_a_time_also_when_its_caller_has_left() -> None:
    leave, threads = threading.Event(), set[str]()

    def work(progress: Progress) -> Mapping[str, Any]:
        threads.add(threading.current_thread().name)
        progress(Rebuilt(1, 2, 1, 0.5))
        assert leave.wait(60)
        return {"tables": 3}

    route = one_at_a_time("verify", work)
    told = asyncio.Event()
    received: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await route({**scope, "caller": Caller("local", "http:127.0.0.1")}, receive, send)

    async def send(message: Message) -> None:
        received.append(message)
        if b"progress" in message.get("body", b""):
            told.set()

    first = asyncio.create_task(app(scope_of("POST", "/admin/verify"), None, send))
    await told.wait()
    refused = await call(app, "POST", "/admin/verify")
    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    assert "verify is running already" in refused.error
    leave.set()
    await first
    assert b'"done","tables":3' in answer_of(received).body

    leave.clear()
    told.clear()
    left = asyncio.create_task(app(scope_of("POST", "/admin/verify"), None, send))
    await told.wait()
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert (await call(app, "POST", "/admin/verify")).status == 503, "its work goes on"
    leave.set()
    while (again := await call(app, "POST", "/admin/verify")).status == 503:
        await asyncio.sleep(0)
    assert json.loads(again.body.splitlines()[-1])["event"] == "done"
    assert threads == {"verify_0"}, "none of the shared ones"


async def test_many_verifies_at_once_are_done_or_refused(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/admin/verify") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    done = [answer for answer in answers if answer.status_code == 200]
    assert done
    assert all('"done"' in answer.text for answer in done)
    assert (await client.post("/admin/verify/")).status_code == 200, "a slot comes back"


async def test_with_a_token_everything_but_health_and_ready_asks_for_it(tmp_path: Path) -> None:
    async with (
        Server(quick_settings(tmp_path, token="s3cret")) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await server.until_ready()
        open_paths = [await client.get(path) for path in ("/health", "/ready")]
        assert [answer.status_code for answer in open_paths] == [200, 200]
        for method, path in (("GET", "/metrics"), ("POST", "/admin/rebuild"), ("POST", "/mcp")):
            assert (await client.request(method, path)).status_code == 401
        client.headers["authorization"] = "Bearer s3cret"
        assert (await client.get("/metrics")).status_code == 200
        assert (await _lines(client, "/admin/rebuild"))[-1]["event"] == "done"


async def test_a_clean_stop_answers_what_was_asked_and_keeps_it(tmp_path: Path) -> None:
    async with (
        Server(quick_settings(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await tool(client, "collect_metrics", source="app", metrics=points(100))
        assert (tmp_path / "server.json").exists()
    assert not (tmp_path / "server.json").exists()
    async with (
        Server(quick_settings(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        asked = {"metric_name": "cpu_usage", "min_position": answer.json()["position"]}
        read = (await tool(client, "query_metrics", **asked)).json()
    assert read["results"][0]["count"] == 100
