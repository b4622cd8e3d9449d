"""What a processor must have left on Kafka: the plain fold of the log's own records, beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.events.topics import DEADLETTER, POINTS, WINDOWS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Record
from streams.processors.seam import HEAD, advance, restore
from streams.processors.windows import WindowsProcessor
from streams.runners.slots import Recovered, recover

Output = tuple[str, dict[str, str], bytes]
"""Topic, headers, body."""


@dataclass
class Fold:
    """``tables``: the table after each record, by position."""

    outputs: list[Output] = field(default_factory=list)
    tables: dict[int, dict[str, bytes]] = field(default_factory=dict)


def fold(processor: WindowsProcessor, partition: int, records: list[Record]) -> Fold:
    """One record a step, in this process, from nothing."""
    folded = Fold()
    table: dict[str, bytes] = {}
    tracked = restore(processor, {}, lambda _, __: [])
    for record in records:
        tracked, changes, entries = advance(processor, partition, tracked, [record])
        table |= {key: value for key, value in changes.items() if value is not None}
        for key in [key for key, value in changes.items() if value is None]:
            del table[key]
        folded.tables[tracked.position] = dict(table)
        folded.outputs += [(e.topic, dict(e.message.headers), e.message.body) for e in entries]
    return folded


def all_records(log: KafkaLog, topic: str, partition: int) -> list[Record]:
    """From its start to its end."""
    return list(_records(log, topic, partition))


def _records(log: KafkaLog, topic: str, partition: int) -> Iterator[Record]:
    offset = 0
    while records := log.read_now(topic, partition, offset):
        yield from records
        offset = records[-1].offset + 1


def told(log: KafkaLog, partition: int) -> dict[int, Output]:
    """The outputs of ``windows`` in the log, by number; a repeat has the same bytes, and each topic
    has them in rising order but for repeats."""
    outputs: dict[int, Output] = {}
    for topic in (WINDOWS, DEADLETTER):
        newest = -1
        for record in all_records(log, topic, partition):
            number = int(record.headers["ce_id"].removeprefix(f"windows/{partition}/"))
            output = (topic, dict(record.headers), record.body)
            if number <= newest:
                assert outputs[number] == output, f"output {number} was made twice, differently"
                continue
            before = record.headers.get("previous", "-1")
            assert int(before) == newest, f"{topic}/{partition}: {number} came after {newest}"
            outputs[number] = output
            newest = number
    return outputs


def stored(kafka: KafkaConfig, partition: int) -> Recovered:
    """What the next owner of a partition would find in the table's topic."""
    topic = f"{kafka.prefix}workers.windows.changelog"

    async def read() -> dict[str, bytes]:
        place = TopicPartition(topic, partition)
        values: dict[str, bytes] = {}
        async with AIOKafkaConsumer(**kafka.client_options(), check_crcs=True) as consumer:
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            while await consumer.position(place) < end:
                for message in (await consumer.getmany(timeout_ms=200)).get(place, []):
                    key = message.key.decode().removeprefix(f"{partition}/")
                    values.pop(key, None)
                    if message.value is not None:
                        values[key] = message.value
        return values

    with ThreadPoolExecutor(1) as apart:
        return recover(apart.submit(asyncio.run, read()).result(60))


def agrees(kafka: KafkaConfig, log: KafkaLog, processor: WindowsProcessor) -> Mapping[int, Fold]:
    """Asserts that every table and every output is that of the fold of the log, in every partition;
    the folds."""
    folds = {}
    for partition in range(kafka.partitions):
        folded = folds[partition] = fold(processor, partition, all_records(log, POINTS, partition))
        recovered = stored(kafka, partition)
        head = json.loads(recovered.values[HEAD]) if recovered.owner else {"out_seq": 0}
        if recovered.owner:
            assert dict(recovered.values) == folded.tables[recovered.position]
        outputs = told(log, partition)
        assert sorted(outputs) == list(range(len(outputs)))
        assert len(outputs) >= head["out_seq"], "the table states outputs that are not in the log"
        for number, output in outputs.items():
            assert output == folded.outputs[number], f"output {number} is not the fold's"
    return folds
