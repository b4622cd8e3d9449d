"""The ``mcp`` command: MCP over stdio, for any number of clients of one data directory.

One process can own the log. So the first client's process serves it, also on a loopback port, and
the others attach to that. When the owner leaves, the next call of another one takes its place.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
import os
import signal
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from mcp_api.caller import client_header
from mcp_api.discovery import find_async
from mcp_api.tool_calls import FULL_ANSWER
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.failures import error_content
from mcp_api.tools.specs import SPECS
from mcp_api.tools.toolbox import Toolbox
from mcp_api.tools.values import json_number
from streams.config import Settings
from streams.errors import LogfireMcpError, LogLocked

_LOGGER = logging.getLogger(__name__)

ATTACH_S = 20.0
RETRY_S = 0.1
CALL_S = 90.0
ATTEMPTS = 3

_WRITING = frozenset(spec.name for spec in SPECS if not spec.read_only)


async def serve_stdio(settings: Settings) -> None:
    """Serves until stdin ends or SIGTERM or SIGINT comes."""
    # Late: the SDK takes a second to import, and only this command and /mcp need it.
    from mcp.server.stdio import stdio_server

    from mcp_api.mcp_protocol import build_server

    attachment = Attachment(settings)
    opening = asyncio.create_task(attachment.open(), name="attach")
    leaving: set[asyncio.Task[None]] = set()

    async def leave() -> None:
        await asyncio.gather(opening, return_exceptions=True)
        await attachment.close()
        # A thread of the SDK is in a read of stdin that nothing can interrupt.
        os._exit(0)

    def stop() -> None:
        if not leaving:
            leaving.add(asyncio.create_task(leave(), name="leave"))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        server = build_server(attachment)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        await asyncio.gather(opening, *leaving, return_exceptions=True)
        await attachment.close()


class _Gone(Exception):
    """The server that we were attached to does not answer any more."""


class Attachment:
    """A `Toolbox` over whichever server serves the data directory; in this process if none does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(CALL_S, connect=2.0), trust_env=False
        )
        self._attaching = asyncio.Lock()
        self._toolbox: Toolbox | None = None
        self._own: Any = None

    async def open(self) -> None:
        """Attaches ahead of the first call; what goes wrong is told by that call."""
        with suppress(LogfireMcpError):
            await self._attached()

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        actor: str,
        request_key: str | None = None,
    ) -> ToolAnswer:
        """As every toolbox; a call that a leaving server may have taken is repeated and counts
        once, for it carries a key."""
        # The same caller at each server: a key counts for one caller.
        kind = "local" if self._settings.token is None else "token"
        actor = f"{kind}/{actor.partition('/')[2]}"
        if name in _WRITING and request_key is None and "request_id" not in arguments:
            request_key = uuid.uuid4().hex
        try:
            for _ in range(ATTEMPTS):
                toolbox = await self._attached()
                try:
                    return await toolbox.call(name, arguments, actor=actor, request_key=request_key)
                except _Gone:
                    if self._toolbox is toolbox:
                        self._toolbox = None
        except LogfireMcpError as error:
            return _failure(error_content(error))
        return _failure({"error": {"message": "the server keeps going away; call again"}})

    async def close(self) -> None:
        """Stops the server of this process, if it is the owner; others take over by themselves."""
        await self._client.aclose()
        if self._own is not None:
            await self._own.__aexit__(None, None, None)

    async def _attached(self) -> Toolbox:
        if self._toolbox is not None:
            return self._toolbox
        # A client may cancel its call; the attaching goes on for the next.
        return await asyncio.shield(asyncio.create_task(self._attach()))

    async def _attach(self) -> Toolbox:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + ATTACH_S
        async with self._attaching:
            while self._toolbox is None:
                found = await find_async(self._settings.data_dir, self._client)
                if found is not None:
                    _LOGGER.info("attached to the server at %s (pid %d)", found.url, found.pid)
                    self._toolbox = RemoteToolbox(self._client, found.url, self._settings.token)
                    break
                try:
                    self._toolbox = await self._start_own()
                except LogLocked:
                    # Another process was faster, or is on its way out: it is found, or succeeded.
                    if loop.time() > give_up:
                        raise
                    await asyncio.sleep(RETRY_S)
            return self._toolbox

    async def _start_own(self) -> Toolbox:
        # Late: a process that attaches to another's server needs no database.
        from mcp_api.server import Server

        own = Server(self._settings.model_copy(update={"host": "127.0.0.1", "port": 0}))
        await own.__aenter__()
        self._own = own
        _LOGGER.info("serving %s at %s", self._settings.data_dir, own.url)
        return own.calls


class RemoteToolbox:
    """A `Toolbox` behind another process's ``POST /logfire-mcp``."""

    def __init__(self, client: httpx.AsyncClient, url: str, token: str | None) -> None:
        self._client = client
        self._url = url
        self._headers = {"accept": FULL_ANSWER, "content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        actor: str,
        request_key: str | None = None,
    ) -> ToolAnswer:
        """`_Gone` where the connection fails, so that the caller finds the next server."""
        headers = {**self._headers, "x-mcp-client": client_header(actor)}
        if request_key is not None:
            headers["idempotency-key"] = request_key
        try:
            response = await self._client.post(
                f"{self._url}/logfire-mcp",
                content=_body({"tool": name, "arguments": dict(arguments)}),
                headers=headers,
            )
        except httpx.PoolTimeout:  # nothing was sent, and the server may be well
            return _failure({"error": {"message": "too many calls at once; call again"}})
        except httpx.ConnectTimeout as error:  # nothing was sent: another server may be asked
            raise _Gone from error
        except httpx.TimeoutException:
            return _failure({"error": {"message": f"no answer within {CALL_S:g} seconds"}})
        except httpx.TransportError as error:
            raise _Gone from error
        return _answer(response)


def _body(content: dict[str, Any]) -> bytes:
    """JSON in ASCII: whatever a client may send passes, and the server judges it."""
    try:
        return json.dumps(content, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(content)).encode()


def _finite(value: Any) -> Any:
    """The same with "NaN", "+Inf" and "-Inf" for the numbers that JSON has no way to write."""
    match value:
        case float() if not math.isfinite(value):
            return json_number(value)
        case dict():
            return {key: _finite(one) for key, one in value.items()}
        case list() | tuple():
            return [_finite(one) for one in value]
        case _:
            return value


def _answer(response: httpx.Response) -> ToolAnswer:
    try:
        told = response.json()
    except ValueError:
        return _failure({"error": {"message": f"the server answered {response.status_code}"}})
    if response.status_code != 200:
        return _failure(told)
    image = told["image_png"]
    return ToolAnswer(
        content=told["content"],
        text=told["text"],
        image_png=base64.b64decode(image) if image else None,
        link=told["link"],
    )


def _failure(content: dict[str, Any]) -> ToolAnswer:
    return ToolAnswer(content=content, text=content["error"]["message"], is_error=True)
