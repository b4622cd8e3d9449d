"""`FaustHost`: agents and tables of a Faust app, hosted in a thread. The only importer of faust.

It knows Faust and Kafka, not metrics. What it rests on and what it does not:

- A message is committed after its handler returned, never before. A handler that raises is never
  acknowledged: the error is kept for `FaustHost.failure`, that agent stops, the process is to end.
- Positions belong to whoever handles records: Kafka's commits only say where to look again.
- A table is a compacted topic read back when partitions come; it may be behind what another owner
  wrote, so its values must be able to tell whether they belong together.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import FaustError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types.auth import SASLMechanism
from mode.threads import WorkerThread

from streams.errors import LogUnavailable
from streams.log.kafka_batches import record_of
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_foreign import read_foreign_headers
from streams.log.protocol import Record
from streams.runners.hosted_agents import Agent, Batches, BatchHandler, Handler, Place
from streams.runners.hosted_table import VALUE_BYTES_MAX, WRITE_TIMEOUT_S, HostedTable

_log = logging.getLogger(__name__)

AssignmentListener = Callable[[set[Place]], None]

BUFFERED_RECORDS_MAX: Final = 128
"""Fetched and not yet handled, of one agent; the largest record has 1 MiB."""
FETCH_BYTES_MAX: Final = 4 << 20
"""Of one partition in one fetch."""
REBALANCE_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 0.2
RECOVERY_PATIENCE_S: Final = 10.0
"""Tables that are read back and get nothing for so long are read back again: after rebalances in
quick succession Faust was seen to wait for ever for a partition that it does not fetch."""

for _name in ("faust", "mode"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _Undeclared(logging.Filter):
    """Faust warns of each topic that it may not create; ours are there before it starts."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Topic creation disabled" not in record.getMessage()


logging.getLogger("faust.transport.drivers.aiokafka").addFilter(_Undeclared())


