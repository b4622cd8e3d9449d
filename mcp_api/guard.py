"""The one way in: nothing behind it sees a request that is not allowed, too large or too slow.

Pure ASGI around the whole application. In this order, each with its own refusal: Host, Origin and
token (400, 401, 403, 421), too many requests at once (503), the body (408, 413, 503), the whole
request's deadline (504). What escapes from the application is a 500, logged and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp_api.asgi import App, Message, Receive, Refusal, Scope, Send, send_refusal
from mcp_api.bodies import Bodies, BodyLimits, Incoming, refuse_and_close
from mcp_api.caller import Admission, Caller, is_loopback, shown_as_subprotocol

_LOGGER = logging.getLogger(__name__)

REQUESTS_MAX = 512
REQUEST_S = 60.0
CALL_S = 30.0

STREAMING_PATHS = frozenset({"/export", "/admin/rebuild", "/admin/verify", "/admin/snapshot"})
"""They take as long as their data; each bounds its own waiting for the client."""

SOCKET_PATHS = frozenset({"/ws"})
"""The only ones of which a WebSocket may be made."""

Observe = Callable[[Scope, int, float], None]
"""Told of each answered request: its scope, the status and the seconds it took."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """``requests_max``: served at once; ``request_s``: from a body's end to its answer; ``call_s``:
    of a tool's call within it."""

    requests_max: int = REQUESTS_MAX
    request_s: float = REQUEST_S
    call_s: float = CALL_S
    bodies: BodyLimits = field(default_factory=BodyLimits)


class Guard:
    """``scope["caller"]`` of what it lets through is the `Caller`; the body is one message."""

    def __init__(
        self, app: App, admission: Admission, limits: GuardLimits, observe: Observe
    ) -> None:
        self._app = app
        self._admission = admission
        self._limits = limits
        self._observe = observe
        self._active = 0
        self.bodies = Bodies(limits.bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        if scope["type"] != "http":
            return  # no lifespan: the server has its own, and uvicorn is told so as well
        started = time.perf_counter()
        response = _Response(send)
        self._active += 1
        try:
            await self._serve(scope, receive, response)
        except Exception:  # the last resort: this request fails, the server goes on
            _LOGGER.exception("%s %s failed", scope["method"], scope["path"])
            if response.started:
                raise  # the server cuts the connection: a client must not take it as whole
            await send_refusal(
                response, Refusal(500, "Something went wrong here; the server's log says what.")
            )
        finally:
            self._active -= 1
            self._observe(scope, response.status, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: _Response) -> None:
        seen = _Seen(scope)
        incoming = Incoming(receive)
        refusal = self._refusal(scope, seen)
        if refusal is not None:
            if seen.has_body:
                await refuse_and_close(incoming, send, refusal, body_waits=seen.body_waits)
            else:
                await send_refusal(send, refusal)
            return
        scope["caller"] = self._caller(scope, seen)
        if not seen.has_body:
            await self._answer(scope, receive, send)
            return
        body = await self.bodies.read(incoming, seen.declared)
        if body is None:
            return
        if isinstance(body, Refusal):
            await refuse_and_close(incoming, send, body, body_waits=seen.body_waits)
            return
        try:
            await self._answer(scope, _Replay(body, receive), send)
        finally:
            self.bodies.release(len(body))

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refused before it is accepted as any request is; then without a deadline."""
        started = time.perf_counter()
        scope["method"] = "GET"  # as its handshake has it

        def answered(status: int) -> None:
            self._observe(scope, status, time.perf_counter() - started)

        handshake = _Handshake(send, answered)
        seen = _Seen(scope)
        seen.authorization = seen.authorization or shown_as_subprotocol(scope["subprotocols"])
        refusal = self._refusal(scope, seen)
        if refusal is None and scope["path"].rstrip("/") not in SOCKET_PATHS:
            listed = ", ".join(sorted(SOCKET_PATHS))
            refusal = Refusal(
                404, f"There is no WebSocket at {scope['path'][:200]!r}; try {listed}."
            )
        if refusal is not None:
            await send_refusal(handshake, refusal)
            return
        scope["caller"] = self._caller(scope, seen)
        try:
            await self._app(scope, receive, handshake)
        except Exception:  # the last resort: this client is cut, the server goes on
            _LOGGER.exception("the WebSocket %s failed", scope["path"])
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: _Response) -> None:
        if scope["path"].rstrip("/") in STREAMING_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.request_s) as deadline:
                await self._app(scope, receive, send)
        except TimeoutError:
            if send.started or not deadline.expired():
                raise
            late = f"No answer within {self._limits.request_s:g} seconds; ask for less."
            await send_refusal(send, Refusal(504, late))

    def _refusal(self, scope: Scope, seen: _Seen) -> Refusal | None:
        refusal = self._admission.refusal(
            hosts=seen.hosts,
            origins=seen.origins,
            authorization=seen.authorization,
            path=scope["path"],
        )
        if refusal is not None:
            return refusal
        if self._active > self._limits.requests_max:
            limit = self._limits.requests_max
            return Refusal(
                503, f"{limit} requests are being served already; send it again.", retry_after_s=1
            )
        return None

    def _caller(self, scope: Scope, seen: _Seen) -> Caller:
        peer = scope.get("client")
        address = str(peer[0]) if peer else ""
        kind = "token" if self._admission.token_shown(seen.authorization) else "local"
        return Caller(kind, f"http:{address}", loopback=not address or is_loopback(address))


class _Seen:
    """What the guard needs of the headers, in one pass."""

    __slots__ = ("authorization", "body_waits", "chunked", "declared", "hosts", "origins")

    def __init__(self, scope: Scope) -> None:
        self.hosts: list[str] = []
        self.origins: list[str] = []
        self.authorization = ""
        self.declared: int | None = None
        self.chunked = False
        self.body_waits = False
        for name, value in scope["headers"]:
            match name:
                case b"host":
                    self.hosts.append(value.decode("latin-1"))
                case b"origin":
                    self.origins.append(value.decode("latin-1"))
                case b"authorization":
                    self.authorization = value.decode("latin-1")
                case b"content-length":
                    # The HTTP parser has refused anything that is not a number.
                    self.declared = int(value) if value.isdigit() else None
                case b"transfer-encoding":
                    self.chunked = True
                case b"expect":
                    self.body_waits = True

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.declared)


class _Response:
    """The ``send`` given to the application; remembers what went out."""

    __slots__ = ("_send", "started", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
        await self._send(message)


class _Handshake:
    """The ``send`` given to a WebSocket's application, which may refuse it as a request."""

    __slots__ = ("_answered", "_send")

    def __init__(self, send: Send, answered: Callable[[int], None]) -> None:
        self._send = send
        self._answered = answered

    async def __call__(self, message: Message) -> None:
        kind: str = message["type"]
        if kind == "websocket.accept":
            self._answered(101)
        elif kind == "http.response.start":
            self._answered(message["status"])
        if kind.startswith("http.response."):
            message = {**message, "type": f"websocket.{kind}"}
        await self._send(message)


class _Replay:
    """The ``receive`` given to the application: the body that was read, then what comes later."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
