"""uvicorn's HTTP protocol with the bounds that it lacks: connections, header bytes, header time."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_api.asgi import Refusal

HEADER_BYTES_MAX = 65_536
"""Request line and headers; one read of the socket more may be held for a moment."""

HEADERS_S = 15.0
"""From a connection's first byte, or a request's, to the end of its headers."""

_FILES_KEPT = 128
"""Left for the log, DuckDB and the answers, so that connections cannot use up every file."""


def connections_max() -> int:
    """At most 1,024, fewer where the process may open few files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if soft == resource.RLIM_INFINITY else max(16, min(1024, soft - _FILES_KEPT))


class BoundedHttp(HttpToolsProtocol):
    """One connection. What is refused here is refused as everywhere: JSON, one sentence."""

    headers_s = HEADERS_S
    connections_max = connections_max()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            self._refuse(Refusal(503, "Too many connections are open; try again.", retry_after_s=1))
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(Refusal(431, f"The headers are over {HEADER_BYTES_MAX:,} bytes."))
        elif self._in_headers and self._header_bytes and self._headers_due is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._headers_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True
        self._header_bytes = 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours is JSON
        self._refuse(Refusal(400, "This is not an HTTP/1.1 request that can be read."))

    def _await_headers(self) -> None:
        self._headers_due = self.loop.call_later(self.headers_s, self._headers_late)

    def _headers_came(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _headers_late(self) -> None:
        if self._in_headers and self._header_bytes:
            self._refuse(
                Refusal(408, f"The headers did not arrive within {self.headers_s:g} seconds.")
            )
        elif self._in_headers:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Writes a whole response and closes, outside of any ASGI cycle."""
        if self.transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {refusal.status} Refused".encode(),
            b"content-type: application/json",
            b"content-length: %d" % len(refusal.body),
            b"connection: close",
            *(name + b": " + value for name, value in refusal.all_headers),
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + refusal.body)
        self.transport.close()
