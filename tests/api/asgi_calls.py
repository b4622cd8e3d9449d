"""Calls to an ASGI application in this process: what a socket would carry, without the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_api.asgi import App, Message, Scope

JSON_HEADERS = (("host", "localhost"), ("content-type", "application/json"))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of a refusal."""
        message = self.json["error"]["message"]
        assert isinstance(message, str)
        assert message
        assert "\n" not in message
        assert "Traceback" not in message
        return message


def scope_of(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str | bytes]] = JSON_HEADERS,
    *,
    peer: str = "127.0.0.1",
    query: str = "",
) -> Scope:
    encoded = [
        (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers
    ]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": encoded,
        "client": (peer, 50_000),
        "server": ("127.0.0.1", 8_000),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }


async def call(
    app: App,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Iterable[tuple[str, str | bytes]] = JSON_HEADERS,
    *,
    peer: str = "127.0.0.1",
    query: str = "",
) -> Answer:
    """One request to its end; a sequence of bytes is sent in chunks, without a Content-Length."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    sent = list(headers)
    if not isinstance(body, bytes):
        sent.append(("transfer-encoding", "chunked"))
    elif body and not any(name == "content-length" for name, _ in sent):
        sent.append(("content-length", str(len(body))))
    received: list[Message] = []
    answered = asyncio.Event()

    async def receive() -> Message:
        if not chunks:
            await answered.wait()  # the client stays until it has its answer
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        received.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    await asyncio.wait_for(
        app(scope_of(method, path, sent, peer=peer, query=query), receive, send), 60
    )
    return answer_of(received)


def answer_of(received: list[Message]) -> Answer:
    """The response in the messages that an application sent; empty if it sent none."""
    starts = [message for message in received if message["type"] == "http.response.start"]
    if not starts:
        return Answer(0, {}, b"")
    assert len(starts) == 1
    assert received[0] is starts[0]
    assert not received[-1].get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in starts[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in received[1:])
    return Answer(starts[0]["status"], headers, body)
