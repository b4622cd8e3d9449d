"""Many clients of the live feed in this process, and what each of them was told."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from mcp_api.live_feed.subscriptions import ALERT_TYPES
from streams.config import load_settings
from streams.events.topics import ALERTS
from streams.log.opening import open_log_to_read
from tests.api.live_clients import socket_url

ALERTS_EACH = 1_000
PROMQL = "sum by (n) (flip) > 0.5"
AGAIN_S = 0.2
TOLD_S = 180.0


@dataclass(eq=False)
class Member:
    """``offsets``: of every alert's change, in the order in which they came; ``values``: changes
    of metrics."""

    offsets: list[int] = field(default_factory=list)
    position: str | None = None
    values: int = 0
    connections: int = 0
    gaps: int = 0


class Swarm:
    """Every member follows alerts, every second one metrics too; who is cut off comes again."""

    def __init__(self, count: int) -> None:
        self.members = [Member() for _ in range(count)]
        self.url = ""
        self.waits_s: list[float] = []
        """From the append of a message's last event to its arrival."""
        self.began = asyncio.Semaphore(0)
        self._read: dict[str, tuple[list[int], float]] = {}

    def begin(self, url: str) -> None:
        """They come, all at once."""
        self.url = url
        self._running = asyncio.create_task(self._run())

    async def end(self) -> None:
        """They leave."""
        self._running.cancel()
        await asyncio.wait({self._running})

    async def all_began(self) -> None:
        """Everybody has a first answer."""
        async with asyncio.timeout(TOLD_S):
            for _ in self.members:
                await self.began.acquire()

    async def until_told(self, changes: int) -> None:
        """Everybody has so many."""
        async with asyncio.timeout(TOLD_S):
            while min(len(one.offsets) for one in self.members) < changes:
                if self._running.done():
                    self._running.result()
                await asyncio.to_thread(time.sleep, AGAIN_S / 4)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number, member in enumerate(self.members):
                tasks.create_task(self._stay(member, metrics=number % 2 == 0))

    async def _stay(self, member: Member, *, metrics: bool) -> None:
        while True:
            with suppress(OSError, InvalidHandshake, WebSocketException, TimeoutError):
                await self._follow(member, metrics=metrics)
            await asyncio.to_thread(time.sleep, AGAIN_S)

    async def _follow(self, member: Member, *, metrics: bool) -> None:
        async with connect(socket_url(self.url), max_size=None, compression=None) as socket:
            member.connections += 1
            asked: dict[str, Any] = {"id": "a", "feed": "alerts"}
            if member.position is not None:
                asked["after"] = member.position
            await socket.send(json.dumps({"subscribe": asked}))
            if metrics:
                asked = {"id": "m", "feed": "metrics", "promql": PROMQL, "interval": "1s"}
                await socket.send(json.dumps({"subscribe": asked}))
            async for text in socket:
                assert isinstance(text, str)
                self._got(member, text)

    def _got(self, member: Member, text: str) -> None:
        if text.startswith('{"id":"m"'):
            member.values += 1
            return
        kind = text[len('{"id":"a","type":"') :].partition('"')[0]
        if kind == "change":
            offsets, last_s = self._told(text)
            member.offsets += offsets
            self.waits_s.append(time.time() - last_s)
        member.gaps += kind == "gap"
        assert kind in {"change", "snapshot", "position", "gap"}, text[:200]
        found = text.rpartition('"position":"')[2].rstrip('"}')
        if member.position is None:
            self.began.release()
        member.position = found

    def _told(self, text: str) -> tuple[list[int], float]:
        """Read once, for all whom it is told."""
        if text not in self._read:
            events = json.loads(text)["events"]
            last = datetime.fromisoformat(events[-1]["at"]).timestamp()
            self._read[text] = ([event["offset"] for event in events], last)
        return self._read[text]


async def make_rule(url: str) -> None:
    """Each series of ``flip`` is an alert of its own."""
    arguments = {"name": "Flip", "condition": "flip > 0.5", "severity": "low"}
    await _call(url, "create_alert", arguments)


async def flip(url: str, value: int, alerts: int = ALERTS_EACH) -> None:
    """All of them fire at the next tick, or are resolved."""
    metrics = [
        {"name": "flip", "value": value, "metric_type": "gauge", "tags": {"n": str(number)}}
        for number in range(alerts)
    ]
    await _call(url, "collect_metrics", {"source": "swarm", "metrics": metrics})


async def _call(url: str, tool: str, arguments: dict[str, Any]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{url}/logfire-mcp", json={"tool": tool, "arguments": arguments}
        )
    assert answer.status_code == 200, answer.text


def told_by_the_log(data_dir: Path) -> list[int]:
    """The offsets of all changes of alerts there are."""
    log = open_log_to_read(load_settings({}, None, data_dir=data_dir))
    try:
        offsets: list[int] = []
        at, end = 0, log.ends()[ALERTS, 0]
        while at < end:
            records = log.read_now(ALERTS, 0, at)
            offsets += [r.offset for r in records if r.headers["ce_type"] in ALERT_TYPES]
            at = records[-1].offset + 1
        return offsets
    finally:
        log.close()
