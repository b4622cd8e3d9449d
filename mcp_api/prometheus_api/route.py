"""``/api/v1/…``: requests bounded in number and time, answered in threads, compressed."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from mcp_api.asgi import JSON, Headers, Receive, Scope, Send, header, send_bytes
from mcp_api.prometheus_api.encoding import failure, failure_of, success
from mcp_api.prometheus_api.parameters import Parameters
from projections.alert_queries import AlertQueries
from projections.projector import Projector
from projections.reading import Ending
from streams.errors import InputError, LogfireMcpError, Overloaded, QueryCancelled
from streams.log.wall_clock import wall_clock_ms

if TYPE_CHECKING:
    from projections.promql_queries import PromqlQueries

_LOGGER = logging.getLogger(__name__)

PREFIX = "/api/v1/"
FORM = "application/x-www-form-urlencoded"
FORM_BYTES_MAX = 256 << 10

QUERIES_AT_ONCE = 2
QUERIES_WAITING_MAX = 128
"""A dashboard asks for all of its panels at once."""

COMPRESSED_FROM_BYTES = 1_024
COMPRESSION_LEVEL = 1

POSTED = frozenset(
    ("query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels")
)
"""Names of paths that take a form as well; the others take GET only."""

LABEL_VALUES = "label/{name}/values"
PATHS = POSTED | {
    LABEL_VALUES,
    "metadata",
    "targets",
    "rules",
    "alerts",
    "status/buildinfo",
    "status/tsdb",
}


class PrometheusApi:
    """The handler of every path below `PREFIX`; what it refuses it refuses in Prometheus' shape."""

    def __init__(
        self,
        projector: Projector,
        *,
        call_s: float,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``call_s``: no query takes longer, its waiting for a thread included."""
        self._projector = projector
        self._call_s = call_s
        self._clock = clock
        self._threads = ThreadPoolExecutor(QUERIES_AT_ONCE, thread_name_prefix="promql")
        self._asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = ((b"vary", b"accept-encoding"),)
        status = 200
        try:
            name, label = _endpoint(scope)
            scope["route"] = PREFIX + name
            parameters = await _parameters(scope, receive)
            zipped = takes_gzip(header(scope, b"accept-encoding"))
            made = partial(self._body, name, label, parameters)
            body, zipped = await self.in_turn(receive, made, zipped=zipped)
            if zipped:
                headers += ((b"content-encoding", b"gzip"),)
        except QueryCancelled:  # who asked is gone
            return
        except _Refused as refused:
            status, body = refused.status, failure(refused.kind, refused.message)
            headers += refused.headers
        except Exception as error:  # each becomes an answer
            if not isinstance(error, LogfireMcpError | TimeoutError):
                _LOGGER.error("%s failed", scope["path"], exc_info=error)
            status, kind, message = failure_of(error)
            body = failure(kind, message)
            if isinstance(error, Overloaded):
                headers += ((b"retry-after", str(error.retry_after_s).encode()),)
        await send_bytes(send, status, JSON, body, headers)

    def close(self) -> None:
        """Takes no more; what runs ends by itself within its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_turn(
        self, receive: Receive, made: Callable[[int, Ending], bytes], *, zipped: bool
    ) -> tuple[bytes, bool]:
        """A body that ``made`` makes in a thread, told the time (Unix milliseconds) and what ends
        it early; and whether it is compressed. `Overloaded`, `TimeoutError`, what ``made`` raises.
        """
        if self._asked >= QUERIES_AT_ONCE + QUERIES_WAITING_MAX:
            raise Overloaded(
                f"{QUERIES_WAITING_MAX} queries wait already; ask again in a second", status=503
            )
        now_ms = self._clock()
        ending = Ending()

        def answered() -> tuple[bytes, bool]:
            body = made(now_ms, ending)
            if zipped and len(body) >= COMPRESSED_FROM_BYTES:
                return gzip.compress(body, COMPRESSION_LEVEL, mtime=0), True
            return body, False

        left = asyncio.ensure_future(_left(receive))
        left.add_done_callback(lambda _: ending.end())
        self._asked += 1
        try:
            async with asyncio.timeout(self._call_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, answered)
        finally:
            self._asked -= 1
            left.cancel()  # which ends what still runs

    def queries(self, ending: Ending) -> PromqlQueries:
        """To be asked within `in_turn`."""
        # Late: a server that nobody asks in PromQL does without the engine in memory.
        from mcp_api.prometheus_api.endpoints import QUERY_LIMITS
        from projections.promql_queries import PromqlQueries

        return PromqlQueries(
            self._projector, timeout_s=self._call_s, limits=QUERY_LIMITS, ending=ending
        )

    def _body(
        self, name: str, label: str, parameters: Parameters, now_ms: int, ending: Ending
    ) -> bytes:
        from mcp_api.prometheus_api.endpoints import ENDPOINTS, Asked

        alerts = AlertQueries(self._projector, timeout_s=self._call_s)
        asked = Asked(self.queries(ending), alerts, parameters, now_ms, self._call_s, label)
        return success(ENDPOINTS[name](asked))


def takes_gzip(accepted: str) -> bool:
    """Of an ``Accept-Encoding``: gzip is named, not refused by ``;q=0``."""
    return re.search(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", accepted, re.I) is not None


class _Refused(Exception):
    def __init__(self, status: int, kind: str, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, headers


def _endpoint(scope: Scope) -> tuple[str, str]:
    """The name of what the path means, and the label in it."""
    path = scope["path"].removeprefix(PREFIX).rstrip("/")
    name, label = path, ""
    if path.startswith("label/") and path.endswith("/values"):
        name, label = LABEL_VALUES, path[len("label/") : -len("/values")]
    if name not in PATHS:
        listed = ", ".join(sorted(PATHS))
        raise _Refused(404, "not_found", f"there is no such path here; there are: {listed}")
    if scope["method"] == "POST" and name not in POSTED:
        raise _Refused(405, "bad_data", "this path takes GET only", ((b"allow", b"GET, HEAD"),))
    return name, label


async def _left(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _parameters(scope: Scope, receive: Receive) -> Parameters:
    form = b""
    if scope["method"] == "POST":
        if header(scope, b"content-type").partition(";")[0].strip().lower() == FORM:
            form = (await receive()).get("body", b"")
        if len(form) > FORM_BYTES_MAX:
            raise InputError(f"the form is over {FORM_BYTES_MAX:,} bytes")
    return Parameters.parse(scope["query_string"], form)
