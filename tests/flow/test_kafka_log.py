"""What only the log on Kafka promises: many nodes, others' records, gaps, limits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from streams.errors import LogUnavailable, OffsetOutOfRange, Overloaded, TooLarge
from streams.events.topics import POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_foreign import read_foreign_headers
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import (
    Append,
    DuplicateRequest,
    Entry,
    Message,
    Receipt,
    Record,
    RequestKey,
)

Open = Callable[..., KafkaLog]
DEADLINE_S = 30.0


@pytest.fixture
def config(kafka: str, kafka_prefix: str) -> KafkaConfig:
    return KafkaConfig((kafka,), prefix=kafka_prefix, partitions=2)


@pytest.fixture
def open_log(config: KafkaConfig) -> Iterator[Open]:
    """Opens one node's log; all are closed at the end."""
    opened: list[KafkaLog] = []

    def make(**options: Any) -> KafkaLog:
        opened.append(KafkaLog.open(config, **options))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def unit(*bodies: bytes, key: str = "", partition: int = 0) -> Append:
    entries = tuple(Entry(POINTS, partition, Message({"ce_id": "1"}, body)) for body in bodies)
    return Append(entries, (RequestKey(key, b"digest"),) if key else ())


def read_all(log: KafkaLog, partition: int = 0, offset: int = 0) -> list[Record]:
    records: list[Record] = []
    while more := log.read_now(POINTS, partition, offset):
        records += more
        offset = more[-1].offset + 1
    return records


