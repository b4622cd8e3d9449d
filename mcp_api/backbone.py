"""A server's log and what it needs to read it: the embedded one, or a node's part on Kafka."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_api.data_dir import Node
from mcp_api.log_watch import LogWatch
from mcp_api.pipeline import all_processors
from projections.source import TOPICS, SourceLog
from streams.config import Settings
from streams.domain.alert_routing import Routing
from streams.log.opening import ServerLog, open_log
from streams.log.sqlite_log import SqliteLog
from streams.runners.local import LocalRunner

if TYPE_CHECKING:
    from streams.log.kafka_log import KafkaLog
    from streams.runners.kafka_runner import KafkaRunner
    from streams.runners.kafka_tail import KafkaTail


@dataclass(frozen=True, slots=True)
class Backbone:
    """``source``: what the projection reads. ``runner``: not started; None on Kafka where workers
    run the processors. ``tail``: on Kafka, not started."""

    log: ServerLog
    source: SourceLog
    watch: LogWatch
    runner: LocalRunner | KafkaRunner | None
    tail: KafkaTail | None
    held: ExitStack

    def close(self) -> None:
        """The log, and the data directory with it; last of all."""
        self.held.close()


def open_backbone(settings: Settings, routing: Routing, *, with_worker: bool = False) -> Backbone:
    """Opens the log; blocks. ``with_worker``: on Kafka, too, this process runs processors.

    Errors as of `open_log`; `LogLocked` also for a data directory that another node uses.
    """
    with ExitStack() as held:
        node: Node | None = None
        if settings.kafka() is not None:
            node = Node(settings.data_dir)
            held.callback(node.release)
        log = open_log(settings)
        held.callback(log.close)
        if isinstance(log, SqliteLog):
            processors = all_processors(settings, log.partitions, routing)
            runner = LocalRunner(log, processors, tick_ms=settings.tick_s * 1000)
            return Backbone(log, log, LogWatch(), runner, None, held.pop_all())
        assert node is not None
        return _on_kafka(log, node, settings, routing, held, with_worker=with_worker)


def kafka_runner(
    log: KafkaLog, settings: Settings, routing: Routing, worker_id: str
) -> KafkaRunner:
    """The processors on Kafka, not started; ``worker_id`` as `FaustHost` has ``instance_id``."""
    from streams.runners.kafka_runner import KafkaRunner  # late, as below

    return KafkaRunner(
        log.config,
        log,
        all_processors(settings, log.partitions, routing, deduplicates=True),
        tick_ms=settings.tick_s * 1000,
        worker_id=worker_id,
        session_timeout_s=settings.kafka_session_timeout_s,
    )


def _on_kafka(
    log: KafkaLog,
    node: Node,
    settings: Settings,
    routing: Routing,
    held: ExitStack,
    *,
    with_worker: bool,
) -> Backbone:
    # Late: the embedded server needs neither Kafka's client nor Faust in memory.
    from streams.runners.kafka_ingest import add_ingest
    from streams.runners.kafka_tail import KafkaTail

    tail = KafkaTail(log, log.config, TOPICS, node=node.name)
    runner = None
    if with_worker:
        runner = kafka_runner(log, settings, routing, node.name)
        add_ingest(runner.host, log, settings)
    return Backbone(log, tail, LogWatch(log, tail, node.name), runner, tail, held.pop_all())
