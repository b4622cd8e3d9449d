"""``POST /api/v1/heartbeat/<name>``: a target of kind heartbeat says that it is alive."""

from __future__ import annotations

import asyncio
from typing import Final

from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_json, send_refusal
from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.positions import position_token
from mcp_api.watching import Watching
from projections.health_queries import HealthQueries
from streams.errors import LogfireMcpError
from streams.events.health import HealthChecked
from streams.log.wall_clock import wall_clock_ms

PATH: Final = "/api/v1/heartbeat/"


def heartbeat_route(health: HealthQueries, watching: Watching) -> App:
    """200 with the ``position`` once it is durable; 404 where there is no such target."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        name = scope["path"].removeprefix(PATH).rstrip("/")
        try:
            status = await asyncio.to_thread(health.target, name)
            if status is None or status.target.kind != "heartbeat":
                message = f"There is no target {name[:100]!r} of kind heartbeat."
                await send_refusal(send, Refusal(404, message))
                return
            beat = HealthChecked(
                target=name, endpoint=status.target.endpoint, at_ms=wall_clock_ms(), cause="ok"
            )
            position = await watching.tell(beat)
        except LogfireMcpError as error:
            status_code, headers = http_status(error)
            encoded = tuple((key.lower().encode(), text.encode()) for key, text in headers.items())
            await send_json(send, status_code, error_content(error), encoded)
            return
        await send_json(send, 200, {"status": "success", "position": position_token([position])})

    return answer
