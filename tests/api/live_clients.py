"""Clients of the live feed, by a WebSocket library that is not ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from mcp_api.server import Server
from streams.events.catalogue import Envelope, Event
from streams.events.codec import encode
from streams.events.health import HealthChecked
from streams.events.topics import HEALTH_RESULTS
from streams.log.protocol import Append, Entry

CHECKED = "health.checked.v1"
GOT_S = 30.0
Message = dict[str, Any]


class LiveClient:
    """One connection; ``got``: every message, ``positions``: the newest of each subscription."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.got: list[Message] = []
        self.positions: dict[str, str] = {}

    async def say(self, text: str | bytes) -> None:
        await self.socket.send(text)

    async def ask(self, **request: Any) -> None:
        await self.say(json.dumps(request))

    async def subscribe(self, name: str, feed: str, **more: Any) -> None:
        await self.ask(subscribe={"id": name, "feed": feed, **more})

    async def receive(self) -> Message:
        """The next message, whatever it is about."""
        async with asyncio.timeout(GOT_S):
            message = json.loads(await self.socket.recv())
        assert isinstance(message, dict)
        self.got.append(message)
        if "position" in message:
            self.positions[message["id"]] = message["position"]
        return message

    async def until(self, kind: str, name: str | None = None) -> Message:
        """The next message of this type (about this subscription); others are in ``got``."""
        while True:
            message = await self.receive()
            if message["type"] == kind and name in {None, message.get("id")}:
                return message

    async def refusal(self) -> str:
        """One sentence."""
        message = (await self.until("error"))["message"]
        assert isinstance(message, str)
        assert message
        assert "\n" not in message
        return message

    def events(self, name: str) -> list[Message]:
        """Of a subscription, all so far."""
        return [
            event
            for message in self.got
            if message.get("id") == name and message["type"] == "change"
            for event in message["events"]
        ]

    async def until_events(self, name: str, count: int) -> list[Message]:
        """As soon as there are so many."""
        while len(self.events(name)) < count:
            await self.receive()
        return self.events(name)


async def tell(server: Server, count: int, *, first: int = 0, size: int = 0) -> None:
    """That many checks of an endpoint that is no target, numbered, each of so many characters."""
    for number in range(first, first + count):
        found = HealthChecked(
            target="", endpoint="x" * size, at_ms=1, cause="ok", reason=str(number)
        )
        message = encode(Event(Envelope("id", "test", 1), found))
        await server.log.append(Append((Entry(HEALTH_RESULTS, 0, message),)))


async def gauge(url: str, name: str) -> float:
    """One of the live feed's gauges."""
    async with httpx.AsyncClient(timeout=GOT_S) as client:
        page = (await client.get(f"{url}/metrics")).text
    [line] = [one for one in page.splitlines() if one.startswith(f"logfire_mcp_ws_{name} ")]
    return float(line.split()[1])


def socket_url(url: str, path: str = "/ws") -> str:
    return url.replace("http", "ws", 1) + path


@asynccontextmanager
async def live(url: str, **more: Any) -> AsyncIterator[LiveClient]:
    """A client of the server at this URL."""
    async with connect(socket_url(url), max_size=None, **more) as socket:
        yield LiveClient(socket)
