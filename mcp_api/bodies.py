"""Request bodies under limits: of one, of all together, and of the time that one may take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mcp_api.asgi import JSON, Message, Receive, Refusal, Send

LINGER_S = 5.0
LINGER_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """``body_bytes_max``: of one body; ``bytes_max``: of all bodies held at once; ``timeout_s``:
    from the headers to the body's last byte."""

    body_bytes_max: int = 32 << 20
    bytes_max: int = 128 << 20
    timeout_s: float = 30.0


class Incoming:
    """The ``receive`` of a request; ``ended``: nothing more of its body can come."""

    __slots__ = ("_receive", "ended")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message


class Bodies:
    """Reads bodies, at most `BodyLimits.bytes_max` of them in memory at a time.

    What `read` returned counts until `release` is told its size.
    """

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.held_bytes = 0

    async def read(self, receive: Receive, declared: int | None) -> bytes | Refusal | None:
        """The whole body, or why it is not taken; None if the client went away.

        ``declared``: its Content-Length, None where it comes in chunks. No more than the limits
        is ever held, whatever the client claims or sends.
        """
        if declared is not None and declared > self.limits.body_bytes_max:
            return self._too_large()
        chunks: list[bytes] = []
        size = 0
        kept = False
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunk = message.get("body", b"")
                    if size + len(chunk) > self.limits.body_bytes_max:
                        return self._too_large()
                    if self.held_bytes + len(chunk) > self.limits.bytes_max:
                        return Refusal(
                            503,
                            "Too many request bodies are being read at the moment; send it again.",
                            retry_after_s=1,
                        )
                    self.held_bytes += len(chunk)
                    size += len(chunk)
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        kept = True
                        return chunk if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:
            return Refusal(
                408, f"The body did not arrive within {self.limits.timeout_s:g} seconds."
            )
        finally:
            if not kept:
                self.release(size)

    def release(self, size: int) -> None:
        """A body of that size is not needed any more."""
        self.held_bytes -= size

    def _too_large(self) -> Refusal:
        limit = self.limits.body_bytes_max
        return Refusal(413, f"The body is over the limit of {limit:,} bytes; send it in parts.")


async def refuse_and_close(
    incoming: Incoming, send: Send, refusal: Refusal, *, body_waits: bool
) -> None:
    """Sends a refusal while the client may still be sending, then closes the connection.

    Closing at once would reset the connection, and the client might never read why. So the answer
    goes out first, and what still comes is thrown away for at most 5 s and 256 MiB.
    ``body_waits``: the client waits for "100 Continue" and sends nothing before.
    """
    body = refusal.body
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [
                (b"content-type", JSON),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *refusal.all_headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if not body_waits and not incoming.ended:
        await _discard(incoming)
    await send({"type": "http.response.body", "body": b""})


async def _discard(incoming: Incoming) -> None:
    seen = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while seen <= LINGER_BYTES_MAX:
                seen += len((await incoming()).get("body", b""))
                if incoming.ended:
                    return
    except TimeoutError:
        return  # it had its time
