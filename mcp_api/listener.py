"""The HTTP listener: a bound socket, uvicorn tuned for it, started and stopped by the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator
from ipaddress import IPv6Address, ip_address
from typing import Any

import uvicorn

from mcp_api.asgi import App
from mcp_api.http_protocol import BoundedHttp
from streams.errors import ConfigError
from streams.log.sleepers import woken

GRACE_S = 1
KEEP_ALIVE_S = 75
BACKLOG = 512

PING_S = 20.0
"""Between a WebSocket's pings, and for each answer."""
SOCKET_MESSAGE_BYTES_MAX = 65_536
"""Of what clients say over one."""


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket, not listening yet; ``port`` 0 takes a free one.

    Raises `ConfigError` that says what to do where the address cannot be had.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"the host {host!r} is not known here: set --host or LOGFIRE_MCP_HOST"
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use: stop the program that has it, or choose another "
                "with --port (LOGFIRE_MCP_PORT); 0 takes a free one"
            ) from error
        why = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {why}") from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Where a process on this machine reaches the socket, without a slash at the end."""
    address, port = bound.getsockname()[:2]
    at = ip_address(address)
    if at.is_unspecified:
        at = IPv6Address("::1") if at.version == 6 else ip_address("127.0.0.1")
    return f"http://[{at}]:{port}" if at.version == 6 else f"http://{at}:{port}"


def _websocket(*args: Any, **kwargs: Any) -> asyncio.Protocol:
    # Late: a server without WebSockets does without their protocol in memory.
    from mcp_api.websocket_protocol import BoundedSocket

    return BoundedSocket(*args, **kwargs)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: the process has one owner, the command; and with one
    look a second at the time for the ``Date`` header, where uvicorn has ten."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Until `ending` is set."""
        while not await self.on_tick(0):
            await woken(self.ending, 1.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Listener:
    """Serves an application on a bound socket until `close`."""

    def __init__(self, app: App, bound: socket.socket) -> None:
        self.url = url_of(bound)
        self._socket = bound
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                loop="asyncio",
                ws=_websocket,  # type: ignore[arg-type]  # called as the class would be
                ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # some 100 kB and as many µs for each of all clients
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # who calls decides what is allowed: never from a header
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on connections are taken."""
        # At once, so that nobody who is told of the address is refused.
        self._socket.listen(BACKLOG)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name="http-listener"
        )

    async def close(self) -> None:
        """Takes no more requests, waits a second at most for those in service, cuts the rest."""
        self._server.should_exit = True
        self._server.ending.set()
        if self._serving is None:
            self._socket.close()
            return
        await self._serving
