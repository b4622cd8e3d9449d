"""A log under load, its read model, and what sinks must hold when they have caught up with it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from projections.influx import InfluxSink, InfluxTarget, Writes
from projections.projector import Projector
from projections.refill import ReadModel, ReadModelRefill
from projections.sink import SinkPump
from projections.sink_positions import PositionFile, Settled
from projections.source import Partition
from streams.events.alerting import Alert, State
from streams.events.health import HealthChanged, HealthChecked, Target, TargetRegistered
from streams.events.labels import parse_series, series_partition
from streams.events.topics import HEALTH_RESULTS, WINDOWS
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from streams.processors.windows import WindowsProcessor
from streams.runners.local import LocalRunner
from tests.projections.alert_making import alert, fact, moved, rule, tell
from tests.projections.making import append_message, collect, text

PARTITIONS: Final = 2
PATIENCE_S: Final = 60.0
FIELDS: Final = ("count", "sum", "min", "max", "first", "last", "increase")
Found = dict[tuple[tuple[str, str], ...], dict[int, float]]


def until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Waits for something that is certain to come."""
    never = threading.Event()
    waited_s = 0.0
    while not condition():
        assert waited_s < timeout_s, f"it never came: {what}"
        never.wait(0.02)
        waited_s += 0.02


class Load:
    """Samples (some late), checks and alerts, as fast as the log takes them, in a thread."""

    def __init__(self, log: SqliteLog, seed: int) -> None:
        self._log = log
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._used: set[tuple[str, int]] = set()
        self._states: dict[str, State] = {}
        self._thread = threading.Thread(target=self._run, name="load")
        self.batches = 0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def more(self, batches: int) -> None:
        """Waits until so many more were written."""
        before = self.batches
        until(lambda: self.batches >= before + batches, "load")

    def _run(self) -> None:
        for number in range(4):
            target = Target(name=f"t{number}", kind="tcp", endpoint="tcp:1")
            message = fact(TargetRegistered(target), wall_clock_ms())
            append_message(self._log, message, topic=HEALTH_RESULTS, partition=number % 2)
        while not self._stopping.wait(0.02):
            now_ms = wall_clock_ms()
            self._samples(now_ms)
            self._check(now_ms)
            self._alert(now_ms)
            self.batches += 1

    def _samples(self, now_ms: int) -> None:
        by_partition: dict[int, list[tuple[str, int, float]]] = {}
        for _ in range(20):
            series = text("cpu load", host=f"a,b {self._random.randrange(10)}")
            late_ms = self._random.choice((0, 0, 0, 4_000))
            at_ms = now_ms - late_ms + self._random.randrange(20)
            if (series, at_ms) not in self._used:  # of two the read model keeps the first
                self._used.add((series, at_ms))
                value = float(self._random.randrange(1_000)) / 4
                place = series_partition(series, PARTITIONS)
                by_partition.setdefault(place, []).append((series, at_ms, value))
        for partition, samples in by_partition.items():
            collect(self._log, samples, partition=partition)

    def _check(self, now_ms: int) -> None:
        name = f"t{self._random.randrange(4)}"
        ok = self._random.random() < 0.7
        checked = HealthChecked(
            target=name,
            endpoint="tcp:1",
            at_ms=now_ms,
            cause="ok" if ok else "refused",
            latency_ms=float(self._random.randrange(100)) / 4,
        )
        turned = HealthChanged(
            target=name, before="unknown", after="healthy", at_ms=now_ms, reason=f"at {now_ms}"
        )
        for data in (checked, turned) if ok else (checked,):
            message = fact(data, now_ms)
            append_message(self._log, message, topic=HEALTH_RESULTS, partition=int(name[1]) % 2)

    def _alert(self, now_ms: int) -> None:
        host = f"h{self._random.randrange(4)}"
        one: Alert = alert(rule(), host, active_ms=now_ms, value=float(self._random.randrange(99)))
        before = self._states.get(host, "inactive")
        after: State = {"inactive": "pending", "pending": "firing"}.get(before, "inactive")  # type: ignore[assignment]
        self._states[host] = after
        tell(self._log, moved(one, before, after, now_ms), now_ms)


