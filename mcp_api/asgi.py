"""ASGI's types, and the answers that every route and the guard give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not served: the status and one sentence that says what to do.

    ``retry_after_s``: sent as ``Retry-After`` where the same request may succeed later.
    """

    status: int
    message: str
    retry_after_s: int | None = None
    headers: Headers = ()

    @property
    def body(self) -> bytes:
        """``{"error": {"message": …}}``, the shape of every error of this server."""
        return _encode({"error": {"message": self.message}})

    @property
    def all_headers(self) -> Headers:
        """``headers`` and ``Retry-After``."""
        if self.retry_after_s is None:
            return self.headers
        return (*self.headers, (b"retry-after", str(self.retry_after_s).encode()))


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """The whole response of a refusal."""
    await send_bytes(send, refusal.status, JSON, refusal.body, refusal.all_headers)


async def send_json(send: Send, status: int, content: object, headers: Headers = ()) -> None:
    """The whole response; ``content``: anything that JSON can say."""
    await send_bytes(send, status, JSON, _encode(content), headers)


async def send_bytes(
    send: Send, status: int, content_type: bytes, body: bytes, headers: Headers = ()
) -> None:
    """The whole response in two messages, never cached, never sniffed."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str:
    """The first header of that (lower-case) name as text, or empty."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""
