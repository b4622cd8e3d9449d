"""`Toolbox`: a tool's name and arguments in, an answer out, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from mcp_api.log_watch import LogWatch
from mcp_api.pipeline import evaluation_ms
from mcp_api.reached_at import reached_at
from mcp_api.sinks import Sinks
from mcp_api.telling import Telling
from mcp_api.tools.alert_parts import AlertParts
from mcp_api.tools.alert_specs import CREATE_ALERT, MANAGE_ALERTS
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import check_arguments, check_names, nearest
from mcp_api.tools.collect import collect
from mcp_api.tools.commanded import Asked, Desk
from mcp_api.tools.create_alert import create_alert
from mcp_api.tools.discover import discover
from mcp_api.tools.export import ExportStream, export, open_export, parse_export
from mcp_api.tools.health_check import HealthParts, health_check
from mcp_api.tools.health_spec import HEALTH_CHECK
from mcp_api.tools.manage_alerts import manage_alerts
from mcp_api.tools.overview_spec import SYSTEM_OVERVIEW
from mcp_api.tools.positions import parse_position
from mcp_api.tools.promql import parse_promql, query_promql
from mcp_api.tools.query import query
from mcp_api.tools.question import parse_question
from mcp_api.tools.specs import COLLECT, EXPORT, QUERY, SPECS_BY_NAME, STATUS
from mcp_api.tools.status import Parts, server_status
from mcp_api.tools.system_overview import parse_overview, system_overview
from mcp_api.watching import Watching
from projections.alert_queries import AlertQueries
from projections.backtest import Backtests
from projections.health_queries import HealthQueries
from projections.projector import Projector
from projections.queries import Queries
from streams.commanding import Commander
from streams.config import Settings
from streams.domain.alert_routing import Routing
from streams.errors import InputError, Overloaded
from streams.events.topics import COMMANDS
from streams.ingest.edge import Edge
from streams.ingest.json_points import parse_arguments
from streams.ingest.parsed import Parsed
from streams.log.protocol import EventLog
from streams.log.wall_clock import wall_clock_ms
from streams.runners.runner import Runner

__all__ = ["LocalToolbox", "ToolAnswer", "Toolbox"]

READS_AT_ONCE = 4
READS_WAITING_MAX = 64
INLINE_POINTS_MAX = 500
"""More are parsed in a thread: decoded points take about 10 µs each."""
CAUGHT_UP_WAIT_S = 5.0

T = TypeVar("T")


class Toolbox(Protocol):
    """Two implementations: `LocalToolbox` here, and a client of another server's."""

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        actor: str,
        request_key: str | None = None,
    ) -> ToolAnswer:
        """The answer. Raises `InputError` for an unknown tool or wrong arguments, `Overloaded` or
        `NotCaughtUp` where the same call may succeed later, `QueryTooExpensive`, `LogError`."""
        ...


