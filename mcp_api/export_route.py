"""``GET /export``: raw samples as a stream of any length, read as fast as the client takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from urllib.parse import parse_qsl

from mcp_api.asgi import Message, Receive, Refusal, Scope, Send, send_json, send_refusal
from mcp_api.tools.export import ExportStream, export_arguments
from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.toolbox import LocalToolbox
from streams.errors import LogfireMcpError

_LOGGER = logging.getLogger(__name__)

AT_ONCE_MAX = 4
CLIENT_S = 60.0
FIELDS_MAX = 256


class ExportRoute:
    """The handler; the query's names are the arguments of ``export_metrics``."""

    def __init__(self, toolbox: LocalToolbox) -> None:
        self._toolbox = toolbox
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._active >= AT_ONCE_MAX:
            message = f"{AT_ONCE_MAX} exports are being read already; ask again."
            await send_refusal(send, Refusal(503, message, retry_after_s=5))
            return
        try:
            items = parse_qsl(
                scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=FIELDS_MAX,
            )
        except ValueError:  # also UnicodeDecodeError
            message = f"The query is not UTF-8 text of at most {FIELDS_MAX} fields."
            await send_refusal(send, Refusal(400, message))
            return
        self._active += 1
        try:
            await self._answer(items, receive, send)
        finally:
            self._active -= 1

    async def _answer(self, items: list[tuple[str, str]], receive: Receive, send: Send) -> None:
        try:
            stream = await self._toolbox.open_export(export_arguments(items))
        except LogfireMcpError as error:
            status, headers = http_status(error)
            encoded = tuple((name.lower().encode(), v.encode()) for name, v in headers.items())
            await send_json(send, status, error_content(error), encoded)
            return
        await receive()  # the empty body; what comes after it is the client going away
        left = asyncio.ensure_future(receive())
        try:
            await _send_all(stream, left, send)
        finally:
            left.cancel()
            await asyncio.to_thread(_close, stream.chunks)


async def _send_all(stream: ExportStream, left: asyncio.Future[Message], send: Send) -> None:
    """An error in the middle is raised: the connection is cut, so nobody takes a part as all."""
    chunk = await asyncio.to_thread(next, stream.chunks, None)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", stream.mime_type.encode()),
                (b"content-disposition", f'attachment; filename="{stream.file_name}"'.encode()),
                (b"cache-control", b"no-store"),
                (b"x-row-count", str(stream.rows).encode()),
                (b"x-truncated", str(stream.truncated).lower().encode()),
            ],
        }
    )
    while chunk is not None:
        if left.done():
            return
        async with asyncio.timeout(CLIENT_S):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        chunk = await asyncio.to_thread(next, stream.chunks, None)
    await send({"type": "http.response.body", "body": b""})


def _close(chunks: Iterator[bytes]) -> None:
    # A generator holds a snapshot of the database open until it is closed.
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