def until(condition: Callable[[], bool]) -> None:
    """Polls; the log's refreshes are what passes the time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline


async def transact(kafka: str, config: KafkaConfig, *bodies: bytes, commit: bool = True) -> None:
    """A transaction on partition 0 as an outsider writes it; returns when its marker is there."""
    name = f"{config.prefix}outsider"
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await producer.start()
    await producer.begin_transaction()
    for body in bodies:
        await producer.send_and_wait(config.topic(POINTS), body, partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()
    next_one = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await next_one.start()  # the broker lets it in when the last transaction is complete
    await next_one.stop()


def test_many_nodes_share_one_log(open_log: Open) -> None:
    first, second = open_log(), open_log()
    assert first.log_id == second.log_id
    before = second.ends()
    first.submit(unit(b"a")).result()
    assert second.wait_for(before, DEADLINE_S)
    second.submit(unit(b"b")).result()
    assert [r.body for r in read_all(first)] == [r.body for r in read_all(second)] == [b"a", b"b"]


def test_nodes_that_start_together_agree_on_one_log(config: KafkaConfig, open_log: Open) -> None:
    async def both() -> list[KafkaLog]:
        return await asyncio.gather(*(asyncio.to_thread(open_log) for _ in range(3)))

    assert len({log.log_id for log in asyncio.run(both())}) == 1


def test_a_key_acknowledged_by_one_node_is_known_to_the_others_at_once(open_log: Open) -> None:
    first, second = open_log(), open_log()
    for i in range(50):
        receipt = first.submit(unit(b"a", b"b", key=f"k{i}")).result()
        with pytest.raises(DuplicateRequest) as refused:
            second.submit(unit(b"c", key=f"k{i}")).result()
        assert refused.value.known[f"k{i}"].receipt == receipt
    assert len(read_all(first)) == 100


def test_a_key_past_the_horizon_is_forgotten(open_log: Open, config: KafkaConfig) -> None:
    log = open_log()
    log.submit(unit(b"a", key="k")).result()
    later = time.time_ns() // 1_000_000 + config.key_horizon_ms + 60_000
    log.close()
    log = KafkaLog.open(config, clock=lambda: later)
    log.submit(unit(b"b", key="k")).result()
    log.close()
    assert [r.body for r in read_all(open_log())] == [b"a", b"b"]


def test_markers_of_transactions_are_gaps(kafka: str, config: KafkaConfig, open_log: Open) -> None:
    log = open_log()
    assert not log.gapless
    log.submit(unit(b"a")).result()
    asyncio.run(transact(kafka, config, b"b", b"c"))
    asyncio.run(transact(kafka, config, b"aborted", commit=False))
    log.submit(unit(b"d")).result()
    records = read_all(log)
    # Others' records are read as they lie there, whatever became of their transaction.
    assert [r.body for r in records] == [b"a", b"b", b"c", b"aborted", b"d"]
    assert [r.offset for r in records] == [0, 1, 2, 4, 6]
    assert [r.body for r in log.read_now(POINTS, 0, 3)] == [b"aborted", b"d"]
    assert [r.body for r in log.read_now(POINTS, 0, 0, records_max=3)] == [b"a", b"b", b"c"]


def test_an_end_is_that_of_a_record_also_where_markers_follow(
    kafka: str, config: KafkaConfig, open_log: Open
) -> None:
    log, place = open_log(), (POINTS, 0)
    for round_number in range(3):
        asyncio.run(transact(kafka, config, b"x"))
        end = 2 * round_number + 1  # a record, then a marker
        until(lambda end=end: log.ends()[place] >= end)  # type: ignore[misc]
        assert log.ends()[place] == end
        assert open_log().ends()[place] == end
        assert asyncio.run(log.end_positions(POINTS)) == {0: end, 1: 0}
        assert log.read_now(POINTS, 0, end) == []
        assert log.read_now(POINTS, 0, end + 1) == []
        assert not log.wait_for({place: end}, 0.3)
    with pytest.raises(OffsetOutOfRange, match="it holds 0 to 5"):
        log.read_now(POINTS, 0, 7)


async def test_following_goes_on_over_markers(
    kafka: str, config: KafkaConfig, open_log: Open
) -> None:
    log = open_log()
    follower = log.follow(POINTS, 0, 0)
    for i in range(3):
        waiting = asyncio.ensure_future(anext(follower))
        await transact(kafka, config, b"%d" % i)
        assert (await asyncio.wait_for(waiting, DEADLINE_S)).body == b"%d" % i


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_others_wrote_is_read_whatever_it_is(
    kafka: str, config: KafkaConfig, open_log: Open, codec: str
) -> None:
    log = open_log()
    topic = config.topic(POINTS)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, compression_type=codec)
    await producer.start()
    headers = [("text", "ä".encode()), ("bytes", b"\xff\xfe"), ("null", None), ("text", b"last")]
    await producer.send_and_wait(topic, b"body" * 1000, partition=0, headers=headers)
    await producer.send_and_wait(topic, None, key=b"deleted", partition=0)
    await producer.stop()
    with_headers, empty = await log.read(POINTS, 0, 0)
    assert with_headers.body == b"body" * 1000
    assert with_headers.headers == {"text": "last", "bytes": "\ufffd\ufffd", "null": ""}
    assert (empty.body, empty.headers) == (b"", {})


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
async def test_a_header_whose_name_is_no_text_stops_nobody(
    kafka: str, config: KafkaConfig, open_log: Open, codec: int
) -> None:
    """aiokafka by itself does not even decode such a record."""
    log = open_log()
    log.submit(unit(b"before")).result()
    await send_batch(kafka, config.topic(POINTS), odd_batch(codec))
    log.submit(unit(b"after")).result()
    before, usual, odd, empty, after = await log.read(POINTS, 0, 0)
    assert [r.body for r in (before, usual, odd, empty, after)] == BODIES
    assert usual.headers == {"name": "value"}
    assert odd.headers == {"\ufffd\ufffd": "value"}
    assert before.at_ms <= odd.at_ms <= after.at_ms

    read_foreign_headers()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(config.topic(POINTS), 0)])
    taken = [await asyncio.wait_for(anext(consumer), DEADLINE_S) for _ in BODIES]
    await consumer.stop()
    assert [record.value or b"" for record in taken] == BODIES
    assert [record.timestamp for record in taken] == [r.at_ms for r in log.read_now(POINTS, 0, 0)]
    assert taken[2].headers == (("\ufffd\ufffd", b"value"),)
    assert (taken[3].key, taken[3].value) == (b"key", None)


BODIES = [b"before", b"usual", b"odd", b"", b"after"]


def odd_batch(codec: int) -> bytes:
    """Three records; aiokafka's builder writes text only, so it is put in before compression."""
    plain = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 10_000)
    plain.append(0, 1, None, b"usual", [("name", b"value")])
    plain.append(1, 1, None, b"odd", [("xy", b"value")])
    plain.append(2, 1, b"key", None, [])
    batch = bytes(plain.build()).replace(b"xy", b"\xff\xfe")
    head, records = batch[:61], COMPRESS[codec](batch[61:])
    length = (61 - 12 + len(records)).to_bytes(4)
    return with_checksum(head[:8] + length + head[12:22] + bytes([codec]) + head[23:] + records)


