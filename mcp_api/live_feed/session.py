"""One client of the live feed, from its first message to its last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from mcp_api.asgi import Receive, Send
from mcp_api.live_feed.log_feed import LogFeed
from mcp_api.live_feed.messages import (
    Ping,
    Subscribe,
    Unsubscribe,
    error_text,
    head_of,
    json_text,
    read_request,
)
from mcp_api.live_feed.metrics_feed import MetricsFeed
from mcp_api.live_feed.outbox import CUT_REASON, Outbox, Shared, Usage
from mcp_api.live_feed.subscriptions import MetricsWanted, wanted
from streams.errors import InputError, LogfireMcpError, Overloaded

_LOGGER = logging.getLogger(__name__)

SUBSCRIPTIONS_MAX = 20
TRY_AGAIN_LATER = 1013
"""https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number"""


class Session:
    """What one client follows, and what waits for it."""

    def __init__(self, log_feed: LogFeed, metrics_feed: MetricsFeed, usage: Usage) -> None:
        self._log_feed = log_feed
        self._metrics_feed = metrics_feed
        self._usage = usage
        self._outbox = Outbox(usage)
        self._following: dict[str, asyncio.Task[None]] = {}

    @property
    def subscriptions(self) -> int:
        """How many there are."""
        return len(self._following)

    async def run(self, receive: Receive, send: Send) -> None:
        """Until the client leaves, or is cut."""
        works = [self._listen(receive), self._speak(send), self._outbox.cut.wait()]
        running = {asyncio.ensure_future(work) for work in works}
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if self._outbox.cut.is_set():
                closing = {"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": CUT_REASON}
                with suppress(OSError):
                    await send(closing)
                return
            for task in done:
                task.result()
        finally:
            self._outbox.close()
            tasks = {*running, *self._following.values()}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _listen(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            try:
                await self._asked(message.get("text"))
            except LogfireMcpError as error:
                await self._say(error_text(str(error)))

    async def _speak(self, send: Send) -> None:
        with suppress(OSError):  # the client has left
            while True:
                for text in await self._outbox.take():
                    await send({"type": "websocket.send", "text": text})
                    self._usage.sent += 1

    async def _asked(self, text: str | None) -> None:
        match read_request(text):
            case Ping(said):
                await self._say(json_text({"type": "pong", "ping": said}))
            case Unsubscribe(name):
                task = self._following.pop(name, None)
                if task is None:
                    raise InputError(f"there is no subscription {name!r}")
                task.cancel()
                await asyncio.wait({task})
                await self._say(json_text({"id": name, "type": "unsubscribed"}))
            case Subscribe() as asked:
                self._begin(asked)

    def _begin(self, asked: Subscribe) -> None:
        name = asked.id
        if name in self._following:
            raise InputError(f"there is a subscription {name!r} already; choose another id")
        if len(self._following) >= SUBSCRIPTIONS_MAX:
            raise Overloaded(
                f"there are {SUBSCRIPTIONS_MAX} subscriptions already; unsubscribe from one first"
            )
        try:
            what = wanted(asked)
        except InputError as error:
            raise InputError(f"subscription {name!r}: {error}") from error
        head = head_of(name)
        work = (
            self._metrics_feed.follow(what, head, self._outbox)
            if isinstance(what, MetricsWanted)
            else self._log_feed.follow(what, head, self._outbox, asked.after)
        )
        self._following[name] = asyncio.create_task(self._follow(name, work))

    async def _follow(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Ends the subscription where it cannot go on."""
        try:
            await work
            return
        except LogfireMcpError as error:
            message = str(error)
        except Exception:
            _LOGGER.exception("a subscription of the live feed failed")
            message = "something went wrong here; the server's log says what"
        self._following.pop(name, None)
        await self._say(error_text(message, name))

    async def _say(self, text: str) -> None:
        await self._outbox.put("", Shared(text))
