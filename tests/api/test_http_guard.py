"""The guard: who may call, how much and how long; one clear sentence for each refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from mcp_api.asgi import App, Message, Receive, Scope, Send, send_json
from mcp_api.bodies import BodyLimits
from mcp_api.caller import Admission
from mcp_api.guard import Guard, GuardLimits
from tests.api.asgi_calls import Answer, answer_of, call, scope_of

SMALL = BodyLimits(body_bytes_max=1_000, bytes_max=2_500, timeout_s=0.05)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who called and how much came."""
    body = (await receive())["body"]
    await send_json(send, 200, {"actor": scope["caller"].actor, "size": len(body)})


def guarded(
    app: App = echo,
    *,
    listen: str = "127.0.0.1",
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    token: str | None = None,
    limits: GuardLimits | None = None,
    seen: list[tuple[int, float]] | None = None,
) -> Guard:
    admission = Admission.of(
        listen_host=listen, allowed_hosts=hosts, allowed_origins=origins, token=token
    )

    def observe(scope: Scope, status: int, seconds: float) -> None:
        if seen is not None:
            seen.append((status, seconds))

    return Guard(app, admission, limits or GuardLimits(bodies=SMALL), observe)


async def get(guard: Guard, *headers: tuple[str, str], path: str = "/x") -> Answer:
    return await call(guard, "GET", path, headers=headers)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.8.8", "[::1]:8000", "localhost."]
)
async def test_loopback_names_are_this_server(host: str) -> None:
    assert (await get(guarded(), ("host", host))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
        "localhost:x",
        "[::1",
        "127.0.0.1.a",
    ],
)
async def test_another_name_is_refused_because_it_may_be_a_rebound_one(host: str) -> None:
    answer = await get(guarded(), ("host", host))
    assert answer.status == 421
    assert "LOGFIRE_MCP_ALLOWED_HOSTS" in answer.error


async def test_a_request_has_exactly_one_host() -> None:
    assert (await get(guarded())).status == 400
    assert (await get(guarded(), ("host", "localhost"), ("host", "localhost"))).status == 400


async def test_configured_names_are_taken_with_and_without_port() -> None:
    guard = guarded(hosts=["metrics.example", "other.example:9000"])
    assert (await get(guard, ("host", "Metrics.Example:8000"))).status == 200
    assert (await get(guard, ("host", "other.example:9000"))).status == 200
    assert (await get(guard, ("host", "other.example:9001"))).status == 421


async def test_on_all_addresses_an_address_is_taken_but_not_any_name() -> None:
    guard = guarded(listen="0.0.0.0", token="t")
    bearer = ("authorization", "Bearer t")
    assert (await get(guard, ("host", "10.1.2.3:8000"), bearer)).status == 200
    assert (await get(guard, ("host", "evil.example"), bearer)).status == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:8000", 200),
        ("https://app.example", 200),
        ("https://APP.example/", 200),
        ("http://app.example", 403),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("file://localhost", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
async def test_a_browsers_origin_is_local_or_listed(origin: str, status: int) -> None:
    guard = guarded(origins=["https://app.example"])
    answer = await get(guard, ("host", "localhost"), ("origin", origin))
    assert answer.status == status
    if status == 403:
        assert "LOGFIRE_MCP_ALLOWED_ORIGINS" in answer.error


async def test_a_page_served_under_an_allowed_name_may_call_it() -> None:
    guard = guarded(hosts=["metrics.example"])
    host = ("host", "metrics.example:8000")
    assert (await get(guard, host, ("origin", "http://metrics.example:8000"))).status == 200
    assert (await get(guard, host, ("origin", "http://metrics.example:9999"))).status == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Bearer s3cret2", 401),
        ("Bearer", 401),
        ("Basic s3cret", 401),
        ("", 401),
        ("Bearer \xff", 401),
    ],
)
async def test_the_token_is_asked_of_everybody(authorization: str, status: int) -> None:
    guard = guarded(token="s3cret")
    answer = await get(guard, ("host", "localhost"), ("authorization", authorization))
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "s3cret" not in answer.body.decode()
    else:
        assert answer.json["actor"] == "token/http:127.0.0.1"


async def test_health_and_ready_are_open_but_for_their_host() -> None:
    guard = guarded(token="s3cret")
    for path in ("/health", "/ready"):
        assert (await get(guard, ("host", "localhost"), path=path)).status == 200
        assert (await get(guard, ("host", "evil.example"), path=path)).status == 421


