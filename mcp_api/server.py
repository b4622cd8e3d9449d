"""`Server`: everything of one data directory, put together, started and stopped in order.

The log is opened first and closed last; HTTP is opened last and closed first. While a damaged
read model is rebuilt, measurements are taken already and `Server.not_ready` says what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from mcp_api.app import build_app
from mcp_api.bodies import BodyLimits
from mcp_api.discovery import Found, announce, announced, withdraw
from mcp_api.guard import Guard, GuardLimits
from mcp_api.listener import Listener, bind
from mcp_api.mcp_http import McpHttp
from mcp_api.readiness import Readiness
from mcp_api.screen import Numbers
from mcp_api.server_gauges import server_gauges
from mcp_api.telemetry import Telemetry
from mcp_api.tool_calls import ToolCalls
from mcp_api.tools.toolbox import LocalToolbox
from projections.answers import Selection
from projections.projector import Projector
from projections.queries import Queries
from projections.rebuild import Rebuilt
from streams.config import Settings
from streams.errors import LogLocked, ProjectionError, QueryTooExpensive
from streams.events.codec import iso_time
from streams.ingest.demo import run_demo
from streams.ingest.edge import Edge
from streams.ingest.series_limits import SeriesLimits
from streams.ingest.system import run_collector
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from streams.processors.windows import WindowsProcessor
from streams.runners.local import LocalRunner

_LOGGER = logging.getLogger(__name__)

WARM_START_S = 1.5
"""A read model that is not open by then is being rebuilt: HTTP does not wait for it any longer."""

READY_POLL_S = 0.02

BODIES_AT_ONCE = 4
"""Bodies of the largest size that may be in memory together."""

STOP_S = 1.0
"""For the runner and the projector; what is not committed then is done again next time."""


def projection_path(settings: Settings) -> Path:
    """The DuckDB file: beside the log that it is a fold of, which never has this name itself:
    see `Settings.db_path`."""
    return settings.db_path.with_suffix(".duckdb")


class Server:
    """An async context manager: inside, the server serves at `url`.

    Raises `ConfigError`, `LogLocked`, `LogDamaged`, `LogUnavailable`, `ProjectionError` on
    entering; nothing is left running then.
    """

    def __init__(
        self, settings: Settings, *, demo_hosts: int = 0, limits: GuardLimits | None = None
    ) -> None:
        """``demo_hosts``: the size of a synthetic fleet that reports here, 0 for none; ``limits``:
        instead of those of the settings."""
        self.settings = settings
        self.url = ""
        self.telemetry = Telemetry()
        self._demo_hosts = demo_hosts
        body_max = settings.body_bytes_max
        self._limits = limits or GuardLimits(
            bodies=BodyLimits(body_bytes_max=body_max, bytes_max=BODIES_AT_ONCE * body_max)
        )
        self._rebuilt: Rebuilt | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def not_ready(self) -> list[str]:
        """Why answers may be missing something; empty once everything is up to date."""
        return self._readiness.reasons()

    async def until_ready(self) -> None:
        """Returns once `not_ready` has no reason left."""
        while self.not_ready():  # noqa: ASYNC110 - it is asked of threads that tell nobody
            await asyncio.sleep(READY_POLL_S)

    def numbers(self) -> Numbers | None:
        """For the status line; reads the database, so not on the event loop. None: not now."""
        try:
            totals = self._queries.totals()
            newest = self.projector.live.latest(
                Selection("system_cpu_usage", (), 0, wall_clock_ms())
            )
        except (ProjectionError, QueryTooExpensive):
            return None
        cpu = float(newest.value[0]) if len(newest) else None
        return Numbers(totals.points, totals.series, 0.0, cpu)

    async def _start(self) -> None:
        settings, stack = self.settings, self._stack
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        bound = bind(settings.host, settings.port)
        stack.callback(bound.close)
        self.log = await self._open_log()
        stack.push_async_callback(asyncio.to_thread, self.log.close)
        self.limits = SeriesLimits(settings.series_max, settings.source_series_max)
        self._make_readers()
        await self._start_readers()
        self.edge = Edge(self.log, self.limits)
        stack.push_async_callback(self.edge.close)
        self.app = self._application()
        listener = Listener(self.app, bound)
        self.url = self.toolbox.base_url = listener.url
        self._start_producers()
        stack.push_async_callback(listener.close)
        listener.start()
        found = Found(os.getpid(), self.url, iso_time(wall_clock_ms()))
        announce(settings.data_dir, found)
        stack.callback(withdraw, settings.data_dir, found)

    async def _open_log(self) -> SqliteLog:
        open_log = partial(
            SqliteLog.open, self.settings.db_path, partitions=self.settings.partitions
        )
        try:
            return await asyncio.to_thread(open_log)
        except LogLocked as error:
            other = announced(self.settings.data_dir)
            if other is None:
                raise
            raise LogLocked(f"{error}; it answers at {other.url}") from error

    def _make_readers(self) -> None:
        settings = self.settings
        windows = WindowsProcessor(
            sizes_ms=tuple(size * 1000 for size in settings.window_sizes_s),
            grace_ms=settings.window_grace_s * 1000,
        )
        self.runner = LocalRunner(self.log, [windows], tick_ms=settings.tick_s * 1000)
        self.projector = Projector(self.log, projection_path(settings))

    async def _start_readers(self) -> None:
        """Both stop side by side: each waits up to half a second for its thread."""
        self._stack.push_async_callback(self._stop_readers)
        starting = asyncio.create_task(self._start_projector(), name="projector-start")
        await asyncio.to_thread(self.runner.start)
        await asyncio.wait({starting}, timeout=WARM_START_S)
        if starting.done():
            starting.result()
        else:
            _LOGGER.warning("the database is being rebuilt; measurements are taken meanwhile")
        self._starting = starting
        self._readiness = Readiness(
            self.log, self.runner, self.projector, starting, lambda: self._rebuilt
        )

    async def _start_projector(self) -> None:
        def told(rebuilt: Rebuilt) -> None:
            self._rebuilt = rebuilt

        await asyncio.to_thread(self.projector.start, told)
        self.limits.seed(self.projector.series_texts())

    async def _stop_readers(self) -> None:
        await asyncio.gather(
            asyncio.to_thread(self.runner.stop, STOP_S),
            asyncio.to_thread(self.projector.stop, STOP_S),
        )

    def _application(self) -> Guard:
        self._queries = Queries(self.projector)
        self.toolbox = LocalToolbox(
            edge=self.edge,
            projector=self.projector,
            queries=self._queries,
            runner=self.runner,
            settings=self.settings,
        )
        self._stack.callback(self.toolbox.close)
        self.calls = ToolCalls(self.toolbox, self.telemetry, call_s=self._limits.call_s)
        self._stack.callback(self.calls.close)
        mcp = McpHttp(self.calls, self.settings.body_bytes_max)
        self._stack.push_async_callback(mcp.close)
        app = build_app(
            settings=self.settings,
            toolbox=self.toolbox,
            calls=self.calls,
            mcp=mcp,
            projector=self.projector,
            telemetry=self.telemetry,
            not_ready=self.not_ready,
            limits=self._limits,
        )
        self.telemetry.add_gauges(
            partial(
                server_gauges,
                log=self.log,
                runner=self.runner,
                projector=self.projector,
                edge=self.edge,
                limits=self.limits,
                bodies=app.bodies,
            )
        )
        return app

    def _start_producers(self) -> None:
        interval_s = self.settings.metrics_collection_interval_s
        if interval_s:
            self._produce(run_collector(self.edge, interval_s))
        if self._demo_hosts:
            self._produce(run_demo(self.edge, hosts=self._demo_hosts))

    def _produce(self, producer: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(producer)

        async def end() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(end)
