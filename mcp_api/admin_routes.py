"""``POST /admin/rebuild`` and ``/admin/verify``: work on the read model, told as JSON lines.

Each line is an object with ``event``: "progress" any number of times, then one "done" or "error".
For callers on this machine, or with the token where one is configured. Each route does one such
work at a time, on a thread of its own, and refuses others meanwhile.
"""

# ruff: noqa: ARG001 - every handler takes what ASGI gives

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import msgspec

from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_refusal
from mcp_api.caller import Caller
from mcp_api.tools.failures import error_content
from projections.hashing import TableHash
from projections.projector import Projector
from projections.rebuild import Rebuilt
from projections.verify import VERIFY_TIMEOUT_S, Hashes, projection_hashes

_LOGGER = logging.getLogger(__name__)

NDJSON = b"application/x-ndjson"
PROGRESS_S = 0.2
CLIENT_S = 60.0
RETRY_AFTER_S = 30

_encode = msgspec.json.Encoder().encode

Progress = Callable[[Rebuilt], None]
Work = Callable[[Progress], Mapping[str, Any]]
"""Runs in a thread; what it returns goes into the "done" line."""


def rebuild_route(projector: Projector) -> App:
    """Builds the read model anew beside the old one, which serves meanwhile, then switches."""

    def work(progress: Progress) -> Mapping[str, Any]:
        return asdict(projector.rebuild(progress))

    return one_at_a_time("rebuild", work)


def verify_route(projector: Projector) -> App:
    """The read model's hashes and the positions at which they hold; the caller folds the log."""

    def work(progress: Progress) -> Mapping[str, Any]:
        with projector.reading(VERIFY_TIMEOUT_S) as reader:
            return hashes_content(projection_hashes(reader))

    return one_at_a_time("verify", work)


def hashes_content(hashes: Hashes) -> dict[str, Any]:
    """`Hashes` as JSON can say them; 64-bit words are hexadecimal."""
    return {
        "positions": [[*place, offset] for place, offset in sorted(hashes.positions.items())],
        "tables": {
            name: [table.rows, f"{table.left:016x}", f"{table.right:016x}"]
            for name, table in hashes.tables.items()
        },
    }


def parse_hashes(content: Mapping[str, Any]) -> Hashes:
    """The inverse of `hashes_content`."""
    return Hashes(
        positions={(topic, number): offset for topic, number, offset in content["positions"]},
        tables={
            name: TableHash(rows, int(left, 16), int(right, 16))
            for name, (rows, left, right) in content["tables"].items()
        },
    )


async def may_administer(scope: Scope, send: Send) -> bool:
    """Whether the caller may; who may not has been refused."""
    caller: Caller = scope["caller"]
    if caller.kind == "token" or caller.loopback:
        return True
    message = "Only callers on this machine may do that, or those with the token."
    await send_refusal(send, Refusal(403, message))
    return False


def one_at_a_time(name: str, work: Work) -> App:
    """A route that does the work and tells of it; 503 while the work of another caller goes on."""
    busy = threading.Lock()

    def run(progress: Progress) -> Mapping[str, Any]:
        try:
            return work(progress)
        finally:
            busy.release()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not await may_administer(scope, send):
            return
        if not busy.acquire(blocking=False):
            message = f"A {name} is running already; ask again when it has ended."
            await send_refusal(send, Refusal(503, message, retry_after_s=RETRY_AFTER_S))
            return
        newest: list[Rebuilt] = []
        try:
            running = _start(name, run, newest.append)
        except RuntimeError:  # no thread to be had
            busy.release()
            raise
        await _stream(running, newest, send)

    return answer


def _start(name: str, run: Work, progress: Progress) -> asyncio.Future[Mapping[str, Any]]:
    """A thread of its own, which ends with the work: an hour of the shared ones would be missed."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return asyncio.get_running_loop().run_in_executor(pool, run, progress)
    finally:
        pool.shutdown(wait=False)


async def _stream(
    running: asyncio.Future[Mapping[str, Any]], newest: list[Rebuilt], send: Send
) -> None:
    """The work goes on to its end even if the caller leaves: half a rebuild helps nobody."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", NDJSON), (b"cache-control", b"no-store")],
        }
    )
    while not running.done():
        await asyncio.wait({running}, timeout=PROGRESS_S)
        if newest and not running.done():
            line = {"event": "progress", **asdict(newest[-1])}
            newest.clear()
            await _line(send, line, more=True)
    await _line(send, await _end(running), more=False)


async def _end(running: Awaitable[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return {"event": "done", **await running}
    except Exception as error:
        _LOGGER.exception("the work that was asked for failed")
        return {"event": "error", **error_content(error)}


async def _line(send: Send, content: Mapping[str, Any], *, more: bool) -> None:
    async with asyncio.timeout(CLIENT_S):
        body = _encode(content) + b"\n"
        await send({"type": "http.response.body", "body": body, "more_body": more})
