"""Alerts on a real Kafka through random schedules: what the log holds is what one run makes of it.

Workers join, leave and end at any append meanwhile. Afterwards each processor is run once more,
from nothing and without interruption, over what it read: its outputs are the same bytes. And the
rules are evaluated once more from the points alone, the inputs of one source after those of the
other: they tell the same, byte for byte.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from streams.events.codec import TICKED
from streams.events.topics import POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Entry, Record
from streams.log.wall_clock import wall_clock_ms
from streams.processors.seam import Processor
from tests.effort import examples
from tests.flow.alert_fleet import fleet, live_until_killed
from tests.flow.alert_ledger import made, records, stored
from tests.flow.alert_schedules import BEGINNING, PARTITIONS, SCHEDULES, TICK_MS, Inputs, Round
from tests.flow.rule_flow import Cell, MemoryLog
from tests.kafka_cluster import delete_topics

STALLED = "rules.evaluation_stalled.v1"
"""That is about who came first, and about nothing else."""

KILLS = [(0, 2, True), (0, 5, False), (1, 3, True)]
"""What happens, which append of a worker ends it then, and whether that reaches the log."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(faust|mode|venusian)")


@settings(
    max_examples=examples(2),
    phases=[Phase.explicit, Phase.generate],  # to shrink would take hours
    suppress_health_check=list(HealthCheck),
)
@given(schedule=SCHEDULES)
def test_alerts_are_those_of_one_uninterrupted_run(kafka: str, schedule: list[Round]) -> None:
    begin_ms = wall_clock_ms() // TICK_MS * TICK_MS
    with a_log(kafka) as log:
        with fleet(log, begin_ms) as workers:
            for one in (BEGINNING, *schedule):
                workers.live(one)
            workers.settle()
            workers.inputs.tick(1)
            workers.settle()
        agrees(log, workers.processors)


def test_real_kills_between_the_appends_change_nothing(tmp_path: Path, kafka: str) -> None:
    clock = tmp_path / "clock"
    begin_ms = wall_clock_ms() // TICK_MS * TICK_MS
    quiet = replace(BEGINNING, commands=(("silence", "Hot"),), ticks=2)
    with a_log(kafka) as log:
        inputs = Inputs(log, begin_ms)
        for one, number, is_done in KILLS:
            inputs.put(BEGINNING if one == 0 else quiet)
            inputs.tick(1 + one)
            clock.write_text(str(inputs.now_ms))
            live_until_killed(log, clock, number, is_done=is_done)
        with fleet(log, inputs.now_ms) as workers:
            workers.inputs.numbers = inputs.numbers
            workers.live(quiet)
            workers.inputs.tick(1)
            workers.settle()
        agrees(log, workers.processors)


@contextmanager
def a_log(kafka: str) -> Iterator[KafkaLog]:
    """With topics of its own, gone afterwards."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    try:
        with closing(KafkaLog.open(KafkaConfig((kafka,), prefix, PARTITIONS))) as log:
            yield log
    finally:
        delete_topics(kafka, prefix)


def agrees(log: KafkaLog, processors: Sequence[Processor[Any]]) -> None:
    """See above. Nothing is missing, either, but what is made durable with the next tick."""
    evaluated = in_another_order(log, {each.name: each for each in processors})
    for processor in processors:
        for partition in range(log.partitions(processor.topic)):
            there = stored(log, processor, partition)
            again = made(log, processor, partition)
            assert there == again[: len(there)], processor.name
            if not processor.prompt:
                again = made(log, processor, partition, after_the_last_tick(log, partition))
            assert len(there) >= len(again), f"{processor.name}/{partition} left something undone"
            if processor.name == "evaluate":
                bodies = [(topic, to, body) for topic, to, headers, body in there if told(headers)]
                assert bodies == evaluated[partition]
                assert partition or bodies


def told(headers: dict[str, str]) -> bool:
    return headers["ce_type"] != STALLED


def after_the_last_tick(log: KafkaLog, partition: int) -> int:
    ticks = [each for each in records(log, POINTS, partition) if is_tick(each)]
    return ticks[-1].offset + 1


def is_tick(record: Record) -> bool:
    return record.headers.get("ce_type") == TICKED


def in_another_order(
    log: KafkaLog, processors: dict[str, Processor[Any]]
) -> list[list[tuple[str, int, bytes]]]:
    """What each home evaluates, from the points alone: topic, partition, body."""
    memory = MemoryLog()
    homes = [Cell(processors["evaluate"], number, memory) for number in range(PARTITIONS)]
    for number in range(PARTITIONS):
        memory.records(POINTS, number).extend(records(log, POINTS, number))
        for entry in Cell(processors["route"], number, memory).run():
            memory.append(entry, 0)
    return [
        [body_of(entry) for entry in home.run() if told(dict(entry.message.headers))]
        for home in homes
    ]


def body_of(entry: Entry) -> tuple[str, int, bytes]:
    return entry.topic, entry.partition, entry.message.body