COMPRESS: list[Callable[[bytes], bytes]] = [
    bytes,
    gzip_encode,
    snappy_encode,
    lz4_encode,
    zstd_encode,
]


def with_checksum(batch: bytes) -> bytes:
    checksum: int = calc_crc32c(batch[21:])
    return batch[:17] + checksum.to_bytes(4) + batch[21:]


async def send_batch(bootstrap: str, topic: str, batch: bytes) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    await client.set_topics([topic])
    leader = client.cluster.leader_for_partition(TopicPartition(topic, 0))
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=5_000, topics=[(topic, [(0, batch)])]
    )
    response = await client.send(leader, request)
    assert response.topics[0][1][0][1] == 0
    await client.close()


def test_what_retention_took_is_out_of_range(
    kafka: str, config: KafkaConfig, open_log: Open
) -> None:
    log = open_log()
    log.submit(unit(*[b"x"] * 10)).result()

    async def cut(offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        partition = TopicPartition(config.topic(POINTS), 0)
        await admin.delete_records({partition: RecordsToDelete(offset)})
        await admin.close()

    asyncio.run(cut(4))
    with pytest.raises(OffsetOutOfRange, match="it holds 4 to 10"):
        log.read_now(POINTS, 0, 3)
    assert log.starts()[POINTS, 0] == 4
    assert [r.offset for r in log.read_now(POINTS, 0, 4)] == [4, 5, 6, 7, 8, 9]
    asyncio.run(cut(10))
    again = open_log()
    assert (again.starts()[POINTS, 0], again.ends()[POINTS, 0]) == (10, 10)
    assert again.read_now(POINTS, 0, 10) == []


def test_what_waits_to_be_written_is_bounded(open_log: Open) -> None:
    log = open_log(queue_bytes_max=100_000)
    with pytest.raises(TooLarge, match="at most 100000 can wait"):
        log.submit(unit(b"x" * 100_000))
    taken: list[Future[Receipt]] = []
    with pytest.raises(Overloaded, match="send it again"):
        taken.extend(log.submit(unit(b"x" * 10_000)) for _ in range(10_000))
    assert len({future.result() for future in taken}) == len(taken)
    assert log.stats().refused == 1
    assert log.stats().waiting_bytes == 0
    log.submit(unit(b"x" * 10_000)).result()


def test_reading_on_asks_the_broker_seldom_and_on_one_connection(
    kafka: str, open_log: Open
) -> None:
    log = open_log()
    for _ in range(20):
        log.submit(unit(*[b"x" * 100] * 1_000)).result()
    assert len(read_all(log)) == 20_000
    port = int(kafka.rpartition(":")[2])

    def connections() -> set[int]:
        all_of_them = psutil.Process().net_connections("tcp")
        return {each.laddr.port for each in all_of_them if each.raddr and each.raddr.port == port}

    before = connections()
    # Each read brings 256 records; were each asked for, it would take a thousand system calls.
    began = psutil.Process(os.getpid()).io_counters().read_count
    assert len(read_all(log)) == 20_000
    assert connections() == before
    assert psutil.Process(os.getpid()).io_counters().read_count - began < 20_000 / 64


def test_closing_writes_what_waits_and_ends_what_is_asked_of_it(open_log: Open) -> None:
    log = open_log()
    waiting = [log.submit(unit(b"%d" % i)) for i in range(200)]
    log.close()
    log.close()
    assert [future.result().positions[0].offset for future in waiting] == list(range(200))
    for ask in (lambda: log.submit(unit(b"x")), lambda: log.read_now(POINTS, 0, 0)):
        with pytest.raises(LogUnavailable, match="closed"):
            ask()
    assert not log.wait_for({(POINTS, 0): 10**6}, DEADLINE_S)
    assert log.ends()[POINTS, 0] == 200
