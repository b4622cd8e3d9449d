"""MCP servers that nobody here wrote, ours, and bad ones: found healthy, or named right."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_api.server import Server
from streams.events.health import Cause, HealthChecked, Kind
from streams.probes.mcp_stdio_command import StdioCommand
from tests.conftest import leave_out
from tests.probes.answering import (
    SHORT_MS,
    TIMEOUT_MS,
    Answer,
    Request,
    RpcError,
    answering,
    certificate,
    checked,
    hang,
    hang_up,
    http,
    mcp,
    prober,
    target,
)
from tests.probes.mcp_servers import NotInstalled, from_npm, from_pypi, listening


@pytest.fixture(scope="session")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return from_pypi(tmp_path_factory.mktemp("pypi"), "mcp-server-time", "mcp-server-fetch")
    except NotInstalled as error:
        leave_out(f"no MCP server from PyPI: {error}")


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    servers = ("server-everything", "server-filesystem", "server-memory")
    packages = [f"@modelcontextprotocol/{name}" for name in servers]
    try:
        return from_npm(tmp_path_factory.mktemp("npm"), *packages, "@upstash/context7-mcp")
    except NotInstalled as error:
        leave_out(f"no MCP server from npm: {error}")


async def checked_command(command: StdioCommand, *, times: int = 1) -> list[HealthChecked]:
    it = target("command", "mcp-stdio")
    async with prober(it, commands={"command": command}) as probing:
        return [await probing.check(it) for _ in range(times)]


@pytest.mark.parametrize("name", ["mcp-server-time", "mcp-server-fetch"])
async def test_a_server_from_pypi_is_healthy_and_started_once(pypi: Path, name: str) -> None:
    first, second = await checked_command(StdioCommand(command=str(pypi / name)), times=2)
    assert (first.cause, second.cause) == ("ok", "ok"), first
    assert first.spawn_ms is not None
    assert second.spawn_ms is None
    assert first.mcp is not None
    assert first.mcp.tools >= 1
    assert first.mcp == second.mcp


@pytest.mark.parametrize("name", ["mcp-server-filesystem", "mcp-server-memory", "context7-mcp"])
async def test_a_server_from_npm_is_healthy(npm: Path, name: str, tmp_path: Path) -> None:
    arguments = (str(tmp_path),) if name == "mcp-server-filesystem" else ()
    (found,) = await checked_command(StdioCommand(command=str(npm / name), args=arguments))
    assert found.cause == "ok", found
    assert found.mcp is not None
    assert found.mcp.tools >= 2


async def test_the_same_server_has_the_same_tools_over_every_transport(npm: Path) -> None:
    everything = str(npm / "mcp-server-everything")
    (stdio,) = await checked_command(StdioCommand(command=everything, args=("stdio",)))
    with listening(everything, "streamableHttp") as port:
        streamable = await checked(target(f"http://localhost:{port}/mcp", "mcp"))
        wrong = await checked(target(f"http://localhost:{port}/nope", "mcp"))
    with listening(everything, "sse") as port:
        sse = await checked(target(f"http://localhost:{port}/sse", "mcp-sse"))
        wrong_sse = await checked(target(f"http://localhost:{port}/nope", "mcp-sse"))
    dead = await checked(target(f"http://localhost:{port}/sse", "mcp-sse"))
    assert [each.cause for each in (stdio, streamable, sse)] == ["ok"] * 3, (streamable, sse)
    assert stdio.mcp is not None
    assert stdio.mcp.tools > 5
    assert stdio.mcp == streamable.mcp == sse.mcp
    assert [each.cause for each in (wrong, wrong_sse, dead)] == [
        "not_found",
        "not_found",
        "refused",
    ]


async def test_our_own_server_is_healthy(running_server: Server) -> None:
    found = await checked(target(running_server.url + "/mcp", "mcp"))
    assert found.cause == "ok", found
    assert found.mcp is not None
    assert (found.mcp.protocol_version, found.mcp.server) == ("2026-07-28", "logfire-mcp")
    assert found.mcp.tools >= 6


@pytest.mark.parametrize("kind", ["mcp", "mcp-sse"])
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (http(401, WWW_Authenticate="Bearer"), "unauthorized"),
        (http(403), "unauthorized"),
        (http(404), "not_found"),
        (http(500), "status"),
        (http(302, Location="http://127.0.0.1:1/"), "status"),
        (http(200, "<p>hello</p>", Content_Type="text/html"), "not_found"),
        (hang_up, "died"),
    ],
)
async def test_what_is_no_mcp_server_is_named(answer: Answer, cause: Cause, kind: Kind) -> None:
    async with answering({"/mcp": answer}) as server:
        found = await checked(target(server.url("/mcp"), kind))
        assert found.cause == cause, found
        assert found.reason
        await server.until_all_are_closed()


DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "public",
}
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "old", "version": "1"},
}
FUTURE = RpcError(-32022, {"supported": ["2031-01-01"], "requested": "2026-07-28"})


def tool(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def listed(*tools: dict[str, object], **more: object) -> dict[str, object]:
    complete = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    return {"tools": list(tools), **complete, **more}


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        ({"server/discover": FUTURE}, "protocol"),
        ({"initialize": {**INITIALIZED, "protocolVersion": "1999-01-01"}}, "protocol"),
        ({"initialize": {"nonsense": True}}, "invalid_reply"),
        ({"initialize": RpcError(-32603)}, "invalid_reply"),
        ({"server/discover": DISCOVERED, "tools/list": listed({"name": "a"})}, "invalid_reply"),
        ({"server/discover": DISCOVERED, "tools/list": RpcError(-32603)}, "invalid_reply"),
        ({"server/discover": DISCOVERED, "tools/list": listed(nextCursor="on")}, "invalid_reply"),
        ({"server/discover": DISCOVERED, "tools/list": listed(tool("a"))}, "ok"),
    ],
)
async def test_a_reply_that_the_protocol_does_not_allow_is_named(
    results: dict[str, object], cause: Cause
) -> None:
    answer = mcp(lambda message: results.get(message["method"], RpcError(-32601)), [])
    async with answering({"/mcp": answer}) as server:
        found = await checked(target(server.url("/mcp"), "mcp"))
        assert found.cause == cause, found
        await server.until_all_are_closed()


async def test_a_body_that_is_no_json_is_named() -> None:
    async with answering({"/mcp": http(200, "{", Content_Type="application/json")}) as server:
        found = await checked(target(server.url("/mcp"), "mcp"))
        assert found.cause == "invalid_reply", found


async def test_an_answer_without_an_end_is_not_kept() -> None:
    async def endless_json(_asked: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while not writer.is_closing():
            writer.write(b" " * 65_536)
            await writer.drain()

    async with answering({"/mcp": endless_json}) as server:
        found = await checked(target(server.url("/mcp"), "mcp"))
        assert found.cause == "invalid_reply", found
        await server.until_all_are_closed()


async def test_an_older_server_is_pinged_read_to_its_last_page_and_its_session_is_ended() -> None:
    said: list[str] = []

    def reply(message: dict[str, Any]) -> object:
        match message["method"], message.get("params", {}).get("cursor"):
            case "initialize", _:
                return INITIALIZED
            case "notifications/initialized", _:
                return None
            case "ping", _:
                return {}
            case "tools/list", None:
                return {"tools": [tool("a")], "nextCursor": "second"}
            case "tools/list", "second":
                return {"tools": [tool("b")]}
            case _:
                return RpcError(-32601)

    async with answering({"/mcp": mcp(reply, said, Mcp_Session_Id="s-1")}) as server:
        found = await checked(target(server.url("/mcp"), "mcp"))
        await server.until_all_are_closed()
    assert found.cause == "ok", found
    assert found.mcp is not None
    assert (found.mcp.protocol_version, found.mcp.server, found.mcp.tools) == (
        "2025-06-18",
        "old",
        2,
    )
    in_order = [method for method in said if method != "GET"]  # its side stream, at some time
    assert in_order == [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "ping",
        "tools/list",
        "tools/list",
        "DELETE",
    ]


async def test_a_server_that_answers_all_but_the_end_of_its_session_is_healthy() -> None:
    results = {"initialize": INITIALIZED, "ping": {}, "tools/list": {"tools": []}}
    results["notifications/initialized"] = None
    answer = mcp(lambda m: results.get(m["method"], RpcError(-32601)), [], Mcp_Session_Id="s-1")

    async def hang_at_its_end(asked: Request, writer: asyncio.StreamWriter) -> None:
        await (hang if asked.method == "DELETE" else answer)(asked, writer)

    async with answering({"/mcp": hang_at_its_end}) as server:
        found = await checked(target(server.url("/mcp"), "mcp", timeout_ms=3_000))
        assert found.cause == "ok", found
        await server.until_all_are_closed()


async def test_a_tool_that_changes_is_named_and_one_whose_icon_changes_is_not() -> None:
    tools = [tool("same"), tool("changed"), tool("gone")]

    def reply(message: dict[str, Any]) -> object:
        return DISCOVERED if message["method"] == "server/discover" else listed(*tools)

    async with answering({"/mcp": mcp(reply, [])}) as server:
        it = target(server.url("/mcp"), "mcp")
        async with prober(it) as probing:
            before = (await probing.check(it)).mcp
            icons = [{"src": "https://example.com/i.png"}]
            tools[:] = [tool("changed"), tool("same", icons=icons), tool("gone")]
            drawn = (await probing.check(it)).mcp
            tools[:] = [tool("same"), tool("changed", description="Other."), tool("new")]
            after = (await probing.check(it)).mcp
    assert before is not None
    assert before == drawn
    assert after is not None
    assert after.drift == ("changed", "gone", "new")


@pytest.mark.parametrize("kind", ["mcp", "mcp-sse"])
async def test_a_server_that_hangs_is_a_time_out_and_nothing_stays_open(kind: Kind) -> None:
    async with answering({"/mcp": hang}) as server:
        good = await checked(target(server.url("/none"), kind))  # the SDK is imported by now
        assert good.cause == "not_found"
        found = await checked(target(server.url("/mcp"), kind, timeout_ms=SHORT_MS))
        assert found.cause == "timeout", found
        await server.until_all_are_closed()


async def test_a_bad_certificate_is_named(tmp_path: Path) -> None:
    pem = certificate(tmp_path, days=30)
    async with answering({}, pem) as server:
        found = await checked(target(server.url("/mcp", "https"), "mcp"))
        assert found.cause == "certificate", found
        assert server.paths == []


@pytest.mark.parametrize(
    ("code", "cause", "said"),
    [
        ("import sys; sys.exit('no such database')", "died", "no such database"),
        ("print('hello')", "died", ""),
        ("import signal; signal.pause()", "timeout", "no answer within"),
    ],
)
async def test_a_command_that_is_no_server_is_named(code: str, cause: Cause, said: str) -> None:
    start_ms = SHORT_MS if cause == "timeout" else TIMEOUT_MS
    command = StdioCommand(command=sys.executable, args=("-c", code), start_timeout_ms=start_ms)
    (found,) = await checked_command(command)
    assert found.cause == cause, found
    assert said in found.reason


async def test_a_command_that_does_not_exist_is_named() -> None:
    (found,) = await checked_command(StdioCommand(command="/no/such/command"))
    assert (found.cause, found.reason) == (
        "died",
        "it cannot be started: No such file or directory",
    )


SERVER = """
import asyncio, os, pathlib, signal, sys
from mcp.server import MCPServer
mcp = MCPServer("mortal", version="1", log_level="WARNING")
state = pathlib.Path(sys.argv[1])
(state / f"started-{os.getpid()}").touch()
if (state / "more").exists():
    @mcp.tool()
    def another() -> str: "Another tool."
