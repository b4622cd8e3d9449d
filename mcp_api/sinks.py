"""What the log is copied to, as the settings want it: InfluxDB and Redis, each with its thread.

Every process copies the partitions that its runner has, so they move with it. Where another process
runs the processors, nothing is copied here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path

from mcp_api.observability.forwarding import otlp_sinks
from mcp_api.snapshot_fetch import fetch_snapshot
from mcp_api.telemetry import Gauge
from projections.influx import InfluxSink, InfluxTarget
from projections.projector import Projector
from projections.redis_cache import RedisSink
from projections.refill import ReadModelRefill, Refill
from projections.refill_copy import CopiedModel
from projections.sink import Sink, SinkPump, SinkStatus
from projections.sink_positions import PositionFile, PositionStore, Settled
from projections.source import Partition
from streams.config import Settings
from streams.events.topics import ALERTS, HEALTH_RESULTS, POINTS, WINDOWS
from streams.log.opening import ServerLog
from streams.log.sqlite_log import SqliteLog
from streams.runners.runner import Runner

STOP_S = 1.0
STALLED_S = 30.0

_GOES_WITH = {
    "windows": (POINTS, WINDOWS),
    "notify": (ALERTS,),
    "health": (HEALTH_RESULTS,),
}
"""Which topics' partitions are copied where a processor's partition is."""


def held_places(runner: Runner) -> list[Partition]:
    """The partitions of points, windows, alerts and health that are this process' to copy."""
    return [(topic, number) for name, number in runner.lag() for topic in _GOES_WITH.get(name, ())]


class Sinks:
    """Those that are configured. Every method may be called from any thread."""

    def __init__(
        self,
        log: ServerLog,
        runner: Runner | None,
        settings: Settings,
        projector: Projector | None = None,
    ) -> None:
        """``runner`` None: other processes copy. ``projector``: what the log no longer holds is
        refilled from it; None where this process has no database, and asks SNAPSHOT_FROM's."""
        self._pumps: dict[str, SinkPump] = {}
        self._elsewhere: list[str] = []
        model = projector or _copied(log, settings)
        refill = None if model is None else ReadModelRefill(model, log.partitions(POINTS))
        for sink in configured_sinks(log, settings, refill):
            if runner is None:
                self._elsewhere.append(sink.name)
                continue
            self._pumps[sink.name] = SinkPump(log, sink, partial(held_places, runner))

    def start(self) -> None:
        """Returns at once, whether they can be reached or not."""
        for pump in self._pumps.values():
            pump.start()

    def stop(self) -> None:
        """What is not written within a second is written next time."""
        for pump in self._pumps.values():
            pump.stop(0.0)
        for pump in self._pumps.values():
            pump.stop(STOP_S)

    def status(self) -> Mapping[str, SinkStatus]:
        """Of each that this process writes, by name."""
        return {name: pump.status() for name, pump in self._pumps.items()}

    def component(self, name: str) -> str:
        """``connected``, ``not_configured``, ``written by the workers``, or the error."""
        if name in self._elsewhere:
            return "written by the workers"
        pump = self._pumps.get(name)
        if pump is None:
            return "not_configured"
        status = pump.status()
        if status.error:
            return f"error: {status.error}"[:300]
        return "connected" if status.connected else "error: not reached yet"

    def problems(self) -> list[str]:
        """What is away, behind or left out, one sentence each."""
        found = []
        for name, status in self.status().items():
            if status.error:
                found.append(f"{name}: {status.error}")
            elif status.seconds > STALLED_S:
                found.append(f"{name}: {status.records} records behind")
            if left := [gap for gap in status.gaps if not gap.refilled]:
                found.append(f"{name}: {len(left)} gaps, the newest {left[-1]}")
        return found

    def gauges(self) -> Iterator[Gauge]:
        """For ``/metrics``."""
        told = self.status()
        for name, text, value in _GAUGES:
            samples: Samples = {(sink,): float(value(status)) for sink, status in told.items()}
            yield Gauge(f"logfire_mcp_sink_{name}", text, ("sink",), samples)
        rows: Samples = {
            (sink, what): float(count)
            for sink, status in told.items()
            for what, count in status.counts.items()
        }
        text = "Rows since the start, by what became of them."
        yield Gauge("logfire_mcp_sink_rows", text, ("sink", "outcome"), rows)
        gaps: Samples = {
            (sink, gap.topic, str(gap.partition), str(gap.first), str(gap.end)): float(gap.refilled)
            for sink, status in told.items()
            for gap in status.gaps
        }
        text = "Offsets that never came from the log; 1 where they were refilled."
        labels = ("sink", "topic", "partition", "first", "end")
        yield Gauge("logfire_mcp_sink_gap_refilled", text, labels, gaps)


Samples = dict[tuple[str, ...], float]

_GAUGES: tuple[tuple[str, str, Callable[[SinkStatus], float]], ...] = (
    ("up", "1 while it takes what is written.", lambda one: one.connected),
    ("lag_records", "Records in the log that it does not have.", lambda one: one.records),
    ("lag_seconds", "For how long there have been such.", lambda one: one.seconds),
    ("gaps", "Times that the log no longer held what came next.", lambda one: one.gaps_total),
)


def _copied(log: ServerLog, settings: Settings) -> CopiedModel | None:
    url = settings.snapshot_from
    if url is None:
        return None
    token = settings.snapshot_token or settings.token

    def fetch(target: Path) -> None:
        fetch_snapshot(url, token, target, lambda _done, _size: None)

    return CopiedModel(fetch, log)


def configured_sinks(log: ServerLog, settings: Settings, refill: Refill | None) -> Iterator[Sink]:
    """Made, not opened."""
    if settings.redis_url is not None:
        yield RedisSink(
            settings.redis_url,
            log.log_id,
            prefix=settings.redis_prefix,
            ttl_s=settings.redis_ttl_s,
            refill=refill,
        )
    if settings.influxdb_url is not None:
        target = InfluxTarget(
            settings.influxdb_url,
            settings.influxdb_token or "",
            settings.influxdb_org,
            settings.influxdb_bucket,
        )
        yield InfluxSink(
            target,
            Settled(_positions(log, settings, target)),
            writes=settings.influxdb_write,
            refill=refill,
        )
    yield from otlp_sinks(log, settings)


def _positions(log: ServerLog, settings: Settings, target: InfluxTarget) -> PositionStore:
    """A file where one process copies; on Kafka what outlives a worker and moves to the next."""
    named = f"{log.log_id} {target.url} {target.org} {target.bucket}".encode()
    belongs = blake2b(named, digest_size=8).hexdigest()
    if isinstance(log, SqliteLog):
        return PositionFile(settings.data_dir / "influxdb.position.json", belongs)
    # Late: the embedded server needs no Kafka client in memory.
    from streams.log.kafka_offsets import KafkaOffsets

    return KafkaOffsets(log.config, f"{log.config.prefix}sink-influxdb-{belongs}")
