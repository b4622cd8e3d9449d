"""``worker``: a process that runs the processors on Kafka, until a signal or a failure ends it."""

# ruff: noqa: ARG001 - every handler takes what ASGI gives

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

from mcp_api import screen
from mcp_api.asgi import App, Receive, Scope, Send, send_json
from mcp_api.backbone import kafka_runner
from mcp_api.caller import Admission
from mcp_api.ending import end_within
from mcp_api.guard import Guard, GuardLimits
from mcp_api.listener import Listener, bind
from mcp_api.log_watch import LogWatch
from mcp_api.observability.reporting import report
from mcp_api.pages import health, metrics
from mcp_api.processor_metrics import ProcessorMetrics
from mcp_api.readiness import STALLED_S
from mcp_api.router import Router
from mcp_api.sinks import Sinks
from mcp_api.telemetry import Gauge, Telemetry
from mcp_api.telling import Telling, configured
from mcp_api.watching import Watching, configured_targets
from streams.config import Settings
from streams.errors import ConfigError
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.runners.kafka_ingest import KafkaIngest, add_ingest
from streams.runners.kafka_runner import KafkaRunner

_LOGGER = logging.getLogger(__name__)

STOP_S: Final = 10.0
"""From SIGTERM to the end of the process, whatever hangs."""
LEAVE_S: Final = 6.0
"""Of that, for the running steps and leaving the group."""
LOOK_S: Final = 0.5
SETTLE_S: Final = 60.0
"""For Kafka to answer at the start, and for the group to take this process in."""


