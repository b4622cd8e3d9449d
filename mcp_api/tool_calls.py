"""`ToolCalls`: a toolbox as the transports use it: every call ends in time, is counted, and its
errors are answers."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from mcp_api.asgi import Headers, Refusal
from mcp_api.telemetry import Telemetry
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.failures import error_content, http_status
from mcp_api.tools.specs import COLLECT, SPECS_BY_NAME
from mcp_api.tools.toolbox import LocalToolbox
from streams import tracing
from streams.errors import InputError, LogfireMcpError, Overloaded
from streams.ingest.json_points import parse_body, parse_plain
from streams.ingest.parsed import Parsed
from streams.log.wall_clock import wall_clock_ms

_LOGGER = logging.getLogger(__name__)

INLINE_BYTES_MAX = 256 << 10
"""Larger bodies are parsed in a thread (2.5 ms of the event loop are what this many take)."""

PARSERS = 2

FULL_ANSWER = "application/vnd.logfire-mcp.answer+json"
"""In ``Accept``: the answer with its text, picture and link, for a process that passes it on."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call as HTTP tells it."""

    status: int
    body: bytes
    headers: Headers = ()

    @classmethod
    def refused(cls, refusal: Refusal) -> Outcome:
        """A request that never became a call."""
        return cls(refusal.status, refusal.body, refusal.all_headers)


class ToolCalls:
    """A `Toolbox` whose errors are answers, with a short way in for measurements."""

    def __init__(self, toolbox: LocalToolbox, telemetry: Telemetry, *, call_s: float) -> None:
        """``call_s``: no call takes longer; a write that does may be durable all the same."""
        self._toolbox = toolbox
        self._telemetry = telemetry
        self._call_s = call_s
        self._parsers = ThreadPoolExecutor(PARSERS, thread_name_prefix="parse")

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        actor: str,
        request_key: str | None = None,
    ) -> ToolAnswer:
        """Never raises for what a caller did or what is the matter here: the answer says it."""
        answer, _ = await self._call(name, arguments, actor, request_key)
        return answer

    async def done(self, name: str, arguments: Mapping[str, object], *, actor: str) -> ToolAnswer:
        """The same for a caller that takes exceptions: raises what `Toolbox.call` raises, and
        `InputError` for an answer that says that nothing was done."""
        answer, error = await self._call(name, arguments, actor, None)
        if error is not None:
            raise error
        if answer.is_error:
            raise InputError(answer.content["error"]["message"])
        return answer

    async def call_http(
        self,
        name: str,
        arguments: Mapping[str, object],
        actor: str,
        request_key: str | None,
        *,
        full: bool = False,
    ) -> Outcome:
        """One call; ``full``: the answer with all that MCP shows of it (`FULL_ANSWER`)."""
        answer, error = await self._call(name, arguments, actor, request_key)
        return _outcome(answer, error, full=full)

    async def collect_plain(
        self,
        body: bytes,
        place: tuple[int, int],
        actor: str,
        request_key: str | None,
        *,
        full: bool = False,
    ) -> Outcome | None:
        """``collect_metrics`` from the bytes of its arguments, which lie at ``place`` in ``body``,
        if they are as most are; None, and nothing done, if they are not."""
        start, stop = place
        parse = partial(parse_plain, body, wall_clock_ms(), start=start, stop=stop)
        return await self._collect(parse, stop - start, actor, request_key, full=full)

    async def collect_http(
        self, arguments: msgspec.Raw, actor: str, request_key: str | None, *, full: bool = False
    ) -> Outcome:
        """``collect_metrics`` from the bytes of its arguments."""
        body = memoryview(arguments)
        parse = partial(parse_body, body, wall_clock_ms())
        outcome = await self._collect(parse, body.nbytes, actor, request_key, full=full)
        assert outcome is not None
        return outcome

    def close(self) -> None:
        """Ends the threads when they have done what they are at."""
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def _collect(
        self,
        parse: Callable[[], Parsed | None],
        size: int,
        actor: str,
        request_key: str | None,
        *,
        full: bool,
    ) -> Outcome | None:
        """None where there was nothing to be parsed. Large bodies are parsed beside the loop."""
        started = perf_counter()
        try:
            async with asyncio.timeout(self._call_s):
                if size <= INLINE_BYTES_MAX:
                    parsed = parse()
                else:
                    loop = asyncio.get_running_loop()
                    parsed = await loop.run_in_executor(self._parsers, parse)
                if parsed is None:
                    return None
                with tracing.span(f"tool {COLLECT.name}", {"points": len(parsed.batch)}):
                    answer = await self._toolbox.collect(
                        parsed, actor=actor, request_key=request_key
                    )
        except Exception as error:  # noqa: BLE001 - each becomes an answer, see `_failed`
            return _outcome(*self._failed(COLLECT.name, error, started), full=full)
        self._count(COLLECT.name, answer, started)
        return _outcome(answer, None, full=full)

    async def _call(
        self, name: str, arguments: Mapping[str, object], actor: str, request_key: str | None
    ) -> tuple[ToolAnswer, Exception | None]:
        started = perf_counter()
        try:
            async with asyncio.timeout(self._call_s):
                with tracing.span(f"tool {name:.60}"):
                    answer = await self._toolbox.call(
                        name, arguments, actor=actor, request_key=request_key
                    )
        except Exception as error:  # noqa: BLE001 - each becomes an answer, see `_failed`
            return self._failed(name, error, started)
        self._count(name, answer, started)
        return answer, None

    def _failed(self, name: str, error: Exception, started: float) -> tuple[ToolAnswer, Exception]:
        if isinstance(error, TimeoutError):
            error = Overloaded(
                f"not done within {self._call_s:g} seconds; a write may still be done: "
                "repeat it with the same Idempotency-Key or request_id",
                status=503,
                retry_after_s=5,
            )
        elif not isinstance(error, LogfireMcpError):
            _LOGGER.error("%s failed", name, exc_info=error)
            self._telemetry.errors.inc()
        content = error_content(error)
        status, _ = http_status(error)
        tool = name if name in SPECS_BY_NAME else "unknown"
        self._telemetry.observe_call(tool, str(status), perf_counter() - started)
        return ToolAnswer(content, content["error"]["message"], is_error=True), error

    def _count(self, name: str, answer: ToolAnswer, started: float) -> None:
        outcome = "400" if answer.is_error else "ok"
        self._telemetry.observe_call(name, outcome, perf_counter() - started)
        if name == COLLECT.name:
            content = answer.content
            accepted = "duplicate" if content.get("duplicate") else "accepted"
            self._telemetry.points.labels(accepted).inc(content["collected_count"])
            self._telemetry.points.labels("rejected").inc(content["rejected_count"])


def _outcome(answer: ToolAnswer, error: Exception | None, *, full: bool) -> Outcome:
    if error is not None:
        status, headers = http_status(error)
        encoded = tuple((name.lower().encode(), text.encode()) for name, text in headers.items())
        return Outcome(status, _encode(answer.content), encoded)
    status = 400 if answer.is_error else 200
    content: dict[str, Any] = answer.content
    if full and not answer.is_error:
        image = answer.image_png
        content = {
            "content": answer.content,
            "text": answer.text,
            "image_png": None if image is None else base64.b64encode(image).decode(),
            "link": answer.link,
        }
    return Outcome(status, _encode(content))