async def test_without_a_token_the_caller_is_local() -> None:
    answer = await get(guarded(), ("host", "localhost"))
    assert answer.json["actor"] == "local/http:127.0.0.1"


async def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    guard = guarded()
    assert (await call(guard, "POST", "/x", b"a" * 1_000)).json["size"] == 1_000
    answer = await call(guard, "POST", "/x", b"a" * 1_001)
    assert answer.status == 413
    assert "1,000 bytes" in answer.error
    assert answer.headers["connection"] == "close"


async def test_chunks_without_a_length_are_counted_as_they_come() -> None:
    guard = guarded()
    assert (await call(guard, "POST", "/x", [b"a" * 100] * 10)).json["size"] == 1_000
    assert (await call(guard, "POST", "/x", [b"a" * 100] * 100_000)).status == 413
    assert guard.bodies.held_bytes == 0


async def test_a_lie_about_the_length_does_not_help() -> None:
    headers = (("host", "localhost"), ("content-length", "10"))
    assert (await call(guarded(), "POST", "/x", b"a" * 1_001, headers)).status == 413


async def test_all_bodies_together_are_bounded_and_room_comes_back() -> None:
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        entered.release()
        await leave.wait()
        await send_json(send, 200, {})

    guard = guarded(hold)
    held = [asyncio.create_task(call(guard, "POST", "/x", b"a" * 1_000)) for _ in range(2)]
    for _ in held:
        await entered.acquire()
    refused = await call(guard, "POST", "/x", b"a" * 1_000)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert guard.bodies.held_bytes == 2_000
    leave.set()
    assert [answer.status for answer in await asyncio.gather(*held)] == [200, 200]
    assert guard.bodies.held_bytes == 0
    assert (await call(guard, "POST", "/x", b"a" * 1_000)).status == 200


async def test_requests_at_once_are_bounded_and_refused_with_retry_after() -> None:
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        entered.release()
        await leave.wait()
        await send_json(send, 200, {})

    guard = guarded(hold, limits=GuardLimits(requests_max=3))
    held = [asyncio.create_task(call(guard, "GET", "/x")) for _ in range(3)]
    for _ in held:
        await entered.acquire()
    refused = await call(guard, "GET", "/x")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    leave.set()
    await asyncio.gather(*held)
    assert (await call(guard, "GET", "/x")).status == 200


async def _exchange(guard: Guard, messages: Iterator[Message]) -> Answer:
    """A client that sends the messages and then nothing more, without going away."""
    received: list[Message] = []

    async def receive() -> Message:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        received.append(message)

    headers = (("host", "localhost"), ("content-length", "500"), ("expect", "100-continue"))
    await guard(scope_of("POST", "/x", headers), receive, send)
    return answer_of(received)


async def test_a_body_that_does_not_come_is_a_time_out() -> None:
    started: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}]
    guard = guarded()
    answer = await _exchange(guard, iter(started))
    assert answer.status == 408
    assert guard.bodies.held_bytes == 0


async def test_a_client_that_leaves_within_its_body_gets_nothing_and_costs_nothing() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.disconnect"},
    ]
    seen: list[tuple[int, float]] = []
    guard = guarded(seen=seen)
    assert (await _exchange(guard, iter(messages))).status == 0
    assert guard.bodies.held_bytes == 0
    assert [status for status, _ in seen] == [0]


async def test_a_request_that_takes_too_long_is_ended() -> None:
    ended = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    answer = await call(guarded(slow, limits=GuardLimits(request_s=0.02)), "GET", "/x")
    assert answer.status == 504
    assert ended.is_set()


@pytest.mark.parametrize(
    ("path", "status"), [("/export", 200), ("/export/", 200), ("/admin/verify//", 200), ("/x", 504)]
)
async def test_only_what_streams_has_no_deadline(path: str, status: int) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        await send_json(send, 200, {})

    guard = guarded(slow, limits=GuardLimits(request_s=0))
    assert (await get(guard, ("host", "localhost"), path=path)).status == status


async def test_an_uncaught_error_is_a_500_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[tuple[int, float]] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("a secret of ours")

    guard = guarded(broken, seen=seen)
    answer = await call(guard, "GET", "/x")
    assert answer.status == 500
    assert "secret" not in answer.error
    assert "ZeroDivisionError" in caplog.text
    assert seen[0][0] == 500
    assert (await call(guard, "GET", "/x")).status == 500, "it goes on"


async def test_an_error_in_the_middle_of_an_answer_cuts_it() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(guarded(half), "GET", "/x")


async def test_nothing_but_requests_is_served() -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("not asked")

    await guarded()({"type": "lifespan"}, never, never)
