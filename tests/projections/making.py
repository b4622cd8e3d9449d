"""Batches, logs and hashes for the projection's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from projections.duck import DuckProjection
from projections.reading import reading
from projections.source import SourceLog
from projections.verify import Hashes, projection_hashes
from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, EventData, MetricsCollected, Ticked
from streams.events.codec import encode
from streams.events.labels import series_text
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Append, Entry, Message, Position
from streams.log.sqlite_log import SqliteLog
from streams.processors.seam import advance, restore
from streams.processors.windows import WindowsProcessor

BEGIN_MS = 1_700_000_040_000
"""A full minute."""

Sample = tuple[str, int, float]
"""Series text, time, value."""


def text(name: str, **labels: str) -> str:
    return series_text(name, labels)


def batch(samples: Sequence[Sample], *, kind: str = "gauge", unit: str = "") -> MetricBatch:
    labels = tuple(dict.fromkeys(sample[0] for sample in samples))
    index = {label: i for i, label in enumerate(labels)}
    return MetricBatch(
        labels=labels,
        types=(kind,) * len(labels),
        units=(unit,) * len(labels),
        series=np.array([index[sample[0]] for sample in samples], dtype=np.int32),
        at_ms=np.array([sample[1] for sample in samples], dtype=np.int64),
        value=np.array([sample[2] for sample in samples], dtype=np.float64),
    )


def append(log: SqliteLog, data: EventData, *, topic: str = POINTS, partition: int = 0) -> Position:
    message = encode(Event(Envelope("id", "test", BEGIN_MS), data))
    return append_message(log, message, topic=topic, partition=partition)


def append_message(
    log: SqliteLog, message: Message, *, topic: str = POINTS, partition: int = 0
) -> Position:
    unit = Append((Entry(topic, partition, message),))
    return log.submit(unit).result().positions[0]


def collect(
    log: SqliteLog,
    samples: Sequence[Sample],
    *,
    kind: str = "gauge",
    unit: str = "",
    partition: int = 0,
) -> Position:
    collected = MetricsCollected(batch(samples, kind=kind, unit=unit))
    return append(log, collected, partition=partition)


def tick(log: SqliteLog, at_ms: int, *, partition: int = 0) -> Position:
    return append(log, Ticked(at_ms), partition=partition)


def close_windows(log: SqliteLog, *, partition: int = 0) -> int:
    """Runs the windows processor over what its topic holds; returns how many events it made."""
    processor = WindowsProcessor()
    tracked = restore(processor, {}, lambda _begin, _end: [])
    records = log.read_now(POINTS, partition, 0, records_max=10_000)
    _, _, entries = advance(processor, partition, tracked, records)
    made = [entry for entry in entries if entry.topic == WINDOWS]
    if made:
        log.submit(Append(tuple(made))).result()
    return len(made)


def everything(log: SourceLog, projection: DuckProjection) -> None:
    """Applies all that is left of the log."""
    for (topic, partition), offset in projection.positions().items():
        while records := log.read_now(topic, partition, offset):
            projection.apply(records)
            offset = records[-1].offset + 1


def hashes(projection: DuckProjection) -> Hashes:
    with reading(projection, 60.0) as reader:
        return projection_hashes(reader)


def stored(projection: DuckProjection) -> list[tuple[str, int, float | None]]:
    """Every sample by series text and time; None is the staleness marker."""
    with reading(projection, 60.0) as reader:
        rows = reader.rows(
            "SELECT text, at_ms, value FROM points JOIN series USING (series_id) ORDER BY ALL"
        )
    return [(row["text"], row["at_ms"], row["value"]) for row in rows]


def open_log(folder: Path, *, partitions: int = 1) -> SqliteLog:
    return SqliteLog.open(folder / "log.db", partitions=partitions, linger_ms=0)