class _ConsumerThread(WorkerThread):
    """A consumer that does not end in time must not keep the process from ending, and one that
    crashes has told the app of it: its error is in `FaustHost.failure`."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001  or Python would print it once more
            _log.debug("the consumer's thread ended: %r", error)


AIOKafkaConsumerThread.Worker = _ConsumerThread


class _App(faust.App):
    async def on_first_start(self) -> None:
        """Faust makes directories for stores on disk; ours are in memory."""


class FaustHost:
    """A Faust app in a thread with an event loop of its own; once stopped it is not started again.

    ``app_id`` is the consumer group. ``instance_id`` makes this a static member of it: a process
    that comes back under the same id within ``session_timeout_s`` keeps its partitions, but one
    that ends keeps them that long, too; "" is a dynamic member, which leaves at once.

    Agents, tables and listeners are declared before `start`. Topics and changelog topics
    (`changelog_topic`) must be there, those of one table and its source with the same number of
    partitions. Handlers and listeners run in the host's loop. One handler call at a time an agent.
    """

    def __init__(
        self, kafka: KafkaConfig, *, app_id: str, instance_id: str, session_timeout_s: float = 10.0
    ) -> None:
        self._kafka = kafka
        self._app_id = app_id
        self._instance_id = instance_id
        self._session_timeout_s = session_timeout_s
        self._agents: list[Agent] = []
        self._tables: list[HostedTable] = []
        self._assigned: frozenset[Place] = frozenset()
        self._unsettled_at: float | None = None
        self._recovering: tuple[int, float] | None = None
        self._failure: BaseException | None = None
        self._app: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started: Future[None] = Future()
        self._stop_by = 0.0
        self._thread = threading.Thread(target=self._run, name=f"faust-{app_id}", daemon=True)
        self.on_assigned: AssignmentListener = lambda _: None
        """Called with all partitions of the agents' topics that this process has now, before any
        of their records is handled, with the tables read back; after each rebalance."""
        self.on_revoked: AssignmentListener = lambda _: None
        """Called when a rebalance begins, after the running handler calls, with what was had."""

    def agent(self, topic: str, handle: Handler, *, name: str) -> None:
        """``handle`` gets the records of each assigned partition in order, one at a time.

        ``topic``: the broker's name; `Record.topic` has it without the configured prefix.
        """
        self._agents.append(Agent(topic, name, handle))

    def batch_agent(
        self, topic: str, handle: BatchHandler, *, name: str, records_max: int, within_s: float
    ) -> None:
        """``handle`` gets up to ``records_max`` records of one partition, in order.

        A record waits at most ``within_s`` and one call for its batch. All records of a call are
        acknowledged when it returns.
        """
        assert records_max > 0
        self._agents.append(Agent(topic, name, handle, records_max, within_s))

    def changelog_topic(self, table: str) -> str:
        """The broker's name of a table's topic, to be declared before `start`: compacted, with as
        many partitions as the source."""
        return f"{self._app_id}.{table}.changelog"

    def table(self, name: str, partitions: int) -> HostedTable:
        """A table beside the agents."""
        self._tables.append(HostedTable(self.changelog_topic(name), name, partitions, self._send))
        return self._tables[-1]

    def start(self, timeout_s: float) -> None:
        """Joins the group; returns once the app runs, which may be before partitions are assigned.

        Raises `LogUnavailable` where Kafka cannot be reached in time; what runs then is stopped.
        """
        self._unsettled_at = time.monotonic()
        self._thread.start()
        try:
            self._started.result(timeout_s)
        except TimeoutError as error:
            self.stop(2.0)
            raise LogUnavailable(
                f"Kafka at {','.join(self._kafka.bootstrap_servers)} did not take this process "
                f"into the group {self._app_id} within {timeout_s:.0f} s; a session time-out of "
                f"{self._session_timeout_s:g} s must be within what its brokers allow"
            ) from error
        except KafkaError as error:
            self.stop(2.0)
            raise LogUnavailable(f"Kafka cannot be reached: {error!r}") from error

    def stop(self, timeout_s: float) -> bool:
        """Finishes the running handler calls, commits and leaves; True when all has ended.

        After three quarters of the time, or after a failure, handlers are cancelled instead: their
        records come again. On False the process should end: the group still counts it in.
        """
        self._stop_by = time.monotonic() + timeout_s * 0.75
        if self._thread.ident is None:
            return True
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stopping.set)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def failure(self) -> BaseException | None:
        """What ended a handler or Faust itself; None while all is well."""
        return self._failure

    def assigned(self) -> frozenset[Place]:
        """The partitions of the agents' topics that this process has; empty in a rebalance."""
        return self._assigned

    def unsettled_for_s(self) -> float:
        """Seconds since a rebalance began that has not ended; 0.0 where partitions are settled."""
        since = self._unsettled_at
        return 0.0 if since is None else time.monotonic() - since

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The handlers' loop, from `start` on."""
        assert self._loop is not None, "the host was not started"
        return self._loop

    def record_of(self, message: Any) -> Record:
        """Faust's message as a record."""
        topic, at_ms = self._our_name(message.topic), round(message.timestamp * 1000)
        return record_of(topic, message.partition, message, at_ms)

    async def guarded(self, handled: Awaitable[None]) -> None:
        """For agents: an error never leaves, since Faust would go on behind it."""
        try:
            await handled
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  kept for `failure`
            self._fail(error)
            await asyncio.Event().wait()

    def _our_name(self, topic: str) -> str:
        return topic.removeprefix(self._kafka.prefix)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            _log.error("the Faust app %s stopped", self._app_id, exc_info=error)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001  kept for `failure` and `start`
            if self._started.done():
                self._fail(error)
            else:
                self._failure = error
                self._started.set_exception(error)
        if not self._started.done():
            left = LogUnavailable(f"the group {self._app_id} was left before it took this one in")
            self._started.set_exception(left)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        read_foreign_headers()
        self._app = self._new_app()
        starting = asyncio.ensure_future(self._app.start())
        try:
            await self._until_stopped_or(starting)
            if starting.done():
                starting.result()
                self._started.set_result(None)
                await self._until_stopped_or(None)
        finally:
            starting.cancel()
            ending = asyncio.ensure_future(self._app.stop())
            while not ending.done():
                if self._failure is not None or time.monotonic() > self._stop_by:
                    self._app.consumer.unacked.clear()  # or it would wait for them for ever
                await asyncio.wait([ending], timeout=WATCH_S)

    async def _until_stopped_or(self, done: asyncio.Future[Any] | None) -> None:
        """Returns when told to stop or when ``done`` is; notices meanwhile where Faust crashed."""
        assert self._stopping is not None
        stopping = asyncio.ensure_future(self._stopping.wait())
        waited = [stopping] if done is None else [stopping, done]
        while not any(each.done() for each in waited):
            await asyncio.wait(waited, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            if self._app.crashed:
                self._fail(self._app.crash_reason or RuntimeError("Faust crashed"))
            self._watch_recovery()
        stopping.cancel()

    def _watch_recovery(self) -> None:
        """Begins to read tables back again, where they are, if nothing more comes of them."""
        if not self._app.in_recovery:
            self._recovering = None
            return
        recovery, now = self._app.tables.recovery, time.monotonic()
        remaining = recovery.active_remaining_total()
        if self._recovering is None or self._recovering[0] != remaining:
            self._recovering = remaining, now
        elif now - self._recovering[1] > RECOVERY_PATIENCE_S:
            _log.warning("%s: %d table records do not come, asking again", self._app_id, remaining)
            recovery.signal_recovery_start.set()
            self._recovering = remaining, now

    def _new_app(self) -> _App:
        app = _App(
            self._app_id,
            broker=";".join(f"kafka://{server}" for server in self._kafka.bootstrap_servers),
            broker_credentials=_credentials(self._kafka),
            broker_session_timeout=self._session_timeout_s,
            broker_heartbeat_interval=self._session_timeout_s / 3,
            broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
            broker_request_timeout=max(REBALANCE_TIMEOUT_S, self._session_timeout_s) + 10,
            consumer_group_instance_id=self._instance_id or None,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=FETCH_BYTES_MAX,
            stream_buffer_maxsize=BUFFERED_RECORDS_MAX,
            producer_max_request_size=VALUE_BYTES_MAX,
            producer_request_timeout=WRITE_TIMEOUT_S,
            processing_guarantee="at_least_once",
            store="memory://",
            table_standby_replicas=0,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            key_serializer="raw",
            value_serializer="raw",
        )
        for table in self._tables:
            table.attach(app)
        for agent in self._agents:
            self._declare(app, agent)

        async def on_revoked(*_: Any, **__: Any) -> None:
            self._told(self._revoked)

        async def on_rebalanced(*_: Any, **__: Any) -> None:
            self._told(self._rebalanced)

        app.on_partitions_revoked.connect(on_revoked)
        app.on_rebalance_complete.connect(on_rebalanced)
        return app

    def _declare(self, app: _App, agent: Agent) -> None:
        topic = app.topic(agent.topic, key_type=bytes, value_type=bytes, allow_empty=True)

        async def one_by_one(stream: Any) -> None:
            async for event in stream.noack().events():
                await self.guarded(agent.handle(self.record_of(event.message)))
                event.ack()

        async def in_batches(stream: Any) -> None:
            batches = Batches(agent, self.record_of, self.guarded)
            timer = asyncio.ensure_future(batches.flush_regularly())
            try:
                async for event in stream.noack().events():
                    await batches.add(event)
            finally:
                timer.cancel()

        app.agent(topic, name=agent.name)(in_batches if agent.records_max else one_by_one)

    def _told(self, change: Callable[[], None]) -> None:
        """Faust would go on behind a listener that fails."""
        try:
            change()
        except BaseException as error:  # noqa: BLE001  kept for `failure`
            self._fail(error)

    def _revoked(self) -> None:
        had, self._assigned = self._assigned, frozenset()
        self._unsettled_at = self._unsettled_at or time.monotonic()
        if had:
            self.on_revoked(set(had))

    def _rebalanced(self) -> None:
        topics = {agent.topic for agent in self._agents}
        assigned = {
            (self._our_name(tp.topic), tp.partition)
            for tp in self._app.consumer.assignment()
            if tp.topic in topics
        }
        self.on_assigned(set(assigned))
        self._assigned = frozenset(assigned)
        self._unsettled_at = None

    async def _send(
        self, topic: str, partition: int, key: bytes, value: bytes | None
    ) -> Awaitable[Any]:
        """For tables: sends and returns what to wait for; `LogUnavailable`."""
        try:
            sent: Awaitable[Any] = await self._app.producer.send(
                topic, key, value, partition, None, None
            )
        except (KafkaError, FaustError) as error:
            raise LogUnavailable(f"{topic} cannot be written: {error!r}") from error
        return sent


def _credentials(kafka: KafkaConfig) -> Any:
    """Faust's words for `KafkaConfig.client_options`."""
    options = kafka.client_options()
    protocol = options.get("security_protocol", "PLAINTEXT")
    ssl_context = options.get("ssl_context")
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=SASLMechanism(options["sasl_mechanism"]),
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=ssl_context,
        )
    return faust.SSLCredentials(ssl_context) if protocol == "SSL" else None
