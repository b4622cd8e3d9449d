"""`Server`: everything of one data directory, put together, started and stopped in order.

The log is opened first and closed last; HTTP is opened last and closed first. While a damaged
read model is rebuilt, measurements are taken already and `Server.not_ready` says what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Self

from mcp_api.app import build_app
from mcp_api.backbone import open_backbone
from mcp_api.bodies import BodyLimits
from mcp_api.data_dir import projection_path
from mcp_api.discovery import Found, announce, announced, withdraw
from mcp_api.guard import Guard, GuardLimits
from mcp_api.listener import Listener, bind
from mcp_api.live_feed.route import LiveFeed
from mcp_api.mcp_http import McpHttp
from mcp_api.named_gauges import named_gauges
from mcp_api.observability.reporting import report
from mcp_api.observability.traced_app import traced
from mcp_api.processor_metrics import ProcessorMetrics
from mcp_api.prometheus_api.route import PrometheusApi
from mcp_api.readiness import Readiness
from mcp_api.screen import Numbers
from mcp_api.series_seed import SeriesSeed
from mcp_api.server_gauges import server_gauges
from mcp_api.sinks import Sinks
from mcp_api.snapshot_fetch import fetch_snapshot
from mcp_api.snapshot_route import remove_unsent
from mcp_api.telemetry import Telemetry
from mcp_api.telling import Telling, configured
from mcp_api.tool_calls import ToolCalls
from mcp_api.tools.toolbox import LocalToolbox
from mcp_api.watching import Watching, configured_targets, register
from projections.answers import Selection
from projections.health_queries import HealthQueries
from projections.projector import Projector
from projections.queries import Queries
from projections.rebuild import Rebuilt
from streams.commanding import Commander
from streams.config import Settings
from streams.domain.default_rules import DEFAULT_RULES
from streams.errors import LogError, LogLocked, ProjectionError, QueryTooExpensive
from streams.events.codec import iso_time
from streams.ingest.counters import run_counters
from streams.ingest.demo import run_demo
from streams.ingest.edge import Edge
from streams.ingest.pseudonyms import configured_pseudonyms
from streams.ingest.series_limits import SeriesLimits
from streams.ingest.system import run_collector
from streams.log.asking_again import until_available
from streams.log.wall_clock import wall_clock_ms
from streams.runners.runner import Runner

_LOGGER = logging.getLogger(__name__)

WARM_START_S = 1.5
"""A read model that is not open by then is being rebuilt: HTTP does not wait for it any longer."""

READY_POLL_S = 0.02
FAILED_POLL_S = 0.5

BODIES_AT_ONCE = 4
"""Bodies of the largest size that may be in memory together."""

STOP_S = 1.0
"""For the runner and the projector; what is not committed then is done again next time."""

EDGE_STOP_S = 5.0
"""For the requests taken; their clients have been cut off before."""

TAIL_STOP_S = 3.0
"""For the agents on Kafka; what they had is in the log."""


class Server:
    """An async context manager: inside, the server serves at `url`.

    Raises `ConfigError`, `LogLocked`, `LogDamaged`, `LogUnavailable`, `ProjectionError` on
    entering; nothing is left running then.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        demo_hosts: int = 0,
        with_worker: bool = False,
        limits: GuardLimits | None = None,
        listens: bool = True,
    ) -> None:
        """``demo_hosts``: the size of a synthetic fleet that reports here, 0 for none;
        ``with_worker``: on Kafka this process runs processors, too (embedded it always does);
        ``limits``: instead of those of the settings; ``listens`` False: without HTTP and `url`, for
        the program that it is part of."""
        self.settings = settings
        self.url = ""
        self.telemetry = Telemetry()
        self._demo_hosts = demo_hosts
        self._with_worker = with_worker
        self._listens = listens
        body_max = settings.body_bytes_max
        self._limits = limits or GuardLimits(
            bodies=BodyLimits(body_bytes_max=body_max, bytes_max=BODIES_AT_ONCE * body_max)
        )
        self._rebuilt: Rebuilt | None = None
        self._fetching = ""
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

    async def until_failed(self) -> None:
        """Raises what ends a node on Kafka: its database cannot be made, or its processors stopped;
        others serve meanwhile. The embedded server tells it in `not_ready` and takes measurements.
        """
        while True:
            await asyncio.sleep(FAILED_POLL_S)
            if self.tail is None:
                continue
            for start in self._starting:
                if start.done():
                    start.result()
            if self.runner is not None and (error := self.runner.failure()) is not None:
                raise LogError(f"the processors stopped: {error}") from error

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
        stack.callback(report(settings))
        self._configuration = configured(settings)
        self._targets = configured_targets(settings)
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        bound = bind(settings.host, settings.port) if self._listens else None
        if bound is not None:
            stack.callback(bound.close)
        await self._open_log()
        self.limits = SeriesLimits(settings.series_max, settings.source_series_max)
        self._make_readers()
        await self._start_readers()
        self._telling: Telling | None = None
        if self.runner is not None:
            self._telling = Telling(self.log, self.runner, self._configuration)
            self._keep(self._telling.run())
        self._watching = Watching(self.log, self.runner, self._targets, settings)
        self._keep(self._watching.run())
        self._sinks = Sinks(self.log, self.runner, settings, self.projector)
        stack.push_async_callback(asyncio.to_thread, self._sinks.stop)
        self._sinks.start()
        pseudonyms = configured_pseudonyms(settings)
        self.edge = Edge(self.log, self.limits, pseudonyms=pseudonyms)
        stack.push_async_callback(self._close_edge)
        self.app = self._application()
        self._start_producers()
        if bound is not None:
            self._listen(bound)

    def _listen(self, bound: socket) -> None:
        data_dir, stack = self.settings.data_dir, self._stack
        listener = Listener(traced(self.app), bound)
        self.url = self.toolbox.base_url = listener.url
        stack.push_async_callback(listener.close)
        listener.start()
        found = Found(os.getpid(), self.url, iso_time(wall_clock_ms()))
        announce(data_dir, found)
        stack.callback(withdraw, data_dir, found)

    async def _open_log(self) -> None:
        try:
            backbone = await asyncio.to_thread(
                open_backbone,
                self.settings,
                self._configuration.routing,
                with_worker=self._with_worker,
            )
        except LogLocked as error:
            other = announced(self.settings.data_dir)
            if other is None:
                raise
            raise LogLocked(f"{error}; it answers at {other.url}") from error
        self._stack.push_async_callback(asyncio.to_thread, backbone.close)
        self._backbone = backbone
        self.log = backbone.log
        self.runner: Runner | None = backbone.runner
        self.tail = backbone.tail

    def _make_readers(self) -> None:
        path = projection_path(self.settings)
        remove_unsent(path)
        from_kafka = self.tail is not None and self.settings.snapshot_from is not None
        fetch = self._fetch if from_kafka else None
        self.projector = Projector(self._backbone.source, path, fetch=fetch)

    def _fetch(self, target: Path) -> None:
        """Another node's database; `ProjectionError` where it cannot be had."""
        settings = self.settings
        url, tail = settings.snapshot_from, self.tail
        assert url is not None
        assert tail is not None

        def told(done: int, size: int) -> None:
            self._fetching = (
                f"the database is being copied from {url}: {done >> 20:,} of {size >> 20:,} MiB"
            )

        told(0, 0)
        try:
            fetch_snapshot(url, settings.snapshot_token or settings.token, target, told)
            tail.refresh_ends()  # the other node may have records that this one never heard of
        except LogError as error:
            target.unlink(missing_ok=True)
            raise ProjectionError(f"the log cannot be compared with {url}'s: {error}") from error
        finally:
            self._fetching = ""

    async def _start_readers(self) -> None:
        """Both stop side by side: each waits up to half a second for its thread."""
        self._stack.push_async_callback(self._stop_readers)
        starting = asyncio.create_task(self._start_projector(), name="projector-start")
        runner, tail = self._backbone.runner, self.tail
        self._starting = [starting]
        if tail is not None:
            tail.start()
            self._keep(self._backbone.watch.run())
        if runner is not None:
            runner_start = asyncio.create_task(asyncio.to_thread(runner.start))
            self._starting.append(runner_start)
            if tail is None:  # joining a group may take a while, and nobody has to wait for it
                await runner_start
        seed = SeriesSeed(self.limits, self.projector, self.log.ends)
        self._keep(seed.run(starting))
        await asyncio.wait({starting}, timeout=WARM_START_S)
        if starting.done():
            starting.result()
            with suppress(TimeoutError):
                async with asyncio.timeout(WARM_START_S):
                    await seed.complete.wait()
        else:
            _LOGGER.warning("the database is not open yet; measurements are taken meanwhile")
        self._readiness = Readiness(
            self.log,
            self.runner,
            self.projector,
            starting,
            lambda: self._rebuilt,
            fetching=lambda: self._fetching,
            watch=self._backbone.watch,
            standing_still=self._standing_still,
        )

    def _standing_still(self) -> list[str]:
        telling = [] if self._telling is None else self._telling.standing_still()
        return [*self._watching.problems(), *telling]

    async def _start_projector(self) -> None:
        def told(rebuilt: Rebuilt) -> None:
            self._rebuilt = rebuilt

        await asyncio.to_thread(self.projector.start, told)

    async def _close_edge(self) -> None:
        """Brokers that are away would keep it for as long as a write may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EDGE_STOP_S):
                await self.edge.close()

    async def _stop_readers(self) -> None:
        stops: list[Callable[[], object]] = [partial(self.projector.stop, STOP_S)]
        if self.runner is not None:
            stops.append(partial(self.runner.stop, STOP_S))
        if self.tail is not None:
            stops.append(partial(self.tail.stop, TAIL_STOP_S))
        await asyncio.gather(*(asyncio.to_thread(stop) for stop in stops))

    def _application(self) -> Guard:
        self._queries = Queries(self.projector)
        self.toolbox = LocalToolbox(
            log=self.log,
            edge=self.edge,
            projector=self.projector,
            queries=self._queries,
            runner=self.runner,
            settings=self.settings,
            receivers=self._configuration.receivers,
            routing=self._configuration.routing,
            telling=self._telling,
            watch=self._backbone.watch,
            watching=self._watching,
            sinks=self._sinks,
        )
        self._stack.callback(self.toolbox.close)
        self.calls = ToolCalls(self.toolbox, self.telemetry, call_s=self._limits.call_s)
        self._stack.callback(self.calls.close)
        mcp = McpHttp(self.calls, self.settings.body_bytes_max, self.telemetry.observe_mcp)
        self._stack.push_async_callback(mcp.close)
        prometheus_api = PrometheusApi(self.projector, call_s=self._limits.call_s)
        self._stack.callback(prometheus_api.close)
        live_feed = LiveFeed(self.log, self.projector)
        self._stack.push_async_callback(live_feed.close)
        self.telemetry.add_gauges(live_feed.gauges)
        app = build_app(
            settings=self.settings,
            toolbox=self.toolbox,
            calls=self.calls,
            mcp=mcp,
            projector=self.projector,
            prometheus_api=prometheus_api,
            watching=self._watching,
            live_feed=live_feed,
            telemetry=self.telemetry,
            not_ready=self.not_ready,
            limits=self._limits,
        )
        self.telemetry.registry.register(ProcessorMetrics(lambda: self.runner))
        if self._telling is not None:
            self.telemetry.add_gauges(self._telling.gauges)
        self.telemetry.add_gauges(self._watching.gauges)
        self.telemetry.add_gauges(self._sinks.gauges)
        self.telemetry.add_gauges(named_gauges(self.projector))
        self.telemetry.add_gauges(
            partial(
                server_gauges,
                log=self.log,
                runner=self.runner,
                watch=self._backbone.watch,
                projector=self.projector,
                edge=self.edge,
                limits=self.limits,
                bodies=app.bodies,
            )
        )
        return app

    def _start_producers(self) -> None:
        beginning = partial(Commander(self.log).begin_with, DEFAULT_RULES)
        self._keep(until_available(beginning, "the default rules"))
        self._keep(until_available(self._register_targets, "the targets of health checks"))
        interval_s = self.settings.metrics_collection_interval_s
        if interval_s:
            self._keep(run_collector(self.edge, interval_s, self.settings.host_label))
            counted, host = self.telemetry.mcp_counts, self.settings.host_label
            self._keep(run_counters(self.edge, interval_s, counted, host))
        if self._demo_hosts:
            self._keep(run_demo(self.edge, hosts=self._demo_hosts))

    async def _register_targets(self) -> None:
        """Once it is known which are registered."""
        await self.until_ready()
        await register(Commander(self.log), HealthQueries(self.projector), self._targets)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it until the server stops."""
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(end)