@mcp.tool()
def one() -> str: "A tool."
mcp.run("stdio")
"""


async def test_a_server_that_dies_is_told_once_and_started_again(tmp_path: Path) -> None:
    command = StdioCommand(command=sys.executable, args=("-c", SERVER, str(tmp_path)))
    it = target("command", "mcp-stdio")
    async with prober(it, commands={"command": command}) as probing:
        first = await probing.check(it)
        assert first.cause == "ok", first
        (started,) = tmp_path.glob("started-*")
        (tmp_path / "more").touch()
        killed = await asyncio.create_subprocess_exec("kill", "-9", started.name[8:])
        await killed.wait()
        died = await probing.check(it)
        assert died.cause == "died", died
        again = await probing.check(it)
    assert again.cause == "ok", again
    assert again.spawn_ms is not None
    assert first.mcp is not None
    assert again.mcp is not None
    assert (first.mcp.tools, first.mcp.drift) == (1, ())
    assert (again.mcp.tools, again.mcp.drift) == (2, ("another",))
    assert again.mcp.tools_hash != first.mcp.tools_hash
    for file in tmp_path.glob("started-*"):
        assert not Path("/proc", file.name[8:]).exists()  # nothing is left


async def test_a_server_that_stops_answering_is_a_time_out_and_is_ended(tmp_path: Path) -> None:
    command = StdioCommand(command=sys.executable, args=("-c", SERVER, str(tmp_path)))
    it = target("command", "mcp-stdio", timeout_ms=5_000)
    async with prober(it, commands={"command": command}) as probing:
        assert (await probing.check(it)).cause == "ok"
        (started,) = tmp_path.glob("started-*")
        stopped = await asyncio.create_subprocess_exec("kill", "-STOP", started.name[8:])
        await stopped.wait()
        found = await probing.check(it)
        assert (found.cause, found.reason) == ("timeout", "no answer within 5 s")
    assert not Path("/proc", started.name[8:]).exists()


async def test_looks_leave_nothing_open(tmp_path: Path) -> None:
    pem = certificate(tmp_path, days=30)
    async with answering({"/html": http(200, "<p>")}) as server, answering({}, pem) as tls:
        targets = [
            target(server.url("/html")),
            target(server.url("/html"), "mcp"),
            target(server.url("/html"), "mcp-sse"),
            target(f"127.0.0.1:{server.port}", "tcp"),
            target(tls.url("/", "https")),
            target("missing", "mcp-stdio"),
        ]
        commands = {"missing": StdioCommand(command="/no/such/command")}

        async def look_at_all() -> int:
            for it in targets:
                async with prober(it, commands=commands) as probing:
                    await probing.check(it)
            await server.until_all_are_closed()
            await tls.until_all_are_closed()
            return len(list(Path("/proc/self/fd").iterdir()))

        first = await look_at_all()
        for _ in range(10):
            last = await look_at_all()
    assert last <= first