class Rig:
    """The log, the windows of one second that follow from it, and the read model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog.open(folder / "log.db", partitions=PARTITIONS, linger_ms=0)
        windows = WindowsProcessor(sizes_ms=(1_000,), grace_ms=0)
        self.runner = LocalRunner(self.log, [windows], tick_ms=1_000)
        self.projector = Projector(self.log, folder / "metrics.duckdb")
        self._pumps: list[SinkPump] = []
        self.runner.start()
        self.projector.start()

    def close(self) -> None:
        for pump in self._pumps:
            pump.stop(20.0)
        self.runner.stop(20.0)
        self.projector.stop(20.0)
        self.log.close()

    def places(self) -> list[Partition]:
        return list(self.log.ends())

    def pump(self, sink: Any, **more: Any) -> SinkPump:
        pump = SinkPump(self.log, sink, self.places, retry_s=0.1, **more)
        self._pumps.append(pump)
        pump.start()
        return pump

    def influx(
        self,
        url: str,
        writes: Writes = "both",
        *,
        settle_s: float = 10.0,
        model: ReadModel | None = None,
    ) -> InfluxSink:
        target = InfluxTarget(url, "hush", "logfire", "metrics")
        kept = PositionFile(self.folder / "influxdb.position.json", self.log.log_id)
        refill = ReadModelRefill(model or self.projector, PARTITIONS)
        return InfluxSink(target, Settled(kept, settle_s=settle_s), writes=writes, refill=refill)

    def until_caught_up(self, *pumps: SinkPump) -> None:
        """No window is closed any more, and everything that the log holds has arrived."""
        self.runner.stop(20.0)
        ends = self.log.ends()

        def arrived(positions: Any) -> bool:
            return all(positions[place] >= ends[place] for place in positions)

        until(lambda: arrived(self.projector.positions()), "the read model")
        for pump in pumps:
            until(partial(_connected, pump), "a connection")
            until(lambda pump=pump: arrived(pump.positions()), "everything is copied")  # type: ignore[misc]

    def windows(self) -> Found:
        """The read model's windows as a database of metrics names their fields."""
        amended = {
            (number, record.offset): record.headers["ce_type"] == "metrics.window_amended.v1"
            for number in range(PARTITIONS)
            for record in self._records(WINDOWS, number)
        }
        found: Found = {}
        for row in self.rows("SELECT text, windows.* FROM windows JOIN series USING (series_id)"):
            number = series_partition(row["text"], PARTITIONS)
            late = amended[number, row["segment"]]
            name, labels = parse_series(row["text"])
            labels |= {"window": f"{row['size_ms'] / 1000:g}"} | (
                {"amended": "true"} if late else {}
            )
            at_ms = row["first_ms"] if late else row["start_ms"]
            for field in FIELDS:
                key = tuple(sorted({"__name__": f"{name}_{field}", **labels}.items()))
                found.setdefault(key, {})[at_ms] = float(row[field])
        return found

    def points(self) -> Found:
        """The read model's samples, named likewise."""
        found: Found = {}
        for row in self.rows("SELECT text, at_ms, value FROM points JOIN series USING (series_id)"):
            name, labels = parse_series(row["text"])
            key = tuple(sorted({"__name__": f"{name}_value", **labels}.items()))
            found.setdefault(key, {})[row["at_ms"]] = row["value"]
        return found

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with self.projector.reading(60.0) as reader:
            return reader.rows(sql)

    def _records(self, topic: str, number: int) -> Iterator[Any]:
        offset = 0
        while records := self.log.read_now(topic, number, offset):
            yield from records
            offset = records[-1].offset + 1


def _connected(pump: SinkPump) -> bool:
    return pump.status().connected


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    folder.mkdir(exist_ok=True)
    one = Rig(folder)
    try:
        yield one
    finally:
        one.close()


def redis_expected(one: Rig) -> dict[str, dict[str, str]]:
    """What the read model says of newest samples, alerts that are not over, and targets."""
    told: dict[str, dict[str, str]] = {}
    for row in one.rows(
        "SELECT text, latest.*, type, unit FROM latest JOIN series USING (series_id)"
    ):
        kept = {name: str(row[name]) for name in ("at_ms", "value", "type", "unit")}
        told[f"logfire:last:{row['text']}"] = kept
    for row in one.rows("SELECT * FROM alerts"):
        fields = ("state", "since_ms", "name", "severity", "rule_id", "version", "labels")
        fields += ("annotations", "value", "active_ms", "reason")
        told[f"logfire:alert:{row['fingerprint']}"] = {name: str(row[name]) for name in fields}
    for row in one.rows("SELECT * FROM health_states"):
        told[f"logfire:health:{row['target']}"] = {
            "state": row["state_after"],
            "since_ms": str(row["at_ms"]),
            "reason": row["reason"],
            "suppressed_by": row["suppressed_by"],
        }
    for row in one.rows("SELECT * FROM health_last"):
        told.setdefault(f"logfire:health:{row['target']}", {}).update(
            checked_ms=str(row["at_ms"]),
            cause=row["cause"],
            latency_ms=str(row["latency_ms"]),
        )
    return told
