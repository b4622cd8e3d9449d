"""The small routes: ``/health``, ``/ready``, ``/metrics`` and what a browser sees at ``/``."""

# ruff: noqa: ARG001 - every handler takes what ASGI gives

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from importlib.metadata import version

from mcp_api.asgi import App, Receive, Scope, Send, send_bytes, send_json
from mcp_api.telemetry import CONTENT_TYPE, Telemetry

TEXT = b"text/plain; charset=utf-8"

INDEX = """\
Logfire MCP Server: metrics in an event log, answers over MCP.

  POST /mcp           MCP (Streamable HTTP): connect a client here
                      claude mcp add --transport http logfire-mcp {url}/mcp
  POST /logfire-mcp   the same tools as plain HTTP: {{"tool": "query_metrics", "arguments": {{…}}}}
  GET  /export        raw samples: ?format=csv&metric_names=NAME&start_time=-1h
  GET  /api/v1/…      PromQL, as Prometheus' HTTP API has it: /api/v1/query?query=up
  GET  /metrics       this server's own numbers, for Prometheus
  GET  /federate      collected series for another Prometheus: ?match[]={{__name__=~"system_.+"}}
  GET  /health        alive?
  GET  /ready         up to date?
"""


def health() -> App:
    """Alive: the process answers. Its id lets a reader of ``server.json`` know whom it found."""
    told = {
        "status": "alive",
        "server_name": "logfire-mcp",
        "version": version("logfire-mcp-server"),
        "pid": os.getpid(),
    }

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, told)

    return answer


def ready(reasons: Callable[[], list[str]]) -> App:
    """200 once every read model is up to date, else 503 with the reasons."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        found = reasons()
        if found:
            content = {"status": "not ready", "reasons": found}
            await send_json(send, 503, content, ((b"retry-after", b"1"),))
        else:
            await send_json(send, 200, {"status": "ready", "reasons": []})

    return answer


def metrics(telemetry: Telemetry) -> App:
    """Prometheus' text format."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        page = await asyncio.to_thread(telemetry.render)
        await send_bytes(send, 200, CONTENT_TYPE, page)

    return answer


def index(url: Callable[[], str]) -> App:
    """What this is, for somebody who opens the address in a browser."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_bytes(send, 200, TEXT, INDEX.format(url=url()).encode())

    return answer
