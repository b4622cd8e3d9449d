"""The live feed against a whole server: snapshots, changes, positions, slow clients."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

from mcp_api.live_feed.log_feed import LogFeed
from mcp_api.live_feed.outbox import BYTES_MAX, CUT_REASON, Outbox, Usage
from mcp_api.live_feed.snapshots import Snapshots
from mcp_api.live_feed.subscriptions import LogWanted
from mcp_api.server import Server
from mcp_api.tools.positions import parse_position
from streams.events.topics import HEALTH_RESULTS
from tests.api.kafka_nodes import eventually
from tests.api.live_clients import CHECKED, GOT_S, LiveClient, gauge, live, tell
from tests.api.test_alert_tools import collect, create, until
from tests.api.test_health_check import serving, web


async def test_metrics_begin_with_a_snapshot_and_go_on_with_what_changed(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    await collect(client, 90.0, "a")
    await collect(client, 10.0, "b")
    async with live(running_server.url) as feed:
        await feed.subscribe("busy", "metrics", promql="load > 80", interval="1s")
        snapshot = await feed.until("snapshot")
        labels = {"__name__": "load", "host": "a", "source": "test"}
        assert snapshot["series"] == [{"labels": labels, "value": 90}]
        assert snapshot["position"].startswith("metrics.points/0@")
        await collect(client, 85.5, "b")
        change = await feed.until("change")
        assert change["series"] == [{"labels": {**labels, "host": "b"}, "value": 85.5}]
        await collect(client, 7.0, "a")
        assert (await feed.until("change"))["series"] == [{"labels": labels, "value": None}]


async def test_alerts_begin_with_those_that_are_active_and_go_on_with_each_transition(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    await create(client)
    await collect(client, 95.0, "a")
    await until(client, "firing")
    async with live(running_server.url) as feed:
        await feed.subscribe("all", "alerts")
        snapshot = await feed.until("snapshot")
        [active] = snapshot["alerts"]
        assert (active["state"], active["alert"]["labels"]["host"]) == ("firing", "a")
        assert active["annotations"] == {"summary": "a is at 95"}
        await collect(client, 20.0, "a")
        [resolved] = await feed.until_events("all", 1)
        assert resolved["type"] == "alerts.resolved.v1"
        assert resolved["data"]["alert"]["fingerprint"] == active["alert"]["fingerprint"]
        assert feed.positions["all"] >= f"alerts.events/0@{resolved['offset']}"


async def test_who_comes_again_gets_what_came_meanwhile_and_nothing_twice(
    running_server: Server,
) -> None:
    url = running_server.url
    async with live(url) as feed:
        await feed.subscribe("e", "events", types=[CHECKED])
        await feed.until("snapshot")
        await tell(running_server, 3)
        before = await feed.until_events("e", 3)
    await tell(running_server, 700, first=3)
    async with live(url) as feed:
        await feed.subscribe("e", "events", types=[CHECKED], after=_position(before[-1]))
        await feed.until("position")
        await tell(running_server, 2, first=703)
        after = await feed.until_events("e", 702)
    told = [event["data"]["reason"] for event in before + after]
    assert told == [str(n) for n in range(705)]


def _position(event: dict[str, Any]) -> str:
    """What a client knows that has this event and nothing of other partitions."""
    return f"{event['topic']}/{event['partition']}@{event['offset']}"


async def test_health_begins_with_every_target_and_tells_when_one_turns(tmp_path: Path) -> None:
    with web() as site:
        target = {"kind": "http", "endpoint": site.url, "interval": "1s", "failures": 1}
        async with (
            serving(tmp_path, {"site": target}) as client,
            live(str(client.base_url).rstrip("/")) as feed,
        ):
            await feed.subscribe("h", "health")
            [now] = (await feed.until("snapshot"))["targets"]
            assert (now["target"], now["kind"], now["endpoint"]) == ("site", "http", site.url)
            if now["state"] != "healthy":
                await feed.until_events("h", 1)
            known = len(feed.events("h"))
            site.status = 500
            turned = (await feed.until_events("h", known + 1))[-1]
            assert turned["type"] == "health.changed.v1"
            assert (turned["data"]["target"], turned["data"]["before"]) == ("site", "healthy")


async def test_events_can_be_had_from_the_first_one_on_and_columns_are_only_counted(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    await collect(client, 1.0)
    async with live(running_server.url) as feed:
        wanted = {"topics": ["metrics.points"], "types": ["metrics.collected.v1"]}
        await feed.subscribe("e", "events", **wanted, after="")
        [event] = await feed.until_events("e", 1)
        assert event["type"] == "metrics.collected.v1"
        assert event["data"] == {"points": 1, "series": 1}
        assert event["actor"] == "local/http:127.0.0.1"


async def test_an_expression_is_evaluated_once_for_all_who_follow_it(
    running_server: Server,
) -> None:
    url = running_server.url
    async with live(url) as one, live(url) as other:
        for feed in (one, other):
            await feed.subscribe("m", "metrics", promql="load")
            await feed.until("snapshot")
        assert await gauge(url, "clients") == 2
        assert await gauge(url, "subscriptions") == 2
        assert await gauge(url, "expressions") == 1
        await one.ask(unsubscribe="m")
        await one.until("unsubscribed")
        assert await gauge(url, "expressions") == 1
        await other.ask(unsubscribe="m")
        await other.until("unsubscribed")
        assert await gauge(url, "expressions") == 0


async def test_who_waits_for_what_does_not_come_is_told_how_far_the_log_is(
    running_server: Server,
) -> None:
    log = running_server.log
    feed = LogFeed(log, Snapshots(running_server.projector), position_s=0)
    rare = LogWanted("events", frozenset({HEALTH_RESULTS}), frozenset({"health.changed.v1"}))
    outbox = Outbox(Usage())
    following = asyncio.create_task(feed.follow(rare, "{", outbox, None))
    await outbox.take()
    await tell(running_server, 1)
    newest = log.ends()[HEALTH_RESULTS, 0] - 1
    async with asyncio.timeout(GOT_S):
        while True:
            [text] = await outbox.take()
            message = json.loads(text)
            assert message["type"] == "position"
            if parse_position(message["position"])[HEALTH_RESULTS, 0] >= newest:
                break
    following.cancel()
    await asyncio.wait({following})
    await feed.close()


@asynccontextmanager
async def slow_client(url: str) -> AsyncIterator[LiveClient]:
    """For which little waits on the way."""
    near = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    async with live(url, sock=near, max_queue=1) as slow:
        yield slow


async def test_values_that_wait_are_replaced_by_newer_ones(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    url, count, value = running_server.url, 40, 0
    await tell(running_server, count, size=500_000)
    async with slow_client(url) as slow:
        await slow.subscribe("m", "metrics", promql="load", interval="1s")
        await slow.until("snapshot")
        await slow.subscribe("e", "events", types=[CHECKED], after="")

        async def stuffed() -> bool:
            return await gauge(url, "queued_bytes") > BYTES_MAX / 2

        async def conflated() -> bool:
            nonlocal value
            value += 1
            await collect(client, value)
            return await gauge(url, "conflated") > 0

        await eventually(stuffed, "much waits")
        await eventually(conflated, "values wait, too")
        seen = []
        while not seen or seen[-1] != value:
            change = await slow.until("change", "m")
            seen.append(change["series"][0]["value"])
        assert seen == sorted(set(seen))
        await slow.until_events("e", count)
    assert await gauge(url, "cut") == 0


async def test_who_does_not_read_is_cut_counted_and_goes_on_where_he_was(
    running_server: Server,
) -> None:
    url, size, count = running_server.url, 500_000, 40
    told = []
    async with live(url) as quick:
        async with slow_client(url) as slow:
            for feed in (slow, quick):
                await feed.subscribe("e", "events", types=[CHECKED])
                await feed.until("snapshot")
            reading = asyncio.create_task(quick.until_events("e", count))
            await tell(running_server, count, size=size)

            async def cut() -> bool:
                assert await gauge(url, "queued_bytes") < 2 * BYTES_MAX
                return await gauge(url, "cut") == 1

            await eventually(cut, "who does not read is cut")
            with pytest.raises(ConnectionClosedError) as closed:
                await slow.until_events("e", count)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, CUT_REASON)
            told += slow.events("e")
        assert len(await reading) == count
    assert await gauge(url, "queued_bytes") == 0
    async with live(url) as again:
        await again.subscribe("e", "events", types=[CHECKED], after=slow.positions["e"])
        told += await again.until_events("e", count - len(told))
    assert [event["data"]["reason"] for event in told] == [str(n) for n in range(count)]


async def test_who_comes_while_much_is_written_misses_nothing_and_gets_nothing_twice(
    running_server: Server,
) -> None:
    rounds, each = 20, 50
    last = rounds * each - 1

    async def come(after: str | None) -> list[str]:
        async with live(running_server.url) as feed:
            more = {} if after is None else {"after": after}
            await feed.subscribe("e", "events", types=[CHECKED], **more)
            while not (own := feed.events("e")) or own[-1]["data"]["reason"] != str(last):
                await feed.receive()
            return [event["data"]["reason"] for event in own]

    coming = []
    for begin in range(0, last, each):
        coming += [asyncio.create_task(come(after)) for after in (None, "")]
        await tell(running_server, each, first=begin)
    for number, told in enumerate(await asyncio.gather(*coming)):
        assert told == [str(n) for n in range(last + 1)][-len(told) :]
        assert number % 2 == 0 or len(told) == last + 1
