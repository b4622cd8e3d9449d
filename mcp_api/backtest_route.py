"""``POST /admin/backtest``: what a rule would have done over a past range, told as JSON lines.

The body is ``{"rule": {…} or "name": "…", "start": "-7d", "end": "now"}``. Each line is an object
with ``event``: "progress" with ``share`` (0 to 1) any number of times, then one "done" with
``name`` and ``backtest``, or "error". The backtest ends when its caller goes away. For callers on
this machine, or with the token where one is configured.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from mcp_api.admin_routes import NDJSON, may_administer
from mcp_api.asgi import App, Receive, Refusal, Scope, Send, send_refusal
from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.dry_run import backtest_content
from mcp_api.tools.failures import error_content
from mcp_api.tools.times import parse_time
from streams.domain.rules import problems, sentence
from streams.errors import InputError, LogfireMcpError
from streams.events.rules import Rule
from streams.log.wall_clock import wall_clock_ms

_LOGGER = logging.getLogger(__name__)

PROGRESS_S: Final = 0.2
CLIENT_S: Final = 60.0

_encode = msgspec.json.Encoder().encode


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    rule: Rule | None = None
    name: str = ""
    start: str = "-24h"
    end: str = "now"


_decode = msgspec.json.Decoder(_Wanted).decode


class _Watched:
    """A backtest in its thread, and what the event loop knows of it."""

    def __init__(self) -> None:
        self.share = 0.0
        self.left = threading.Event()

    def run(self, parts: AlertParts, wanted: _Wanted, now_ms: int) -> dict[str, Any]:
        """The "done" line."""
        start_ms = parse_time(wanted.start, now_ms, "start")
        end_ms = parse_time(wanted.end, now_ms, "end")
        rule = _rule(parts, wanted)
        found = parts.backtests.run(
            rule, start_ms, end_ms, progress=self._progress, cancelled=self.left.is_set
        )
        return {"event": "done", "name": rule.name, "backtest": backtest_content(found)}

    def _progress(self, share: float) -> None:
        self.share = share


def backtest_route(parts: AlertParts) -> App:
    """The handler."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not await may_administer(scope, send):
            return
        try:
            wanted = _decode((await receive()).get("body", b""))
        except msgspec.MsgspecError as error:
            await send_refusal(send, Refusal(400, f"The body asks for no backtest: {error}."))
            return
        watched = _Watched()
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(lambda _: watched.left.set())
        try:
            running = asyncio.ensure_future(
                asyncio.to_thread(watched.run, parts, wanted, wall_clock_ms())
            )
            await _tell(running, watched, send)
        finally:
            gone.cancel()  # which ends what still runs

    return answer


async def _tell(running: asyncio.Future[dict[str, Any]], watched: _Watched, send: Send) -> None:
    headers = [(b"content-type", NDJSON), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    told = 0.0
    while not running.done():
        await asyncio.wait({running}, timeout=PROGRESS_S)
        if watched.share > told and not running.done():
            told = watched.share
            await _line(send, {"event": "progress", "share": told}, more=True)
    await _line(send, await _end(running), more=False)


async def _end(running: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await running
    except Exception as error:
        if not isinstance(error, LogfireMcpError):
            _LOGGER.exception("the backtest failed")
        return {"event": "error", **error_content(error)}


async def _line(send: Send, content: Mapping[str, Any], *, more: bool) -> None:
    async with asyncio.timeout(CLIENT_S):
        body = _encode(content) + b"\n"
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    with suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass


def _rule(parts: AlertParts, wanted: _Wanted) -> Rule:
    """`InputError` where there is none, or it is not what a rule must be."""
    if wanted.rule is None:
        status = parts.alerts.rule(wanted.name)
        if status is None:
            raise InputError(f"there is no alert rule {wanted.name[:80]!r}", field="name")
        return status.rule
    if found := problems(wanted.rule):
        raise InputError(sentence(found), field=found[0].field)
    return wanted.rule
