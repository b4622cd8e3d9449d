"""``/mcp``: Streamable HTTP of both protocol eras; the SDK is imported at the first request."""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mcp_api.asgi import Message, Receive, Refusal, Scope, Send, header, send_refusal
from mcp_api.caller import Caller, mcp_client

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from mcp_api.mcp_protocol import Observe
    from mcp_api.tools.toolbox import Toolbox

_LOGGER = logging.getLogger(__name__)


class _ClientInfo(msgspec.Struct):
    name: str = ""


class _Params(msgspec.Struct):
    clientInfo: _ClientInfo = msgspec.field(default_factory=_ClientInfo)


class _Opening(msgspec.Struct):
    method: str = ""
    params: _Params = msgspec.field(default_factory=_Params)


class McpHttp:
    """An ASGI application for one path, to be started and stopped with the server."""

    def __init__(
        self, toolbox: Toolbox, body_bytes_max: int, observe: Observe | None = None
    ) -> None:
        """``observe``: told of each request of MCP, but for the tools' calls (`build_server`)."""
        self._toolbox = toolbox
        self._observe = observe
        self._body_bytes_max = body_bytes_max
        self._loading: asyncio.Task[StreamableHTTPSessionManager] | None = None
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a POST. The server sends nothing unasked, so there is no stream to GET."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="mcp-load")
        manager = await asyncio.shield(self._loading)
        message = await receive()
        body = message.get("body", b"")
        opening = _opening_client(body)
        answer = send
        if opening is not None:
            answer = _WithSession(send, opening)
        elif client := _session_client(header(scope, b"mcp-session-id")):
            caller: Caller = scope["caller"]
            scope["caller"] = replace(caller, client=client)
        await manager.handle_request(scope, _Again(message, receive), answer)

    async def close(self) -> None:
        """Ends what the SDK runs in the background."""
        self._stop.set()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._running is not None:
            await self._running

    async def _load(self) -> StreamableHTTPSessionManager:
        manager = await asyncio.to_thread(self._import)
        started = asyncio.Event()
        # The manager must be entered and left by one task, which no request's task can be.
        self._running = asyncio.create_task(self._run(manager, started), name="mcp-run")
        await started.wait()
        return manager

    def _import(self) -> StreamableHTTPSessionManager:
        # Late, for the SDK takes a second and a third of the memory that an idle server has.
        from mcp_api.mcp_protocol import build_server, session_manager

        server = build_server(self._toolbox, self._observe)
        return session_manager(server, self._body_bytes_max)

    async def _run(self, manager: StreamableHTTPSessionManager, started: asyncio.Event) -> None:
        async with manager.run():
            started.set()
            await self._stop.wait()


async def refuse_stream(send: Send) -> None:
    """The answer to GET and DELETE, which the specification lets a server refuse so."""
    await send_refusal(
        send,
        Refusal(
            405,
            "MCP messages are POSTed here; this server has no event stream and no sessions.",
            headers=((b"allow", b"POST"),),
        ),
    )


def _opening_client(body: bytes) -> str | None:
    """What a client calls itself in ``initialize``, None for every other message."""
    if b'"initialize"' not in body:
        return None
    try:
        opening = msgspec.json.decode(body, type=_Opening)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None  # the SDK will say what is wrong with it
    return mcp_client(opening.params.clientInfo.name) if opening.method == "initialize" else None


def _session_id(client: str) -> str:
    name = base64.urlsafe_b64encode(client.encode()).decode().rstrip("=")
    return f"{name}.{uuid.uuid4().hex}"


def _session_client(session_id: str) -> str | None:
    """The client's name that a session id of ours carries.

    >>> _session_client(_session_id("mcp:claude-code")), _session_client("other")
    ('mcp:claude-code', None)
    """
    name, dot, _ = session_id.partition(".")
    if not dot or len(name) > 512:
        return None
    try:
        client = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except ValueError:
        return None
    return mcp_client(client.removeprefix("mcp").removeprefix(":"))


class _WithSession:
    """Adds a session id that says who the client is: nothing is kept here, so it has no end."""

    def __init__(self, send: Send, client: str) -> None:
        self._send = send
        self._client = client

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            session = (b"mcp-session-id", _session_id(self._client).encode())
            message["headers"] = [*message["headers"], session]
        await self._send(message)


class _Again:
    """A ``receive`` that gives a message that was read already, then the rest."""

    def __init__(self, message: Message, receive: Receive) -> None:
        self._message: Message | None = message
        self._receive = receive

    async def __call__(self) -> Message:
        if self._message is None:
            return await self._receive()
        message, self._message = self._message, None
        return message
