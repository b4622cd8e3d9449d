"""GET /admin/snapshot: a backup of the embedded server's database, and who may have it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import httpx
import pytest

from mcp_api.caller import Admission
from mcp_api.guard import Guard, GuardLimits
from mcp_api.server import Server
from mcp_api.snapshot_fetch import fetch_snapshot
from mcp_api.snapshot_route import snapshot_route
from mcp_api.tools.positions import parse_position
from projections.snapshot import check_snapshot
from streams.errors import ProjectionError
from streams.events.topics import POINTS
from tests.api.asgi_calls import call
from tests.api.processes import quick_settings

METRICS = [
    {"name": "m", "value": i, "metric_type": "gauge", "tags": {"i": str(i)}} for i in range(100)
]


async def fill(server: Server) -> str:
    arguments = {"source": "s", "metrics": METRICS}
    answer = await server.calls.call("collect_metrics", arguments, actor="test")
    position = answer.content["position"]
    assert isinstance(position, str)
    await server.projector.wait_for(parse_position(position))
    return position


async def test_a_backup_is_whole_and_says_what_it_has(
    running_server: Server, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    position = await fill(running_server)
    answer = await client.get("/admin/snapshot")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "logfire_mcp.duckdb" in answer.headers["content-disposition"]
    backup = tmp_path / "backup.duckdb"
    backup.write_bytes(answer.content)
    positions = check_snapshot(backup, running_server.log)
    for place, offset in parse_position(position).items():
        assert positions[place] > offset
        assert parse_position(answer.headers["x-position"])[place] >= offset
    with duckdb.connect(str(backup), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM samples").fetchall() == [(100,)]
    assert not list(running_server.settings.data_dir.glob("*.copy-*")), "nothing is left"


async def test_several_at_once_are_made_one_after_the_other(
    running_server: Server, tmp_path: Path
) -> None:
    await fill(running_server)
    async with httpx.AsyncClient(base_url=running_server.url, timeout=60) as client:
        answers = await asyncio.gather(*(client.get("/admin/snapshot") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert answers[0].status_code == 200
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0


async def test_only_this_machine_or_the_token_may_have_it(running_server: Server) -> None:
    route = snapshot_route(running_server.projector, Path("/nowhere"))
    admission = Admission.of(
        listen_host="0.0.0.0", allowed_hosts=("localhost",), allowed_origins=(), token=None
    )
    guard = Guard(route, admission, GuardLimits(), lambda *_: None)
    answer = await call(guard, "GET", "/admin/snapshot", peer="192.0.2.1")
    assert answer.status == 403
    assert "token" in answer.error


async def test_a_client_that_leaves_frees_the_route(running_server: Server) -> None:
    await fill(running_server)
    async with httpx.AsyncClient(base_url=running_server.url, timeout=60) as client:
        for _ in range(3):
            async with client.stream("GET", "/admin/snapshot") as answer:
                assert answer.status_code in {200, 503}
        async with asyncio.timeout(30):
            while (await client.get("/admin/snapshot")).status_code != 200:
                pass


async def test_where_no_copy_can_be_made_the_answer_is_503(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    running_server.projector.stop()
    answer = await client.get("/admin/snapshot")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"]


async def test_a_fetched_snapshot_is_the_database(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    async with Server(quick_settings(tmp_path / "a", token="secret")) as server:
        await server.until_ready()
        await fill(server)
        target = tmp_path / "fetched.duckdb"

        def fetch(token: str | None) -> None:
            fetch_snapshot(server.url, token, target, lambda *step: told.append(step))

        with pytest.raises(ProjectionError, match="answered 401"):
            await asyncio.to_thread(fetch, None)
        assert not target.exists()
        await asyncio.to_thread(fetch, "secret")
        taken, now = check_snapshot(target, server.log), server.projector.positions()
        assert taken.keys() == now.keys()
        assert 0 < taken[POINTS, 0] <= now[POINTS, 0]
    assert told[-1][0] == told[-1][1] == target.stat().st_size
    with pytest.raises(ProjectionError, match="gave no snapshot"):
        fetch_snapshot(server.url, "secret", tmp_path / "other", lambda *_: None)
