"""health_check against a whole server: targets, endpoints, heartbeats, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from mcp_api.server import Server
from streams.events.codec import decode
from streams.events.health import HealthChecked
from streams.events.topics import HEALTH_RESULTS
from streams.log.opening import open_log
from tests.api.kafka_nodes import eventually
from tests.api.processes import quick_settings
from tests.api.test_alert_tools import refused, tool
from tests.flow.alert_ledger import records
from tests.probes import test_probes_mcp as replies
from tests.probes.answering import answering, mcp

HERE = "127.0.0.0/8"


class Web(ThreadingHTTPServer):
    """Answers with ``status``. ``failures``: answers of 500."""

    status = 200
    failures = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/health"


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Web)
        self.server.failures += self.server.status == 500
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def web() -> Iterator[Web]:
    server = Web(("127.0.0.1", 0), _Answering)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def serving(
    folder: Path, targets: dict[str, Any], **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Returns when the targets are registered."""
    folder.mkdir(exist_ok=True)
    file = folder / "targets.json"
    file.write_text(json.dumps({"targets": targets}))
    async with Server(quick_settings(folder, health_targets=file, **more)) as server:
        await server.until_ready()
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:

            async def registered() -> bool:
                names = {check["name"] for check in (await checked(client))["health_checks"]}
                return {name for name in names if "System" not in name} == set(targets)

            if not more.get("default_targets"):
                await eventually(registered, "the targets are registered")
            yield client


async def checked(client: httpx.AsyncClient, **arguments: Any) -> dict[str, Any]:
    return await tool(client, "health_check", **arguments)


async def one(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    [check] = (await checked(client, target=name))["health_checks"]
    assert isinstance(check, dict)
    return check


async def test_a_configured_target_is_checked_now_and_turns_at_its_threshold(
    tmp_path: Path,
) -> None:
    with web() as site:
        line = {"endpoint": site.url, "interval": "60s", "failures": 2}
        async with serving(tmp_path, {"shop": line}) as client:
            check = await one(client, "shop")
            assert (check["healthy"], check["state"], check["status_code"]) == (
                True,
                "healthy",
                200,
            )
            assert check["endpoint"] == site.url
            assert 0 < check["response_time"] < 60
            site.status = 500
            check = await one(client, "shop")
            # One failure is none; but a check that was asked for before may have been the second.
            assert check["state"] == "healthy" or site.failures > 1
            check = await one(client, "shop")
            assert (check["healthy"], check["state"], check["status_code"]) == (
                False,
                "unhealthy",
                500,
            )
            answer = await checked(client)
            assert answer["overall_healthy"] is False
            names = [each["name"] for each in answer["health_checks"]]
            assert names == ["System CPU", "System Memory", "System Disk", "shop"]


async def test_tools_that_changed_while_the_server_was_away_are_told_after_its_start(
    tmp_path: Path,
) -> None:
    tools = [replies.tool("one")]

    def reply(message: dict[str, Any]) -> object:
        discovers = message["method"] == "server/discover"
        return replies.DISCOVERED if discovers else replies.listed(*tools)

    async with answering({"/mcp": mcp(reply, [])}) as server:
        line = {"endpoint": server.url("/mcp"), "kind": "mcp", "interval": "60s"}
        async with serving(tmp_path, {"search": line}) as client:
            before = (await one(client, "search"))["mcp"]
        tools.append(replies.tool("two"))
        async with serving(tmp_path, {"search": line}) as client:
            after = (await one(client, "search"))["mcp"]
    assert (before["tools"], after["tools"]) == (1, 2)
    with closing(open_log(quick_settings(tmp_path))) as log:
        told = [
            decode(record.headers, record.body).data
            for number in range(log.partitions(HEALTH_RESULTS))
            for record in records(log, HEALTH_RESULTS, number)
        ]
    changed = [
        each.mcp
        for each in told
        if isinstance(each, HealthChecked) and each.mcp and each.mcp.tools_hash_before
    ]
    assert [(each.tools_hash_before, each.tools_hash) for each in changed] == [
        (before["tools_hash"], after["tools_hash"])
    ]


async def test_health_is_a_metric_like_all_others(tmp_path: Path) -> None:
    with web() as site:
        async with serving(tmp_path, {"shop": {"endpoint": site.url}}) as client:
            await one(client, "shop")

            async def measured() -> bool:
                answer = await tool(
                    client, "query_metrics", promql='mcp_server_health{server="shop"}'
                )
                return bool([each["value"] for each in answer["results"]] == [1])

            await eventually(measured, "mcp_server_health is 1")
            status = await tool(client, "get_server_status")
            assert status["metrics"]["health_checks"] > 0


async def test_default_targets_that_were_never_reached_are_nobodys_failure(tmp_path: Path) -> None:
    async with serving(tmp_path, {}, default_targets=True) as client:

        async def told() -> bool:
            found = {each["name"]: each for each in (await checked(client))["health_checks"]}
            defaults = [each for name, each in found.items() if "System" not in name]
            assert all(each["state"] == "unknown" for each in defaults)
            assert all(each["healthy"] is False for each in defaults)
            return len(defaults) == 5 and all(
                "never reached" in each["reason"] for each in defaults
            )

        await eventually(told, "the five default targets are known")


async def test_endpoints_that_the_caller_names_are_no_way_into_the_network(tmp_path: Path) -> None:
    with web() as site:
        async with serving(tmp_path / "closed", {}) as client:
            answer = await checked(client, endpoints=[site.url])
            [check] = answer["health_checks"]
            assert (check["name"], check["healthy"]) == (site.url, False)
            assert check["status_code"] is None
            assert "private" in check["reason"]
            assert answer["target"] == "endpoints"
        async with serving(tmp_path / "open", {}, health_allowed_networks=HERE) as client:
            [check] = (await checked(client, endpoints=[site.url]))["health_checks"]
            assert (check["healthy"], check["status_code"]) == (True, 200)


async def test_a_heartbeat_that_comes_is_healthy(tmp_path: Path) -> None:
    targets = {"job": {"kind": "heartbeat"}, "100%41": {"kind": "heartbeat"}}
    async with serving(tmp_path, targets) as client:
        assert (await client.post("/api/v1/heartbeat/other")).status_code == 404
        assert (await client.post("/api/v1/heartbeat/100%2541")).status_code == 200
        assert (await client.get("/api/v1/heartbeat/job")).status_code == 405
        answer = await client.post("/api/v1/heartbeat/job")
        assert answer.status_code == 200
        assert answer.json()["position"].startswith("health.results/0@")

        async def healthy() -> bool:
            return bool((await one(client, "job"))["state"] == "healthy")

        await eventually(healthy, "the heartbeat counts")


async def test_what_left_the_configuration_is_removed(tmp_path: Path) -> None:
    with web() as site:
        async with serving(tmp_path, {"shop": site.url, "cart": site.url}):
            pass
        async with serving(tmp_path, {"cart": site.url}) as client:
            answer = await refused(client, "health_check", target="shop")
            assert "there is no target 'shop'" in answer["message"]


async def test_what_cannot_be_asked_is_refused_by_its_field(client: httpx.AsyncClient) -> None:
    assert "cpu" in (await refused(client, "health_check", target="cpu"))["message"]
    error = await refused(client, "health_check", endpoints=["file:///etc/passwd"])
    assert "http" in error["message"]
    system = await checked(client, target="system")
    assert [check["threshold"] for check in system["health_checks"]] == [80, 85, 90]
