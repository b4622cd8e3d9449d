"""What `FaustHost` promises to those who know no Faust."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from aiokafka import AIOKafkaProducer

from streams.errors import LogUnavailable
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_topics import Topic, declare_topics
from streams.log.protocol import Record
from streams.runners.faust_app import FaustHost
from tests.flow.kafka_fleet import until

PARTITIONS = 3
FAR_S = 60.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(faust|mode|venusian)")

Sent = tuple[int, bytes | None, list[tuple[str, bytes]]]


def apart(work: asyncio.Future[None] | object) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result(FAR_S)


@pytest.fixture
def config(kafka: str, kafka_prefix: str) -> KafkaConfig:
    config = KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)
    names = (config.topic("points"), f"{config.prefix}group.sums.changelog")
    settings = {"message.timestamp.type": "LogAppendTime"}
    apart(declare_topics(config, [Topic(name, PARTITIONS, settings) for name in names]))
    return config


def send(config: KafkaConfig, messages: Sequence[Sent]) -> None:
    """(partition, value, headers) each, in order."""

    async def work() -> None:
        async with AIOKafkaProducer(**config.client_options()) as producer:
            for partition, value, headers in messages:
                await producer.send(
                    config.topic("points"), value, b"", partition=partition, headers=headers
                )

    apart(work())


def numbered(count: int) -> list[Sent]:
    return [(i % PARTITIONS, b"%d" % i, []) for i in range(count)]


@contextmanager
def started(host: FaustHost) -> Iterator[FaustHost]:
    host.start(FAR_S)
    try:
        yield host
    finally:
        ended = host.stop(15)
    assert ended


def host_of(config: KafkaConfig) -> FaustHost:
    return FaustHost(config, app_id=f"{config.prefix}group", instance_id="one")


def test_records_come_in_order_as_the_log_has_them(config: KafkaConfig) -> None:
    got: list[Record] = []

    async def handle(record: Record) -> None:
        got.append(record)

    host = host_of(config)
    host.agent(config.topic("points"), handle, name="all")
    messages: list[Sent] = [(0, b"a", [("ce_id", b"1"), ("odd", b"\xff")]), (0, None, [])]
    with started(host):
        send(config, [*messages, *numbered(30)])
        until(lambda: len(got) == 32, FAR_S, "not all records came")
        assert host.assigned() == {("points", p) for p in range(PARTITIONS)}
    first, empty = [record for record in got if record.partition == 0][:2]
    assert (first.topic, first.offset, first.body) == ("points", 0, b"a")
    assert first.headers == {"ce_id": "1", "odd": "\N{REPLACEMENT CHARACTER}"}
    assert first.at_ms > 1_700_000_000_000
    assert empty.body == b""
    for partition in range(PARTITIONS):
        offsets = [record.offset for record in got if record.partition == partition]
        assert offsets == list(range(len(offsets)))


def test_a_batch_is_of_one_partition_and_not_too_large(config: KafkaConfig) -> None:
    got: list[Sequence[Record]] = []

    async def handle(records: Sequence[Record]) -> None:
        got.append(records)

    host = host_of(config)
    host.batch_agent(config.topic("points"), handle, name="all", records_max=7, within_s=0.1)
    with started(host):
        send(config, numbered(60))
        until(lambda: sum(map(len, got)) == 60, FAR_S, "not all records came")
    assert all(len({record.partition for record in batch}) == 1 for batch in got)
    assert max(map(len, got)) == 7
    offsets = defaultdict(list)
    for batch in got:
        offsets[batch[0].partition] += [record.offset for record in batch]
    assert dict(offsets) == {p: list(range(20)) for p in range(PARTITIONS)}


@pytest.mark.parametrize("records_max", [0, 4])
def test_what_a_handler_failed_at_comes_again_and_nothing_before_it(
    config: KafkaConfig, records_max: int
) -> None:
    got: list[bytes] = []
    bad = {b"20"}

    async def one(record: Record) -> None:
        if record.body in bad:
            raise ValueError(record.body)
        got.append(record.body)

    async def many(records: Sequence[Record]) -> None:
        if bad & {record.body for record in records}:
            raise ValueError("one of them")
        got.extend(record.body for record in records)

    def host() -> FaustHost:
        made = host_of(config)
        if records_max:
            made.batch_agent(
                config.topic("points"), many, name="all", records_max=records_max, within_s=0.05
            )
        else:
            made.agent(config.topic("points"), one, name="all")
        return made

    with started(host()) as failing:
        send(config, numbered(30))
        until(lambda: failing.failure() is not None, FAR_S, "nothing failed")
        assert isinstance(failing.failure(), ValueError)
    before = set(got)
    bad.clear()
    got.clear()
    with started(host()) as mended:
        until(lambda: len(before | set(got)) == 30, FAR_S, "the rest did not come")
        assert mended.failure() is None
    assert not before & set(got)


def test_the_next_owner_reads_a_tables_values(config: KafkaConfig) -> None:
    done: list[int] = []

    def host() -> tuple[FaustHost, list[dict[str, bytes]]]:
        made = host_of(config)
        table = made.table("sums", PARTITIONS)
        found: list[dict[str, bytes]] = []
        made.on_assigned = lambda _: found.extend(table.values(p) for p in range(PARTITIONS))

        async def handle(record: Record) -> None:
            changes = {"last": record.body, f"at/{record.offset}": b"x"}
            await table.write(record.partition, {**changes, f"at/{record.offset - 1}": None})
            done.append(record.offset)

        made.agent(config.topic("points"), handle, name="all")
        return made, found

    first, found = host()
    with started(first):
        assert found == [{}, {}, {}]
        send(config, numbered(30))
        until(lambda: len(done) == 30, FAR_S, "not all records came")
    second, found = host()
    with started(second):
        until(lambda: bool(found), FAR_S, "no partition came")
    assert found == [{"last": b"%d" % (27 + p), "at/9": b"x"} for p in range(PARTITIONS)]


def test_brokers_that_are_not_there_are_a_refusal() -> None:
    host = FaustHost(KafkaConfig(("127.0.0.1:1",)), app_id="nobody", instance_id="")
    with pytest.raises(LogUnavailable, match="cannot be reached"):
        host.start(20)
    assert host.stop(5)