async def work_until_stopped(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT (exit code 0), or until it fails (1): then it is to be started
    again, and others have its partitions meanwhile.

    Raises `ConfigError` without Kafka, or where its topics differ.
    """
    kafka = settings.kafka()
    if kafka is None:
        raise ConfigError(
            "KAFKA_BOOTSTRAP_SERVERS is not set, and a worker runs the processors on Kafka: set it "
            "to the brokers, like localhost:9092. Without Kafka `serve` runs them itself"
        )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        stop.set()
        end_within(STOP_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped)
    async with Worker(settings, kafka) as worker:
        screen.out.print(f"Working for {','.join(kafka.bootstrap_servers)}; {worker.url}/ready")
        screen.out.file.flush()
        return await worker.work(stop)


class Worker:
    """An async context manager: inside, ``/health``, ``/ready``, ``/metrics`` answer at `url`."""

    def __init__(self, settings: Settings, kafka: KafkaConfig) -> None:
        self.url = ""
        self._settings = settings
        self._kafka = kafka
        self._log: KafkaLog | None = None
        self._runner: KafkaRunner | None = None
        self._ingest: KafkaIngest | None = None
        self._watch: LogWatch | None = None
        self._telling: Telling | None = None
        self._watching: Watching | None = None
        self._sinks: Sinks | None = None
        self._ends_at_start = 0
        self._caught_up = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Worker:
        settings = self._settings
        self._stack.callback(report(settings))
        telemetry = Telemetry()
        telemetry.registry.register(ProcessorMetrics(lambda: self._runner))
        telemetry.add_gauges(self._gauges)
        router = Router(
            {
                "/health": {"GET": health()},
                "/ready": {"GET": self._ready()},
                "/metrics": {"GET": metrics(telemetry)},
            }
        )
        admission = Admission.of(
            listen_host=settings.host,
            allowed_hosts=settings.allowed_hosts,
            allowed_origins=settings.allowed_origins,
            token=settings.token,
        )
        app = Guard(router, admission, GuardLimits(), telemetry.observe_request)
        listener = Listener(app, bind(settings.host, settings.port))
        self._stack.push_async_callback(listener.close)
        listener.start()
        self.url = listener.url
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def work(self, stop: asyncio.Event) -> int:
        """Opens the log and runs the processors; the exit code."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # It waits for brokers in a thread, and has begun nothing that wants an end.
            os._exit(0)
        starting.result()
        while not stop.is_set():
            reason = self._why_end()
            if reason:
                _LOGGER.error("this worker ends: %s", reason)
                end_within(STOP_S)
                return 1
            await asyncio.wait({stopping}, timeout=LOOK_S)
        return 0

    def not_ready(self) -> list[str]:
        """Why its partitions are behind, or might be; one sentence each."""
        if self._log is None or self._runner is None or self._watch is None:
            return ["Kafka has not answered yet"]
        if reason := self._why_end() or self._watch.unreachable():
            return [reason]
        if self._runner.host.unsettled_for_s() > 0:
            return ["the partitions are being shared out"]
        stalled_s = self._runner.stalled_for_s()
        if stalled_s > STALLED_S:
            return [f"the processors have made no progress for {stalled_s:.0f} s"]
        if not self._caught_up:
            behind = sum(self._runner.lag().values())
            since = sum(self._log.ends().values()) - self._ends_at_start
            self._caught_up = behind <= since
            if not self._caught_up:
                return [f"the processors are {behind - since} records behind"]
        return []

    async def _start(self) -> None:
        log = await asyncio.to_thread(KafkaLog.open, self._kafka, timeout_s=SETTLE_S)
        self._stack.push_async_callback(asyncio.to_thread, log.close)
        settings = self._settings
        configuration, targets = configured(settings), configured_targets(settings)
        runner = kafka_runner(log, settings, configuration.routing, settings.worker_id or "")
        self._ingest = await asyncio.to_thread(add_ingest, runner.host, log, settings)
        self._stack.push_async_callback(self._leave, runner)
        await asyncio.to_thread(runner.start, SETTLE_S)
        self._watch = LogWatch(log)
        watching = asyncio.create_task(self._watch.run())
        self._stack.callback(watching.cancel)
        self._telling = Telling(log, runner, configuration)
        telling = asyncio.create_task(self._telling.run())
        self._stack.push_async_callback(_ended, telling)
        self._watching = Watching(log, runner, targets, settings)
        watched = asyncio.create_task(self._watching.run())
        self._stack.push_async_callback(_ended, watched)
        self._sinks = Sinks(log, runner, settings)
        self._stack.push_async_callback(asyncio.to_thread, self._sinks.stop)
        self._sinks.start()
        self._ends_at_start = sum(log.ends().values())
        self._log, self._runner = log, runner

    async def _leave(self, runner: KafkaRunner) -> None:
        if not await asyncio.to_thread(runner.stop, LEAVE_S):
            _LOGGER.error("a step does not end: this process ends without it")
            os._exit(1)

    def _why_end(self) -> str:
        """What a supervisor mends by starting this process again; "" for nothing."""
        assert self._runner is not None
        failure = self._runner.failure()
        if failure is not None:
            return f"the processors stopped: {failure}"
        if self._telling is not None and (failure := self._telling.failure()) is not None:
            return f"nobody is told of alerts any more: {failure}"
        if self._watching is not None and (failure := self._watching.failure()) is not None:
            return f"targets are not checked any more: {failure}"
        stalled_s = self._runner.stalled_for_s()
        if stalled_s > self._settings.worker_stall_timeout_s:
            return f"the processors have made no progress for {stalled_s:.0f} s"
        waiting_s = self._ingest.stalled_for_s() if self._ingest is not None else 0.0
        if waiting_s > self._settings.worker_stall_timeout_s:
            return f"messages of an ingest topic have waited for the log for {waiting_s:.0f} s"
        return ""

    def _ready(self) -> App:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            reasons = await asyncio.to_thread(self.not_ready)
            content: dict[str, Any] = {
                "status": "not ready" if reasons else "ready",
                "reasons": reasons,
                "lag": [
                    {"processor": name, "topic": topic, "partition": number, "records": records}
                    for name, topic, number, records in self._lags()
                ],
            }
            if reasons:
                await send_json(send, 503, content, ((b"retry-after", b"1"),))
            else:
                await send_json(send, 200, content)

        return answer

    def _lags(self) -> list[tuple[str, str, int, int]]:
        """Processor, topic, partition, records; of the partitions that this process has."""
        if self._runner is None:
            return []
        topics = self._runner.topics
        lags = [(n, topics[n], p, lag) for (n, p), lag in sorted(self._runner.lag().items())]
        taken = self._ingest.lag() if self._ingest is not None else {}
        return lags + [("ingest", topic, number, lag) for (topic, number), lag in taken.items()]

    def _gauges(self) -> Iterator[Gauge]:
        if self._log is None or self._runner is None:
            return
        yield Gauge(
            "logfire_mcp_log_end_offset",
            "Records ever appended, by topic and partition.",
            ("topic", "partition"),
            {(topic, str(number)): end for (topic, number), end in self._log.ends().items()},
        )
        yield Gauge(
            "logfire_mcp_processor_lag_records",
            "Records that a processor has not absorbed, of this worker's partitions.",
            ("processor", "topic", "partition"),
            {(name, topic, str(number)): lag for name, topic, number, lag in self._lags()},
        )
        yield Gauge(
            "logfire_mcp_processor_stalled_seconds",
            "For how long a processor with records before it has not moved.",
            (),
            {(): self._runner.stalled_for_s()},
        )
        if self._telling is not None:
            yield from self._telling.gauges()
        if self._watching is not None:
            yield from self._watching.gauges()
        if self._sinks is not None:
            yield from self._sinks.gauges()
        counts = self._ingest.counts() if self._ingest is not None else {}
        for what in ("messages", "points", "dead_letters"):
            yield Gauge(
                f"logfire_mcp_ingested_{what}",
                f"{what.replace('_', ' ').capitalize()} of the ingest topics, repeats included.",
                ("topic",),
                {(topic,): getattr(each, what) for topic, each in counts.items()},
            )


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancelled and over: what it had begun is closed."""
    task.cancel()
    await asyncio.wait({task})
