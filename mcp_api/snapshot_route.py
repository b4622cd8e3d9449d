"""``GET /admin/snapshot``: the whole database as one DuckDB file, made while it goes on.

For another node to begin with, and for backups. For callers on this machine, or with the token
where one is configured. One copy at a time. ``X-Position`` tells what the copy has absorbed.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from mcp_api.admin_routes import CLIENT_S, RETRY_AFTER_S, may_administer
from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_json, send_refusal
from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.positions import absorbed_token
from projections.projector import Projector
from streams.errors import LogfireMcpError

CHUNK_BYTES = 1 << 20
MEDIA_TYPE = b"application/octet-stream"


def snapshot_route(projector: Projector, path: Path) -> App:
    """``path``: of the database; the copy lies beside it, without a name once it is being sent."""
    busy = asyncio.Lock()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not await may_administer(scope, send):
            return
        if busy.locked():
            message = "A snapshot is being read already; ask again when it has been."
            await send_refusal(send, Refusal(503, message, retry_after_s=RETRY_AFTER_S))
            return
        async with busy:  # nobody waits for it: it was free a moment ago, in this very loop
            try:
                descriptor, positions = await asyncio.to_thread(_copy, projector, path)
            except LogfireMcpError as error:
                status, headers = http_status(error)
                encoded = tuple((name.lower().encode(), v.encode()) for name, v in headers.items())
                await send_json(send, status, error_content(error), encoded)
                return
            try:
                await _send_file(descriptor, positions, path.name, receive, send)
            finally:
                os.close(descriptor)

    return answer


def remove_unsent(path: Path) -> None:
    """Copies that a process left when it was killed; for a database that nobody has open."""
    for file in path.parent.glob(f"{path.name}.copy-*"):
        file.unlink(missing_ok=True)


def _copy(projector: Projector, path: Path) -> tuple[int, Mapping[tuple[str, int], int]]:
    target = path.with_name(f"{path.name}.copy-{uuid.uuid4().hex}")
    positions = projector.copy(target)
    try:
        return os.open(target, os.O_RDONLY), positions
    finally:
        target.unlink(missing_ok=True)


async def _send_file(
    descriptor: int,
    positions: Mapping[tuple[str, int], int],
    name: str,
    receive: Receive,
    send: Send,
) -> None:
    size = os.fstat(descriptor).st_size
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", MEDIA_TYPE),
                (b"content-length", str(size).encode()),
                (b"content-disposition", f'attachment; filename="{name}"'.encode()),
                (b"cache-control", b"no-store"),
                (b"x-position", absorbed_token(positions).encode()),
            ],
        }
    )
    await receive()  # the empty body; what comes after it is the client going away
    left = asyncio.ensure_future(receive())
    sent = 0
    try:
        while sent < size and not left.done():
            chunk = await asyncio.to_thread(os.pread, descriptor, CHUNK_BYTES, sent)
            sent += len(chunk)
            async with asyncio.timeout(CLIENT_S):
                await send({"type": "http.response.body", "body": chunk, "more_body": sent < size})
    finally:
        left.cancel()
