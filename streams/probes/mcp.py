"""MCP servers over Streamable HTTP and over the older SSE transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from streams.errors import InputError
from streams.events.health import Target
from streams.probes.addresses import AddressPolicy
from streams.probes.endpoints import parse_url
from streams.probes.finding import Finding, elapsed_ms
from streams.probes.http_client import Seen, failed, make_client
from streams.probes.mcp_asking import CLIENT_INFO, Baselines, ask, misanswered
from streams.probes.own_headers import NONE, OwnHeaders

_NewClient = Callable[[float], httpx2.AsyncClient]
"""With a time-out in seconds."""


class McpProbe:
    """A session of its own for each look, ended afterwards: a stateful server keeps none of it."""

    def __init__(self, baselines: Baselines) -> None:
        self._baselines = baselines

    async def look(self, target: Target, policy: AddressPolicy, own: OwnHeaders = NONE) -> Finding:
        """A look at ``mcp`` or ``mcp-sse``."""
        seen = Seen()
        answered: list[Finding] = []
        try:
            async with asyncio.timeout(target.timeout_ms / 1000):
                await self._ask(
                    target,
                    lambda timeout_s: make_client(policy, seen, timeout_s, own),
                    seen,
                    answered.append,
                )
        except InputError as error:
            return Finding(cause="forbidden", reason=str(error))
        except Exception as error:  # noqa: BLE001  the SDK raises groups of whatever went wrong
            if not answered:
                return replace(_explained(error, seen, target), status_code=seen.status)
            # It answered all that it was asked; only the end of its session failed.
        return answered[0]

    def forget(self, name: str) -> None:
        """That target is gone."""
        self._baselines.forget(name)

    async def _ask(
        self,
        target: Target,
        client: _NewClient,
        seen: Seen,
        answered: Callable[[Finding], None],
    ) -> None:
        parse_url(target.endpoint)
        start_s = time.perf_counter()
        async with Client(
            _reached(target, client),
            mode="legacy" if target.kind == "mcp-sse" else "auto",
            client_info=CLIENT_INFO,
            cache=None,
        ) as session:
            tools = await ask(session)
            latency_ms = elapsed_ms(start_s)
            found = self._baselines.found(target, session, tools)
            answered(Finding(cause="ok", status_code=seen.status, latency_ms=latency_ms, mcp=found))


@asynccontextmanager
async def _reached(target: Target, new_client: _NewClient) -> AsyncIterator[Any]:
    timeout_s = target.timeout_ms / 1000

    def client(
        headers: Any = None,  # noqa: ARG001  the SDK's factory has them
        timeout: Any = None,  # noqa: ARG001
        auth: Any = None,  # noqa: ARG001
    ) -> httpx2.AsyncClient:
        return new_client(timeout_s)

    if target.kind == "mcp-sse":
        async with sse_client(target.endpoint, httpx_client_factory=client) as streams:
            yield streams
    else:
        async with (
            client() as http,
            streamable_http_client(target.endpoint, http_client=http) as streams,
        ):
            yield streams


def _explained(error: Exception, seen: Seen, target: Target) -> Finding:
    """What went over the wire says more than what the SDK made of it."""
    if isinstance(error, TimeoutError) and seen.error is None:
        return failed(error, target.timeout_ms)
    if seen.error is not None:
        return failed(seen.error, target.timeout_ms)
    match seen.status:
        case 401 | 403 | 407:
            return Finding(cause="unauthorized", reason=f"HTTP {seen.status}")
        case 404 | 405 | 410:
            reason = f"HTTP {seen.status}: no MCP server at this path"
            return Finding(cause="not_found", reason=reason)
    finding = misanswered(error)
    if finding is not None and finding.cause in {"protocol", "died", "timeout"}:
        return finding
    match seen.status:
        case int() as status if 300 <= status < 400:
            return Finding(cause="status", reason=f"HTTP {status}: a redirect to another origin")
        case int() as status if status >= 400:
            return Finding(cause="status", reason=f"HTTP {status}")
    kind = seen.content_type.partition(";")[0].strip().lower()
    if seen.status is not None and kind not in {"application/json", "text/event-stream", ""}:
        return Finding(
            cause="not_found", reason=f"it answers {kind[:60]}: no MCP server at this path"
        )
    return finding or failed(error, target.timeout_ms)
