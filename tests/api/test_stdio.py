"""MCP over stdio: one process of several owns the data directory, whichever leaves first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, Implementation, TextContent

from mcp_api.caller import client_header, header_client, mcp_client
from mcp_api.discovery import announced, find
from mcp_api.replay_lines import tail_line
from mcp_api.server import Server
from mcp_api.stdio import RemoteToolbox, _Gone
from streams.events.topics import POINTS
from streams.log.sqlite_log import SqliteLog
from tests.api.processes import ROOT, environment, quick_settings, run, serving

Call = Callable[..., Awaitable[CallToolResult]]

POINT = {"name": "load", "value": 1, "metric_type": "gauge"}


def program(data_dir: Path, **more: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_api", "mcp", "--data-dir", str(data_dir)],
        cwd=ROOT,
        env=environment(**more),
    )


class Stdio:
    """A client with a server process of its own, in a task of its own (its scopes need that)."""

    def __init__(self, data_dir: Path, mode: str = "auto", **more: str) -> None:
        self._parameters = program(data_dir, **more)
        self._mode = mode
        self._asked: asyncio.Queue[tuple[str, dict[str, Any], asyncio.Future[Any]] | None]
        self._asked = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    async def call(self, tool: str, /, **arguments: Any) -> CallToolResult:
        answer: asyncio.Future[CallToolResult] = asyncio.get_running_loop().create_future()
        await self._asked.put((tool, arguments, answer))
        done, _ = await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer not in done:
            await self._task
        return answer.result()

    async def leave(self) -> None:
        await self._asked.put(None)
        await self._task

    async def _run(self) -> None:
        me = Implementation(name=f"stdio-{self._mode}", version="1")
        transport = stdio_client(self._parameters)
        async with Client(transport, mode=self._mode, client_info=me) as client:
            while asked := await self._asked.get():
                tool, arguments, answer = asked
                answer.set_result(await client.call_tool(tool, arguments))


@asynccontextmanager
async def client(data_dir: Path, mode: str = "auto", **more: str) -> AsyncIterator[Stdio]:
    one = Stdio(data_dir, mode, **more)
    try:
        yield one
    finally:
        await one.leave()


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


async def collected(one: Stdio, value: float) -> str:
    point = {**POINT, "value": value, "tags": {"value": f"{value}"}}
    result = await one.call("collect_metrics", source="s", metrics=[point])
    assert not result.is_error, text_of(result)
    position = result.structured_content["position"]
    assert isinstance(position, str)
    return position


async def counted(one: Stdio, position: str) -> int:
    result = await one.call(
        "query_metrics", metric_name="load", aggregation="count", min_position=position
    )
    count = result.structured_content["results"][0]["count"]
    assert isinstance(count, int)
    return count


def actors(data_dir: Path) -> set[str]:
    log = SqliteLog.open(data_dir / "logfire_mcp.db", read_only=True)
    try:
        records = log.read_now(POINTS, 0, 0)
        assert all(tail_line(record) for record in records)
        collected = [r for r in records if r.headers["ce_type"] == "metrics.collected.v1"]
        return {record.headers["ce_actor"] for record in collected}
    finally:
        log.close()


async def test_two_clients_share_one_directory_and_either_may_leave_first(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = Stdio(tmp_path, "legacy")
        await collected(first, 1)
        owner = announced(tmp_path)
        second = await stack.enter_async_context(client(tmp_path, "auto"))
        assert await counted(second, await collected(second, 2)) == 2
        assert announced(tmp_path) == owner, "the second is attached to the first"
        third = await stack.enter_async_context(client(tmp_path))
        await collected(third, 3)
        await third.leave()
        assert await counted(first, await collected(first, 4)) == 4, "the owner does not care"
        await first.leave()
        assert await counted(second, await collected(second, 5)) == 5, "and another takes over"
        assert announced(tmp_path) not in (None, owner)
    assert announced(tmp_path) is None
    assert actors(tmp_path) == {"local/mcp:stdio-legacy", "local/mcp:stdio-auto"}


async def test_an_owner_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with serving(tmp_path) as (process, _):
            one = await stack.enter_async_context(client(tmp_path))
            other = await stack.enter_async_context(client(tmp_path))
            await collected(one, 1)
            await collected(other, 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
        positions = await asyncio.gather(collected(one, 3), collected(other, 4))
        assert await counted(one, max(positions)) == 4
        owner = find(tmp_path)
        assert owner is not None
        assert owner.pid != process.pid


async def test_it_attaches_with_the_token_and_passes_pictures_and_errors_on(tmp_path: Path) -> None:
    with serving(tmp_path, LOGFIRE_MCP_TOKEN="s3cret") as (_, found):
        async with client(tmp_path, LOGFIRE_MCP_TOKEN="s3cret") as one:
            position = await collected(one, 1)
            result = await one.call(
                "query_metrics", metric_name="load", chart=True, min_position=position
            )
            assert [block.type for block in result.content] == ["text", "image"]
            refused = await one.call("query_metrics", metric="load")
            assert refused.is_error
            assert "metric_name" in text_of(refused)
            assert announced(tmp_path) == found
        async with client(tmp_path) as stranger:
            refused = await stranger.call("get_server_status")
            assert refused.is_error
            assert "LOGFIRE_MCP_TOKEN" in text_of(refused)


async def test_a_directory_that_cannot_be_served_is_told_by_the_call(tmp_path: Path) -> None:
    (tmp_path / "logfire_mcp.db").write_bytes(b"this is no log at all" * 1_000)
    async with client(tmp_path) as one:
        result = await one.call("get_server_status")
        assert result.is_error
        assert "logfire_mcp.db" in text_of(result)


@given(st.text(), st.sampled_from(["local", "token"]))
@example("", "local")
@example("mcp:", "local")
@example("a mcp:b/mcp: ", "token")
@example("é\ud800 100%41", "local")
def test_a_caller_is_the_same_at_its_own_server_and_attached(name: str, kind: str) -> None:
    actor = f"{kind}/{mcp_client(name)}"
    sent = client_header(actor).encode("ascii")
    assert f"{kind}/{header_client(sent.decode('latin-1'))}" == actor


NAMES = ["", "mcp:", "Ünïcode-クライアント", "trailing ", "a/b mcp:c", "100%41"]


async def test_a_retry_at_another_server_is_recognised_whatever_the_clients_name(
    tmp_path: Path,
) -> None:
    async with Server(quick_settings(tmp_path)) as server, httpx.AsyncClient() as http:
        attached = RemoteToolbox(http, server.url, None)
        for name in NAMES:
            actor = f"local/{mcp_client(name)}"
            asked = {"source": "s", "metrics": [{**POINT, "tags": {"name": f"n{name}"}}]}
            for toolbox, again in ((server.calls, False), (attached, True)):
                answer = await toolbox.call("collect_metrics", asked, actor=actor, request_key="k")
                assert not answer.is_error, answer.text
                assert answer.content.get("duplicate", False) is again, name
    assert actors(tmp_path) == {f"local/{mcp_client(name)}" for name in NAMES}


async def test_what_json_cannot_write_costs_an_attached_client_at_most_that_point(
    tmp_path: Path,
) -> None:
    nan, inf = float("nan"), float("inf")
    metrics = [{**POINT, "value": value} for value in (1, nan, inf, -inf)]
    asked = {"source": "s", "metrics": [*metrics, {**POINT, "timestamp": nan}]}
    async with Server(quick_settings(tmp_path)) as server, httpx.AsyncClient() as http:
        attached = RemoteToolbox(http, server.url, None)
        answer = await attached.call("collect_metrics", asked, actor="local/mcp")
        assert answer.content["collected_count"] == 4, answer.text
        assert [one["index"] for one in answer.content["rejected"]] == [4]
        surrogate = {"source": "s", "metrics": [{**POINT, "name": "\ud800"}]}
        refused = await attached.call("collect_metrics", surrogate, actor="local/mcp")
        assert refused.is_error, "by the server's own sentence"


async def test_a_server_that_takes_no_connection_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = []
        for _ in range(8):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with httpx.AsyncClient(timeout=httpx.Timeout(60, connect=0.05)) as http:
            with pytest.raises(_Gone) as gone:
                await RemoteToolbox(http, url, None).call("x", {}, actor="local/mcp")
        assert isinstance(gone.value.__cause__, httpx.ConnectTimeout)
        for one in waiting:
            one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mcp_api", "mcp", "--data-dir", str(tmp_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=environment(LOG_LEVEL="INFO"),
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"serving" in line:
            break
    os.kill(process.pid, number)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert announced(tmp_path) is None
    assert process.stdout is not None
    assert await process.stdout.read() == b"", "stdout belongs to the protocol"


def test_a_wrong_setting_is_told_on_stderr_at_once(tmp_path: Path) -> None:
    ended = run("mcp", "--data-dir", str(tmp_path), TICK_INTERVAL="never")
    assert ended.returncode == 1
    assert "TICK_INTERVAL" in ended.stderr
    assert ended.stdout == ""
