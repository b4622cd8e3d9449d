"""Both runners, one result: the same records give the same bytes, whatever happens meanwhile.

The records of a Kafka log, as they are read there, are folded plainly in this process, and written
into an embedded log with their times. The Kafka runner's tables and outputs, the local runner's,
and the fold's are the same, byte for byte.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.events.rules import CreateAlert
from streams.events.topics import ALERTS, COMMANDS, DEADLETTER, POINTS, WINDOWS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Message
from streams.log.sqlite_log import SqliteLog
from streams.processors.commands import CommandsProcessor
from streams.processors.seam import HEAD, Processor
from streams.runners.kafka_runner import KafkaRunner
from streams.runners.local import LocalRunner
from tests.api.processes import ROOT
from tests.flow import commanding as tell
from tests.flow.kafka_fleet import until
from tests.flow.kafka_oracle import Fold, agrees, all_records, stored
from tests.flow.scripted import LAST_TICK_MS, PARTITIONS, PROCESSOR, TICK_MS, last_ticks, scripted

FAR_S = 60.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(faust|mode|venusian)")


@pytest.fixture
def config(kafka: str, kafka_prefix: str) -> KafkaConfig:
    return KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)


@pytest.fixture
def kafka_log(config: KafkaConfig) -> Iterator[KafkaLog]:
    with closing(KafkaLog.open(config)) as log:
        yield log


@contextmanager
def running(
    log: KafkaLog, processors: Sequence[Processor[Any]] = (PROCESSOR,), **options: Any
) -> Iterator[KafkaRunner]:
    """A runner whose clock stands still; every tick flushes."""
    runner = KafkaRunner(
        log.config,
        log,
        processors,
        tick_ms=TICK_MS,
        clock=lambda: TICK_MS,
        flush_every_s=0.0,
        **options,
    )
    runner.start(FAR_S)
    try:
        yield runner
    finally:
        ended = runner.stop(10)
    assert ended
    assert runner.failure() is None


def append(log: KafkaLog, entries: list[Entry]) -> None:
    for first in range(0, len(entries), 16):
        log.submit(Append(tuple(entries[first : first + 16]))).result(FAR_S)


def until_flushed(log: KafkaLog) -> None:
    """The last record of each partition is a tick; so the tables stand behind it in the end."""
    ends = {p: all_records(log, POINTS, p)[-1].offset + 1 for p in range(PARTITIONS)}
    until(
        lambda: all(stored(log.config, p).position == end for p, end in ends.items()),
        FAR_S,
        "the tables do not stand at the log's end",
    )


def embedded_agrees(
    folder: Path, log: KafkaLog, folds: Mapping[int, Fold], *, records_max: int
) -> None:
    """The local runner over the same records, at the same times, leaves the fold's bytes."""
    records = [r for p in range(PARTITIONS) for r in all_records(log, POINTS, p)]
    records.sort(key=lambda record: record.at_ms)
    now_ms = records[0].at_ms
    path = folder / "embedded.db"
    with closing(SqliteLog.open(path, partitions=PARTITIONS, clock=lambda: now_ms)) as copy:
        for record in records:
            now_ms = record.at_ms
            entry = Entry(POINTS, record.partition, Message(record.headers, record.body))
            position = copy.submit(Append((entry,))).result(FAR_S).positions[0]
            assert position.offset == record.offset
        # Its first tick is one that was there before, so nobody takes notice of it.
        runner = LocalRunner(
            copy,
            [PROCESSOR],
            tick_ms=TICK_MS,
            clock=lambda: LAST_TICK_MS,
            records_max=records_max,
            step_interval_ms=0,
        )
        runner.start()
        until(lambda: not any(runner.lag().values()), FAR_S, "the local runner is behind")
        assert runner.stop(10)
        for partition, folded in folds.items():
            told = [
                [
                    (t, dict(r.headers), r.body)
                    for r in copy.read_now(t, partition, 0, records_max=9_999)
                ]
                for t in (WINDOWS, DEADLETTER)
            ]
            assert told == [[o for o in folded.outputs if o[0] == t] for t in (WINDOWS, DEADLETTER)]
            table = copy.table(PROCESSOR.name, partition)
            last = folded.tables[max(folded.tables)]
            assert {**table, HEAD: b""} == {**last, HEAD: b""}


