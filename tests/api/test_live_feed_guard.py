"""Who is let in to the live feed, and what is refused once inside; one server for all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from mcp_api.caller import Admission
from mcp_api.guard import Guard, GuardLimits
from mcp_api.listener import Listener, bind
from mcp_api.live_feed.messages import in_parts
from mcp_api.live_feed.route import LiveFeed
from mcp_api.live_feed.session import SUBSCRIPTIONS_MAX
from mcp_api.live_feed.subscriptions import ALERT_TYPES
from mcp_api.server import Server
from streams.events.alerting import WIRE_NAMES
from tests.api.live_clients import live, socket_url
from tests.api.processes import quick_settings
from tests.api.processes import serving as serving_process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_process(tmp_path_factory.mktemp("live")) as (_, found):
        yield found.url


BAD: list[tuple[str | bytes, str]] = [
    ("", "cannot be read"),
    ("nonsense", "cannot be read"),
    ("[" * 50_000, "cannot be read"),
    ("{}", "asks for 0 things"),
    ('{"ping": "a", "unsubscribe": "b"}', "asks for 2 things"),
    ('{"hello": 1}', "'hello'"),
    (b"\x00", "binary"),
    ('{"unsubscribe": "nobody"}', "no subscription 'nobody'"),
    ('{"subscribe": {"feed": "alerts"}}', "'id'"),
    ('{"subscribe": {"id": "", "feed": "alerts"}}', "length"),
    ('{"subscribe": {"id": "a", "feed": "weather"}}', "weather"),
    ('{"subscribe": {"id": "a", "feed": "alerts", "promql": "up"}}', "promql"),
    ('{"subscribe": {"id": "a", "feed": "health", "types": ["b"]}}', "types"),
    ('{"subscribe": {"id": "a", "feed": "metrics"}}', "promql is missing"),
    ('{"subscribe": {"id": "a", "feed": "metrics", "promql": "sum("}}', "promql: "),
    ('{"subscribe": {"id": "a", "feed": "metrics", "promql": "up[5m]"}}', "matrix"),
    ('{"subscribe": {"id": "a", "feed": "metrics", "promql": "up", "after": ""}}', "after"),
    ('{"subscribe": {"id": "a", "feed": "metrics", "promql": "u", "interval": "1"}}', "interval"),
    ('{"subscribe": {"id": "a", "feed": "metrics", "promql": "u", "interval": "1ms"}}', "from 1s"),
    ('{"subscribe": {"id": "a", "feed": "events", "topics": ["commands"]}}', "'commands'"),
    ('{"subscribe": {"id": "a", "feed": "events", "types": []}}', "0 names"),
    ('{"subscribe": {"id": "a", "feed": "alerts", "after": "yesterday"}}', "'yesterday'"),
    ('{"subscribe": {"id": "a", "feed": "alerts", "after": "alerts.events/0@9999"}}', "past"),
    ('{"subscribe": {"id": "a", "feed": "alerts", "after": "metrics.points/0@1"}}', "not follow"),
]


async def test_what_cannot_be_taken_is_refused_in_one_sentence_and_the_rest_goes_on(
    url: str,
) -> None:
    async with live(url) as feed:
        for text, said in BAD:
            await feed.say(text)
            assert said in await feed.refusal(), text
        await feed.ask(ping="still there")
        assert (await feed.until("pong"))["ping"] == "still there"


async def test_a_message_that_is_too_large_ends_the_connection(url: str) -> None:
    async with live(url) as feed:
        await feed.say("x" * 70_000)
        with pytest.raises(ConnectionClosedError) as closed:
            await feed.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_client_has_so_many_subscriptions_each_of_its_own_id(url: str) -> None:
    async with live(url) as feed:
        for number in range(SUBSCRIPTIONS_MAX):
            await feed.subscribe(f"s{number}", "alerts")
        await feed.subscribe("one more", "alerts")
        assert f"{SUBSCRIPTIONS_MAX} subscriptions" in await feed.refusal()
        await feed.ask(unsubscribe="s0")
        await feed.subscribe("s1", "alerts")
        assert "'s1' already" in await feed.refusal()
        await feed.subscribe("s0", "health")
        await feed.until("snapshot", "s0")


async def refused(url: str, **more: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as status:
        async with connect(url, **more):
            pass
    response = status.value.response
    message = json.loads(response.body)["error"]["message"]
    return response.status_code, message


async def test_a_page_of_another_origin_is_not_let_in(url: str) -> None:
    url = socket_url(url)
    status, message = await refused(url, origin="https://evil.example")
    assert (status, "LOGFIRE_MCP_ALLOWED_ORIGINS" in message) == (403, True)
    async with connect(url, origin="http://localhost:3000"):  # type: ignore[arg-type]
        pass


async def test_a_rebound_name_and_another_path_are_not_let_in(url: str) -> None:
    port = url.rpartition(":")[2]
    url = socket_url(url)
    status, message = await refused(url.replace("127.0.0.1", "localhost") + "x")
    assert (status, "/ws" in message) == (404, True)
    status, message = await refused(f"ws://evil.example:{port}/ws", host="127.0.0.1", port=port)
    assert (status, "LOGFIRE_MCP_ALLOWED_HOSTS" in message) == (421, True)


async def test_the_token_is_shown_as_a_header_or_where_a_browser_can(tmp_path: Path) -> None:
    async with Server(quick_settings(tmp_path, token="s3/cret")) as server:
        url = socket_url(server.url)
        for wrong in (
            {},
            {"additional_headers": {"Authorization": "Bearer secret"}},
            {"subprotocols": ["logfire-mcp.v1", "bearer.secret"]},
        ):
            status, message = await refused(url, **wrong)
            assert (status, "bearer token" in message) == (401, True)
        assert (await refused(f"{url}?token=s3/cret"))[0] == 401
        async with connect(url, additional_headers={"Authorization": "Bearer s3/cret"}):
            pass
        offered: Any = ["logfire-mcp.v1", "bearer.s3%2Fcret"]
        async with connect(url, subprotocols=offered) as socket:
            assert socket.subprotocol == "logfire-mcp.v1"


async def test_a_plain_request_is_told_that_it_needs_a_websocket(url: str) -> None:
    answer = httpx.get(f"{url}/ws")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert "ws://" in answer.json()["error"]["message"]


async def test_there_are_so_many_clients_at_once(running_server: Server) -> None:
    feed = LiveFeed(running_server.log, running_server.projector, clients_max=1)
    seen: list[int] = []
    guard = Guard(
        feed,
        Admission.of(listen_host="127.0.0.1"),
        GuardLimits(),
        lambda scope, status, seconds: seen.append(status),
    )
    listener = Listener(guard, bind("127.0.0.1", 0))
    listener.start()
    async with connect(socket_url(listener.url)):
        status, message = await refused(socket_url(listener.url))
        assert (status, "come later" in message) == (503, True)
        assert seen == [101, 503]
    await listener.close()
    await feed.close()


def test_the_types_of_alerts_are_those_that_there_are() -> None:
    transitions = {name for name in WIRE_NAMES if name.startswith("alerts.")}
    assert transitions | {"alerts.acknowledged.v1"} == ALERT_TYPES


def test_what_is_large_is_said_in_parts() -> None:
    parts = list(in_parts(["x" * 40_000, "y" * 40_000, "z" * 100_000, "w"]))
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert list(in_parts([])) == [[]]
