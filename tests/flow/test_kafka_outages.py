"""Brokers that die, stand still and come back: what was acknowledged stays, the rest is told."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from streams.errors import LogUnavailable
from streams.events.topics import POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.kafka_producer import Producer
from streams.log.kafka_topics import MESSAGE_BYTES_MAX
from streams.log.protocol import Append, Entry, Message, Position, Record, RequestKey
from tests.kafka_cluster import Cluster

DEADLINE_S = 120.0
PARTITIONS = 3


@pytest.fixture(scope="module")
def one_broker(start_kafka: Callable[..., Cluster]) -> Cluster:
    return start_kafka(1)


@pytest.fixture(scope="module")
def three_brokers(start_kafka: Callable[..., Cluster]) -> Cluster:
    return start_kafka(3)


@pytest.fixture
def config(one_broker: Cluster, request: pytest.FixtureRequest) -> KafkaConfig:
    prefix = f"{request.node.name}."
    return KafkaConfig((one_broker.bootstrap,), prefix=prefix, partitions=PARTITIONS)


def unit(body: bytes, partition: int = 0, key: str = "") -> Append:
    keys = (RequestKey(key, b"digest"),) if key else ()
    return Append((Entry(POINTS, partition, Message({}, body)),), keys)


def read_all(log: KafkaLog) -> list[Record]:
    """All up to the ends; a new leader may hear a little late of what the old one had told."""
    records: list[Record] = []
    for (topic, partition), end in log.ends().items():
        offset = 0
        deadline = time.monotonic() + DEADLINE_S
        while topic == POINTS and offset < end:
            if more := log.read_now(POINTS, partition, offset):
                records += more
                offset = more[-1].offset + 1
            assert time.monotonic() < deadline, f"{partition} ends at {end}, read up to {offset}"
    return records


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


class Writers:
    """Threads that write one unit after another; they know what was acknowledged where."""

    def __init__(self, log: KafkaLog, count: int) -> None:
        self.acknowledged: dict[Position, bytes] = {}
        self.unknown: list[str] = []
        self._log = log
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= wanted)

    def _run(self, writer: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            body = b"%d/%d" % (writer, number)
            key = body.decode() if writer % 2 else ""
            try:
                receipt = self._log.submit(unit(body, writer % PARTITIONS, key)).result()
            except LogUnavailable as error:
                self.unknown.append(str(error))
            else:
                self.acknowledged[receipt.positions[0]] = body


@contextmanager
def writing(log: KafkaLog, count: int = 6) -> Iterator[Writers]:
    writers = Writers(log, count)
    try:
        writers.wait_for_more(20)
        yield writers
    finally:
        writers.stop()


def test_what_was_acknowledged_before_a_broker_was_killed_is_there_after(
    one_broker: Cluster, config: KafkaConfig
) -> None:
    with closing(KafkaLog.open(config)) as log:
        with writing(log) as writers:
            for _ in range(2):
                one_broker.kill(1)
                one_broker.restart(1)
                writers.wait_for_more(200)
        stored = {record.position: record.body for record in read_all(log)}
        assert writers.acknowledged.items() <= stored.items()
        assert writers.unknown == []
        assert max(Counter(stored.values()).values()) == 1
        assert log.ends() == {**log.ends(), **_ends(stored)}


def _ends(stored: dict[Position, bytes]) -> dict[tuple[str, int], int]:
    return {(p.topic, p.partition): p.offset + 1 for p in sorted(stored)}


def test_while_no_broker_answers_the_log_is_unavailable_and_then_goes_on_by_itself(
    one_broker: Cluster, config: KafkaConfig
) -> None:
    opened = KafkaLog.open(config, write_timeout_s=2.0, read_timeout_s=1.0)
    with closing(opened) as log:
        log.submit(unit(b"before", key="k")).result()
        one_broker.kill(1)
        waiting = [log.submit(unit(b"lost")), log.submit(unit(b"lost", key="lost"))]
        with pytest.raises(LogUnavailable, match=r"gave no answer within 1 s"):
            log.read_now(POINTS, 0, 0)
        for future in waiting:
            with pytest.raises(LogUnavailable):
                future.result(30)
        assert log.ends()[POINTS, 0] == 1
        assert log.stats().failed == 2
        assert log.stats().waiting_units == 0
        one_broker.restart(1)
        until(lambda: _is_written(log, b"after"))
        assert [r.body for r in read_all(log) if r.body != b"lost"] == [b"before", b"after"]
        assert log.stats().failure == ""


def _is_written(log: KafkaLog, body: bytes) -> bool:
    """Also where an attempt before was written though nobody was told."""
    try:
        if any(record.body == body for record in read_all(log)):
            return True
        return bool(log.submit(unit(body, key=body.decode())).result())
    except LogUnavailable:
        return False


async def test_a_batch_that_was_given_up_or_refused_does_not_block_its_partition(
    one_broker: Cluster, config: KafkaConfig
) -> None:
    """Its number is missing then, and the broker refuses all later ones of that producer."""
    with closing(await asyncio.to_thread(KafkaLog.open, config)):
        producer = Producer(config)
        loop = asyncio.get_running_loop()

        async def append(body: bytes, within_s: float) -> int:
            return await producer.append((POINTS, 0), ([], body), loop.time() + within_s)

        assert await append(b"first", 30) == 0
        one_broker.pause(1)
        try:
            with pytest.raises(LogUnavailable, match="may be in the log all the same"):
                await append(b"given up", 0.5)
        finally:
            one_broker.resume(1)
        offsets = [await append(b"later", 30) for _ in range(5)]
        with pytest.raises(LogUnavailable, match="MessageSizeTooLarge"):
            await append(b"refused" * MESSAGE_BYTES_MAX, 30)
        offsets += [await append(b"later", 30) for _ in range(5)]
        assert offsets == sorted(offsets)
        await producer.close()


@pytest.mark.parametrize("victim", [1, 2])
def test_the_loss_of_one_of_three_brokers_is_not_noticed_by_writers(
    three_brokers: Cluster, victim: int
) -> None:
    servers = tuple(three_brokers.bootstrap.split(","))
    config = KafkaConfig(servers, prefix=f"victim-{victim}.", partitions=PARTITIONS)
    with closing(KafkaLog.open(config)) as log:
        assert log.durable
        with writing(log) as writers:
            three_brokers.kill(victim)
            writers.wait_for_more(300)
            three_brokers.restart(victim)
            writers.wait_for_more(100)
        assert writers.unknown == []
        stored = {record.position: record.body for record in read_all(log)}
        assert writers.acknowledged.items() <= stored.items()
        assert max(Counter(stored.values()).values()) == 1


def test_a_broker_that_stands_still_is_left_behind(three_brokers: Cluster) -> None:
    servers = tuple(three_brokers.bootstrap.split(","))
    config = KafkaConfig(servers, prefix="still.", partitions=PARTITIONS)
    with closing(KafkaLog.open(config)) as log, writing(log) as writers:
        three_brokers.pause(3)
        try:
            writers.wait_for_more(300)
        finally:
            three_brokers.resume(3)
        assert writers.unknown == []
