"""A log in memory, and processors run over it in chosen steps, with kills between them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, EventData, MetricsCollected, Ticked
from streams.events.codec import decode, encode
from streams.events.labels import series_partition, series_text
from streams.events.topics import ALERTS, POINTS, RULE_INPUTS
from streams.log.protocol import Entry, Message, Record
from streams.processors.evaluate import EvaluateProcessor
from streams.processors.route import RouteProcessor
from streams.processors.seam import HEAD, Processor, Tracked, advance, restore

BEGIN_MS = 1_700_000_000_000
TICK_MS = 5_000

Place = tuple[str, int]
Sample = tuple[str, dict[str, str], int, float]
"""(name, labels, time, value)"""


@dataclass
class MemoryLog:
    """Partitions as lists."""

    places: dict[Place, list[Record]] = field(default_factory=dict)

    def records(self, topic: str, partition: int = 0) -> list[Record]:
        return self.places.setdefault((topic, partition), [])

    def append(self, entry: Entry, at_ms: int) -> None:
        records = self.records(entry.topic, entry.partition)
        headers, body = entry.message.headers, entry.message.body
        at = (entry.topic, entry.partition, len(records))
        records.append(Record(*at, at_ms, headers, body))

    def events(self, topic: str, partition: int = 0) -> list[EventData]:
        return [decode(each.headers, each.body).data for each in self.records(topic, partition)]


@dataclass
class Cell:
    """A processor in one partition: what is committed."""

    processor: Processor[Any]
    partition: int
    log: MemoryLog
    table: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    tracked: Tracked[Any] | None = None

    @property
    def records(self) -> list[Record]:
        return self.log.records(self.processor.topic, self.partition)

    def restored(self) -> Tracked[Any]:
        """As after a kill."""
        return restore(self.processor, self.table, lambda a, b: self.records[a:b])

    def run(self, size: int = 1 << 30, until: int | None = None) -> list[Entry]:
        """Takes what is there in steps of a size."""
        before = len(self.entries)
        tracked = self.tracked or self.restored()
        end = len(self.records) if until is None else until
        while tracked.position < end:
            part = self.records[tracked.position : min(end, tracked.position + size)]
            tracked = self._commit(*advance(self.processor, self.partition, tracked, part))
        self.tracked = tracked
        return self.entries[before:]

    def run_interrupted(self, dice: random.Random) -> None:
        """Steps of random size; some are computed and lost, some end in a kill."""
        tracked = self.restored()
        while tracked.position < len(self.records):
            step = self.records[tracked.position : tracked.position + dice.randint(1, 5)]
            fate = dice.random()
            if fate < 0.3:
                advance(self.processor, self.partition, tracked, step)
                continue
            tracked = self._commit(*advance(self.processor, self.partition, tracked, step))
            if fate > 0.7:
                tracked = self.restored()

    def _commit(
        self,
        after: Tracked[Any],
        changes: Mapping[str, bytes | None],
        entries: Sequence[Entry],
    ) -> Tracked[Any]:
        for key, value in changes.items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        self.entries += entries
        return after

    def left(self) -> tuple[dict[str, bytes], list[tuple[str, int, Message]]]:
        """All that it left behind."""
        head = {key: value for key, value in self.table.items() if key != HEAD}
        return head, [(e.topic, e.partition, e.message) for e in self.entries]


@dataclass
class RuleFlow:
    """Points, routes and evaluations of as many partitions, driven by hand."""

    partitions: int = 2
    evaluation_ms: int = TICK_MS
    log: MemoryLog = field(default_factory=MemoryLog)
    now_ms: int = BEGIN_MS
    appended: int = 0

    def __post_init__(self) -> None:
        route = RouteProcessor(self.partitions, TICK_MS)
        evaluate = EvaluateProcessor(self.partitions, self.evaluation_ms)
        self.routes = [Cell(route, n, self.log) for n in range(self.partitions)]
        self.homes = [Cell(evaluate, n, self.log) for n in range(self.partitions)]

    def put(self, data: EventData, partition: int) -> None:
        """A record of the points; what is collected comes of a traced call, numbered as it is."""
        self.appended += 1
        traceparent = trace(self.appended) if isinstance(data, MetricsCollected) else ""
        envelope = Envelope(f"test/{self.appended}", "test", self.now_ms, traceparent=traceparent)
        self.log.append(Entry(POINTS, partition, encode(Event(envelope, data))), self.now_ms)

    def tell(self, fact: EventData) -> None:
        """A fact about a rule, as it is told to each partition of the points."""
        for partition in range(self.partitions):
            self.put(fact, partition)

    def collect(self, *samples: Sample) -> None:
        for partition, batch in batches(samples, self.partitions).items():
            self.put(MetricsCollected(batch), partition)

    def tick(self, *samples: Sample, ticks: int = 1) -> None:
        """Samples, then a tick everywhere, and all that follows from it."""
        self.collect(*samples)
        self.now_ms += ticks * TICK_MS
        for partition in range(self.partitions):
            self.put(Ticked(self.now_ms), partition)
        self.flow()

    def flow(self) -> None:
        for cell in self.routes:
            self._append(cell.run())
        for cell in self.homes:
            self._append(cell.run())

    def _append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.log.append(entry, self.now_ms)

    def alerts(self) -> list[EventData]:
        return self.log.events(ALERTS)

    def moves(self) -> list[tuple[int, str, str]]:
        """(tick, host or name, state after) of all transitions."""
        found = []
        for event in self.alerts():
            if hasattr(event, "alert"):
                ticks = (event.at_ms - BEGIN_MS) // TICK_MS
                labels = event.alert.labels
                found.append((ticks, labels.get("host", labels["alertname"]), event.after))
        return found


def trace(number: int) -> str:
    """The traceparent of the record that was appended as this one."""
    return f"00-{number:032x}-{number:016x}-01"


def batches(samples: Sequence[Sample], partitions: int) -> dict[int, MetricBatch]:
    """As the edge cuts them."""
    parts: dict[int, list[tuple[str, int, float]]] = {}
    for name, labels, at_ms, value in samples:
        text = series_text(name, labels)
        parts.setdefault(series_partition(text, partitions), []).append((text, at_ms, value))
    return {partition: batch_of(rows) for partition, rows in sorted(parts.items())}


def batch_of(rows: Sequence[tuple[str, int, float]]) -> MetricBatch:
    """(label text, time, value)"""
    texts = sorted({text for text, _, _ in rows})
    return MetricBatch(
        labels=tuple(texts),
        types=("gauge",) * len(texts),
        units=("",) * len(texts),
        series=np.array([texts.index(text) for text, _, _ in rows], dtype=np.int32),
        at_ms=np.array([at_ms for _, at_ms, _ in rows], dtype=np.int64),
        value=np.array([value for _, _, value in rows], dtype=np.float64),
    )


def inputs_of(flow: RuleFlow, home: int) -> list[EventData]:
    return flow.log.events(RULE_INPUTS, home)