class LocalToolbox:
    """The tools over this process' own log and read models.

    Reads run in four threads of its own; where 64 wait already, more are `Overloaded`. ``base_url``
    (as in ``http://127.0.0.1:8000``) begins the links in answers where it is not known by which
    address a client came; it may be set later, when the port is known.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        edge: Edge,
        projector: Projector,
        queries: Queries,
        runner: Runner | None,
        settings: Settings,
        receivers: Collection[str] | None = None,
        routing: Routing | None = None,
        telling: Telling | None = None,
        watch: LogWatch | None = None,
        watching: Watching | None = None,
        sinks: Sinks | None = None,
        base_url: str = "",
        clock: Callable[[], int] = wall_clock_ms,
        caught_up_wait_s: float = CAUGHT_UP_WAIT_S,
    ) -> None:
        """``runner`` None: the processors run elsewhere; ``receivers`` None: who they are is not
        known here; ``routing`` None: nobody is told of alerts; ``telling`` None: another process
        tells, or none; ``watch`` None: the embedded log's; ``watching`` None: nothing can be
        probed from here. ``caught_up_wait_s``: how long a read waits for its ``min_position``,
        and a command for its answer."""
        self.base_url = base_url
        self._edge = edge
        self._projector = projector
        self._queries = queries
        self._clock = clock
        self._parts = Parts(
            projector,
            queries,
            runner,
            settings,
            clock(),
            watch or LogWatch(),
            telling,
            sinks,
            watching,
        )
        self._threads = ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="read")
        self._reads = 0
        self._wait_s = caught_up_wait_s
        alerts = AlertQueries(projector)
        commander = Commander(log, clock=clock)
        self._health: HealthParts | None = None
        if watching is not None:
            self._health = HealthParts(
                commander=commander,
                health=HealthQueries(projector),
                probe=watching.prober.check,
                tell=watching.tell,
                in_thread=self._in_thread,
            )
        self._desk = Desk(commander, alerts, wait_s=caught_up_wait_s)
        self.alert_parts = AlertParts(
            desk=self._desk,
            alerts=alerts,
            queries=queries,
            backtests=Backtests(projector, routing or Routing(), evaluation_ms(settings)),
            in_thread=self._in_thread,
            receivers=receivers,
        )

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        actor: str,
        request_key: str | None = None,
    ) -> ToolAnswer:
        spec = SPECS_BY_NAME.get(name)
        if spec is None:
            raise InputError(f"there is no tool {name[:60]!r}; {nearest(name, SPECS_BY_NAME)}")
        if spec is COLLECT:
            # Its points are judged one by one: a bad one is no reason to refuse the call.
            check_names(spec.name, spec.input_schema, arguments)
            points = arguments.get("metrics")
            if isinstance(points, list) and len(points) > INLINE_POINTS_MAX:
                parsed = await asyncio.to_thread(parse_arguments, arguments, self._clock())
            else:
                parsed = parse_arguments(arguments, self._clock())
            return await self.collect(parsed, actor=actor, request_key=request_key)
        check_arguments(spec.name, spec.input_schema, arguments)
        if spec is HEALTH_CHECK:
            if self._health is None:
                raise Overloaded("nothing can be probed from here", status=503)
            return await health_check(self._health, arguments, actor, self._clock())
        if spec not in (CREATE_ALERT, MANAGE_ALERTS):
            return await self._read(spec.name, arguments)
        await self._caught_up(arguments)
        now_ms = self._clock()
        asked = Asked.of(name, arguments, actor=actor, request_key=request_key, now_ms=now_ms)
        act = create_alert if spec is CREATE_ALERT else manage_alerts
        return await act(self.alert_parts, asked)

    async def collect(
        self, parsed: Parsed, *, actor: str, request_key: str | None = None
    ) -> ToolAnswer:
        """`collect_metrics` of points that are parsed already: the hot path."""
        return await collect(self._edge, parsed, actor=actor, request_key=request_key)

    async def open_export(self, arguments: Mapping[str, Any]) -> ExportStream:
        """The stream behind `export_metrics`' link, of the tool's own arguments. Reading its chunks
        blocks (some 25 ms for 50,000 rows): do it in a thread."""
        request = parse_export(arguments, self._clock())
        await self._caught_up(arguments)
        return await self._in_thread(partial(open_export, self._queries, request))

    def close(self) -> None:
        """Takes no more reads; those that run end by themselves within their time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _read(self, name: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        now_ms = self._clock()
        read: Callable[[], ToolAnswer]
        operation = arguments.get("operation", "query")
        if name == STATUS.name:
            read = partial(server_status, self._parts, now_ms)
        elif name == SYSTEM_OVERVIEW.name:
            overview = parse_overview(arguments, now_ms)
            read = partial(system_overview, self._projector, overview, now_ms)
        elif name == EXPORT.name:
            request = parse_export(arguments, now_ms)
            min_position = arguments.get("min_position", "")
            base_url = reached_at() or self.base_url
            read = partial(
                export, self._queries, request, base_url=base_url, min_position=min_position
            )
        else:
            assert name == QUERY.name, name
            if operation == "query" and "promql" in arguments:
                asked = parse_promql(arguments, now_ms)
                read = partial(query_promql, self._queries, self._projector, asked, now_ms)
            elif operation == "query":
                question = parse_question(arguments, now_ms)
                read = partial(query, self._queries, question, now_ms)
            else:
                read = partial(discover, self._queries, operation, arguments, now_ms)
        await self._caught_up(arguments)
        return await self._in_thread(read)

    async def _caught_up(self, arguments: Mapping[str, Any]) -> None:
        wanted = parse_position(arguments.get("min_position", ""))
        if (offset := wanted.pop((COMMANDS, 0), None)) is not None:
            await self._desk.decided(offset)
        if wanted:
            await self._projector.wait_for(wanted, self._wait_s)

    async def _in_thread(self, read: Callable[[], T]) -> T:
        if self._reads >= READS_AT_ONCE + READS_WAITING_MAX:
            raise Overloaded(
                f"{READS_WAITING_MAX} reads wait already; ask again in a second", status=503
            )
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        finally:
            self._reads -= 1