@pytest.mark.parametrize("records_max", [1, 64])
def test_both_runners_leave_the_bytes_of_the_plain_fold(
    tmp_path: Path, kafka_log: KafkaLog, records_max: int
) -> None:
    append(kafka_log, scripted(random.Random(records_max)))
    with running(kafka_log, records_max=records_max):
        append(kafka_log, last_ticks())
        until_flushed(kafka_log)
    folds = agrees(kafka_log.config, kafka_log, PROCESSOR)
    assert all(len(folded.outputs) > 20 for folded in folds.values())
    embedded_agrees(tmp_path, kafka_log, folds, records_max=records_max)


@pytest.mark.parametrize("committed", ["behind", "ahead"])
def test_what_kafka_committed_decides_nothing(kafka_log: KafkaLog, committed: str) -> None:
    entries = scripted(random.Random(7))
    half = len(entries) // 2
    append(kafka_log, entries[:half])
    with running(kafka_log):
        until(lambda: stored(kafka_log.config, 0).position > 0, FAR_S, "nothing was flushed")
    append(kafka_log, entries[half:])
    ends = {p: end for (t, p), end in kafka_log.ends().items() if t == POINTS}
    commit(kafka_log.config, POINTS, ends if committed == "ahead" else dict.fromkeys(ends, 0))
    with running(kafka_log):
        append(kafka_log, last_ticks())
        until_flushed(kafka_log)
    agrees(kafka_log.config, kafka_log, PROCESSOR)


def test_a_command_that_kafka_delivers_to_nobody_is_decided(kafka_log: KafkaLog) -> None:
    commands = [tell.record_of(offset, CreateAlert(tell.RULE)) for offset in range(3)]
    append(kafka_log, [Entry(COMMANDS, 0, Message(one.headers, one.body)) for one in commands])
    commit(kafka_log.config, COMMANDS, {0: 3})
    with running(kafka_log, [CommandsProcessor(points_partitions=PARTITIONS)]):
        until(lambda: kafka_log.ends()[ALERTS, 0] == 3, FAR_S, "no answers")


def commit(kafka: KafkaConfig, name: str, offsets: Mapping[int, int]) -> None:
    """As the group of the workers, while none of them runs."""

    async def work() -> None:
        group = f"{kafka.prefix}workers"
        async with AIOKafkaConsumer(
            **kafka.client_options(), group_id=group, enable_auto_commit=False
        ) as consumer:
            topic = kafka.topic(name)
            places = {TopicPartition(topic, p): offset for p, offset in offsets.items()}
            consumer.assign(list(places))
            await consumer.commit(places)

    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, work()).result(FAR_S)


CRASHES = [(1, 0.0), (1, -1.0), (2, 0.0), (2, 0.002), (3, 0.005), (4, -1.0), (4, 0.01), (6, 0.02)]
"""Which append of outputs kills the worker, and how many seconds after it is acknowledged; before
it is sent where that is negative."""


def test_a_worker_killed_between_its_writes_changes_nothing(
    config: KafkaConfig, kafka_log: KafkaLog
) -> None:
    append(kafka_log, scripted(random.Random(3)))
    append(kafka_log, last_ticks())
    for number, after_s in CRASHES:
        worker = subprocess.run(
            [
                *(sys.executable, "-m", "tests.flow.mortal_worker"),
                *(config.bootstrap_servers[0], config.prefix, str(number), str(after_s)),
            ],
            cwd=ROOT,
            timeout=FAR_S,
            check=False,
        )
        assert worker.returncode == -signal.SIGKILL
    with running(kafka_log, worker_id="mortal"):
        append(kafka_log, last_ticks())
        until_flushed(kafka_log)
    folds = agrees(config, kafka_log, PROCESSOR)
    made = sum(end for (topic, _), end in kafka_log.ends().items() if topic != POINTS)
    assert made > sum(len(folded.outputs) for folded in folds.values()), "nothing was made twice"
