"""``GET /ws``: who may come in, how many there are, and what is counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mcp_api.asgi import Receive, Refusal, Scope, Send, send_refusal
from mcp_api.http_protocol import connections_max
from mcp_api.live_feed.log_feed import LogFeed
from mcp_api.live_feed.metrics_feed import MetricsFeed
from mcp_api.live_feed.outbox import Usage
from mcp_api.live_feed.session import Session
from mcp_api.live_feed.snapshots import Snapshots
from mcp_api.telemetry import Gauge
from projections.projector import Projector
from streams.log.protocol import LocalLog

_LOGGER = logging.getLogger(__name__)

SUBPROTOCOL = "logfire-mcp.v1"

CLIENTS_MAX = connections_max() * 3 // 4
"""The rest of the connections is left for requests."""


class LiveFeed:
    """The handler; made inside the event loop that uses it."""

    def __init__(
        self, log: LocalLog, projector: Projector, *, clients_max: int = CLIENTS_MAX
    ) -> None:
        self._usage = Usage()
        self._log_feed = LogFeed(log, Snapshots(projector))
        self._metrics_feed = MetricsFeed(projector, self._usage)
        self._clients_max = clients_max
        self._sessions: set[Session] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            headers = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
            message = "This is a WebSocket: connect with ws:// or wss://, not with a plain request."
            await send_refusal(send, Refusal(426, message, headers=headers))
            return
        if len(self._sessions) >= self._clients_max:
            message = f"There are {self._clients_max} clients of the live feed already; come later."
            await send_refusal(send, Refusal(503, message, retry_after_s=5))
            return
        session = Session(self._log_feed, self._metrics_feed, self._usage)
        self._sessions.add(session)
        try:
            chosen = SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None
            await receive()  # websocket.connect
            await send({"type": "websocket.accept", "subprotocol": chosen})
            await session.run(receive, send)
        finally:
            self._sessions.discard(session)

    def gauges(self) -> Iterator[Gauge]:
        """For ``/metrics``."""
        usage = self._usage
        sessions = list(self._sessions)
        kinds = (
            ("clients", "Clients of the live feed.", len(sessions)),
            ("subscriptions", "What they follow.", sum(one.subscriptions for one in sessions)),
            ("expressions", "Different PromQL among it.", self._metrics_feed.expressions),
            ("sent", "Messages sent since the start.", usage.sent),
            (
                "conflated",
                "Answers left out since the start, as a newer one came before there was room.",
                usage.conflated,
            ),
            ("cut", "Clients cut since the start, as too much waited for them.", usage.cut),
            ("queued_bytes", "Waiting for clients, what they share once.", usage.queued_bytes),
        )
        for name, text, value in kinds:
            yield Gauge(f"logfire_mcp_ws_{name}", text, (), {(): float(value)})

    async def close(self) -> None:
        """After its clients are gone."""
        await self._log_feed.close()
        await self._metrics_feed.close()
