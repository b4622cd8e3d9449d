"""Bad input on every entry: a clear refusal, the valid rest kept, the server unharmed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import httpx
import psutil
import uvicorn

from mcp_api.asgi import Receive, Scope, Send, send_json
from mcp_api.bodies import BodyLimits
from mcp_api.guard import GuardLimits
from mcp_api.http_protocol import BoundedHttp
from mcp_api.listener import bind
from mcp_api.server import Server
from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode
from streams.events.topics import POINTS
from tests.api.asgi_calls import Answer, call
from tests.api.fuzzing import Request, requests
from tests.api.processes import quick_settings

INPUTS = 10_000
AT_ONCE = 64
STATUSES = {0, 200, 202, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 421, 422, 429, 503}


async def sent(server: Server, request: Request) -> Answer:
    given = {name for name, _ in request.headers}
    usual = (("host", "localhost"), ("content-type", "application/json"))
    headers = [*(pair for pair in usual if pair[0] not in given), *request.headers]
    return await call(
        server.app, request.method, request.path, request.body, headers, query=request.query
    )


def taken(answer: Answer) -> int:
    """How many points an answer says were stored now."""
    if answer.status != 200 or not answer.headers["content-type"].startswith("application/json"):
        return 0
    told = json.loads(answer.body)
    content = (
        told.get("result", {}).get("structuredContent") or told if isinstance(told, dict) else {}
    )
    return 0 if content.get("duplicate") else content.get("collected_count", 0)


def check(request: Request, answer: Answer) -> None:
    assert answer.status in STATUSES, (request, answer)
    if answer.status >= 400 and request.path != "/mcp" and request.method != "HEAD":
        assert answer.error, (request, answer)
    if answer.status in {429, 503} and request.path != "/ready":
        assert answer.headers["retry-after"]


async def stored(server: Server) -> int:
    count = offset = 0
    while records := await server.log.read(POINTS, 0, offset):
        for record in records:
            data = decode(record.headers, record.body).data
            if isinstance(data, MetricsCollected):
                count += len(data.batch)
        offset = records[-1].offset + 1
    return count


async def test_ten_thousand_fuzzed_inputs_are_refused_in_a_sentence_and_harm_nothing(
    running_server: Server,
) -> None:
    statuses: Counter[int] = Counter()
    points = 0
    every = list(requests(seed=2, count=INPUTS))
    for start in range(0, INPUTS, AT_ONCE):
        some = every[start : start + AT_ONCE]
        answers = await asyncio.gather(*(sent(running_server, request) for request in some))
        for request, answer in zip(some, answers, strict=True):
            check(request, answer)
            statuses[answer.status] += 1
            points += taken(answer)
    assert sum(statuses.values()) == INPUTS
    assert statuses[200] > INPUTS / 20, "some were good"
    assert statuses[400] > INPUTS / 10
    assert await stored(running_server) == points > 0
    assert running_server.app.bodies.held_bytes == 0
    page = running_server.telemetry.render().decode()
    assert "logfire_mcp_uncaught_errors_total 0.0" in page
    assert running_server.runner.failure() is None
    assert running_server.projector.failure() is None
    assert await healthy(running_server)


async def healthy(server: Server) -> bool:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        await server.until_ready()
        body = {"tool": "get_server_status", "arguments": {}}
        answer = await client.post("/logfire-mcp", json=body)
        return bool(answer.json()["status"] == "healthy")


async def raw(server: Server, *parts: bytes, end: bool = True) -> tuple[int, dict[str, str]]:
    """Sends bytes over a socket of its own; the status and the JSON of the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(65_536), 30)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


HEAD = b"POST /logfire-mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def test_a_hundred_megabytes_in_chunks_are_refused_without_being_held(
    running_server: Server,
) -> None:
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    before = psutil.Process().memory_info().rss
    status, error = await raw(
        running_server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 100, b"0\r\n\r\n"
    )
    assert status == 413
    assert "bytes" in error["message"]
    assert psutil.Process().memory_info().rss - before < 100 << 20
    assert running_server.app.bodies.held_bytes == 0
    assert await healthy(running_server)


async def test_a_length_over_the_limit_is_refused_before_the_body_comes(
    running_server: Server,
) -> None:
    status, error = await raw(running_server, HEAD + b"Content-Length: 104857600\r\n\r\n")
    assert status == 413
    assert "33,554,432" in error["message"]


async def test_a_body_that_comes_too_slowly_is_cut_off(tmp_path: Path) -> None:
    limits = GuardLimits(bodies=BodyLimits(timeout_s=0.1))
    async with Server(quick_settings(tmp_path), limits=limits) as server:
        status, error = await raw(server, HEAD + b"Content-Length: 100\r\n\r\n{", end=False)
        assert status == 408
        assert "0.1 seconds" in error["message"]


async def test_what_is_not_http_is_a_400(running_server: Server) -> None:
    for rubbish in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
    ):
        status, error = await raw(running_server, rubbish)
        assert status == 400, rubbish
        assert error["message"]
    assert await healthy(running_server)


async def test_headers_without_end_are_bounded(running_server: Server) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    for endless in ((b"x-a: b\r\n" * 500,) * 40, (b"x-a: ", *(b"a" * 4_000,) * 40)):
        status, error = await raw(running_server, head, *endless, end=False)
        assert status == 431
        assert "65,536" in error["message"]
    assert await healthy(running_server)


class Hasty(BoundedHttp):
    headers_s = 0.05
    connections_max = 2


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, 200, {})


async def test_slow_headers_and_too_many_connections_are_refused() -> None:
    bound = bind("127.0.0.1", 0)
    config = uvicorn.Config(_ok, http=Hasty, ws="none", lifespan="off", log_config=None)
    config.load()
    state = uvicorn.Server(config).server_state
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Hasty(config, state, {}, loop), sock=bound)
    address = bound.getsockname()[:2]
    slow, writer = await asyncio.open_connection(*address)
    idle, other = await asyncio.open_connection(*address)
    over, third = await asyncio.open_connection(*address)
    assert b" 503 " in (refused := await over.read())
    assert b"retry-after" in refused
    writer.write(b"GET / HTTP/1.1\r\nHo")
    assert b" 408 " in await slow.read()
    assert await idle.read() == b"", "one that says nothing is closed without a word"
    for each in (writer, other, third):
        each.close()
    listening.close()
    await listening.wait_closed()
