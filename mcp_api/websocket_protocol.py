"""uvicorn's WebSocket protocol, with connections that end though their client reads nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

CLOSE_S = 10.0
"""For a client to read what was sent before the end, and why it ends."""


class BoundedSocket(WebSocketsSansIOProtocol):
    """One connection; what it holds in memory is gone `CLOSE_S` after its end at the latest."""

    async def send(self, message: Any) -> None:
        """A close does not wait until the client has read: it goes out behind what it has not."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it."""
        super().on_task_complete(task)
        if not self.disconnected:
            self.loop.call_later(CLOSE_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping: it reads nothing, so a close would wait for ever."""
        super().keepalive_timeout()
        self.transport.abort()
