"""Ingest topics taken by a host in this process, as a worker takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from streams.events.catalogue import DeadLettered, MetricsCollected
from streams.events.codec import decode
from streams.events.labels import parse_series
from streams.events.topics import DEADLETTER, POINTS
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.series_limits import SeriesLimits
from streams.log.kafka_log import KafkaLog
from streams.log.opening import ServerLog
from streams.log.protocol import Record
from streams.runners.faust_app import FaustHost
from streams.runners.kafka_ingest import KafkaIngest, ingest_of

WITHIN_S = 60.0

Samples = dict[tuple[str, str, int], list[float]]
"""Name, source and time, to the values in the log's order."""


@contextmanager
def ingesting(log: KafkaLog, topics: Sequence[IngestTopic]) -> Iterator[KafkaIngest]:
    """Takes what is on the topics until the end of the block."""
    host = FaustHost(log.config, app_id=f"{log.config.prefix}ingest", instance_id="")
    ingest = ingest_of(host, log, topics, SeriesLimits())
    host.start(WITHIN_S)
    try:
        yield ingest
        assert host.failure() is None
    finally:
        assert host.stop(WITHIN_S)


def records(log: ServerLog, topic: str) -> list[Record]:
    """All records of a topic, partition by partition."""
    found = []
    for partition in range(log.partitions(topic)):
        start = log.starts()[topic, partition]
        while more := log.read_now(topic, partition, start):  # `ends` may be a little behind
            found += more
            start = more[-1].offset + 1
    return found


def samples(log: ServerLog) -> Samples:
    """Everything in the log, repeats included."""
    found: Samples = {}
    for record in records(log, POINTS):
        data = decode(record.headers, record.body).data
        if not isinstance(data, MetricsCollected):
            continue
        batch = data.batch
        for series, at_ms, value in zip(
            batch.series.tolist(),
            batch.at_ms.tolist(),
            batch.value.tolist(),
            strict=True,
        ):
            name, labels = parse_series(batch.labels[series])
            found.setdefault((name, labels["source"], at_ms), []).append(value)
    return found


def dead(log: ServerLog) -> list[DeadLettered]:
    """All dead letters, by where they lay."""
    letters = []
    for record in records(log, DEADLETTER):
        data = decode(record.headers, record.body).data
        assert isinstance(data, DeadLettered)
        letters.append(data)
    return sorted(letters, key=lambda letter: (letter.topic, letter.partition, letter.offset))
