"""Worker processes come, go, freeze and die under load: tables and outputs stay the plain fold's.

``KAFKA_REBALANCES`` (default 5) times somebody comes or goes; 50 every night.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams.errors import LogDamaged
from streams.events.topics import POINTS
from streams.ingest.merging import Merger, Request
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Message
from streams.log.wall_clock import wall_clock_ms
from streams.processors.windows import WindowsProcessor
from streams.runners.kafka_runner import KafkaRunner
from tests.flow.kafka_fleet import Child, until
from tests.flow.kafka_oracle import agrees, stored
from tests.flow.schedules import points
from tests.kafka_cluster import delete_topics

PARTITIONS = 4
REBALANCES = int(os.environ.get("KAFKA_REBALANCES", "5"))
SESSION_S = 6
"""The least that a broker takes as it comes."""
FAR_S = 90.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(faust|mode|venusian)")

PROCESSOR = WindowsProcessor(sizes_ms=(1_000, 4_000), grace_ms=1_000, deduplicates=True)
"""As the workers' settings have it; larger windows stay open over ticks."""


@dataclass
class Load:
    """Requests into every partition, some of them again, some poison; until it is told to stop."""

    log: KafkaLog
    dice: random.Random
    ends: Counter[int] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(FAR_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        sent: list[Request] = []
        number = 0
        while not self._stopping.wait(0.02):
            number += 1
            if sent and self.dice.random() < 0.2:
                request = self.dice.choice(sent[-20:])
            else:
                now_ms = wall_clock_ms()
                batch = points(
                    [
                        (
                            f"m{i}",
                            "gauge",
                            now_ms - self.dice.randint(0, 2_500),
                            self.dice.gauss(0, 9),
                        )
                        for i in range(30)
                    ]
                ).batch
                request = Request(batch, "me", "edge", now_ms, f"me/{number}")
                sent.append(request)
            message = Merger(1).entries([request])[0].entry.message
            if self.dice.random() < 0.05:
                message = Message(message.headers, b"poison")
            unit = Append(tuple(Entry(POINTS, p, message) for p in range(PARTITIONS)))
            for position in self.log.submit(unit).result(FAR_S).positions:
                self.ends[position.partition] = position.offset + 1


@dataclass
class Workers:
    """Processes of their own, each with an address."""

    settings: dict[str, str]
    folder: Path
    running: list[Child] = field(default_factory=list)
    count: int = 0

    def add(self) -> Child:
        self.count += 1
        child = Child(f"worker-{self.count}", ["worker"], self.settings, self.folder)
        child.start()
        self.running.append(child)
        return child

    def remove(self, child: Child, *, kill: bool) -> None:
        self.running.remove(child)
        if kill:
            child.kill()
        else:
            assert child.stop() == 0, child.tail()

    def until_settled(self) -> None:
        """Every partition is somebody's, and nobody is behind for long."""
        until(self._is_settled, FAR_S, "the partitions are not shared out")

    def _is_settled(self) -> bool:
        had = [partition for child in self.running for partition in partitions_of(child)]
        return sorted(had) == list(range(PARTITIONS)) and all(c.is_ready() for c in self.running)


def partitions_of(child: Child) -> list[int]:
    """What a worker says that it has of the points."""
    with suppress(httpx.HTTPError):
        answer = httpx.get(f"{child.url}/ready", timeout=5).json()
        return [one["partition"] for one in answer["lag"] if one["processor"] == "windows"]
    return []


@pytest.fixture
def kafka_log(kafka: str, kafka_prefix: str) -> Iterator[KafkaLog]:
    config = KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS)
    with closing(KafkaLog.open(config)) as log:
        yield log


@contextmanager
def under_load(log: KafkaLog, folder: Path, dice: random.Random) -> Iterator[Workers]:
    """Workers are added inside; at the end all that was written is in their tables, exactly."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(log.config.bootstrap_servers),
        "KAFKA_TOPIC_PREFIX": log.config.prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "KAFKA_SESSION_TIMEOUT": str(SESSION_S),
        "WINDOW_SIZES": "1,4",
    }
    workers = Workers(settings, folder)
    load = Load(log, dice)
    try:
        yield workers
        load.stop()
        for partition, end in load.ends.items():
            until(
                lambda p=partition, end=end: stored(log.config, p).position >= end,
                FAR_S,
                f"partition {partition} was not absorbed",
            )
        for worker in list(workers.running):
            workers.remove(worker, kill=False)
    except BaseException:
        print("\n".join(worker.tail() for worker in workers.running))
        raise
    finally:
        load.stop()
        for worker in workers.running:
            worker.kill()
    folds = agrees(log.config, log, PROCESSOR)
    assert all(len(folded.outputs) > 5 for folded in folds.values())


def until_flushed_again(log: KafkaLog) -> None:
    """Whoever owns the partitions has come further in the tables."""
    flushed = stored(log.config, 0).position
    until(lambda: stored(log.config, 0).position > flushed, FAR_S, "nothing is flushed")


def test_workers_come_and_go_under_load(tmp_path: Path, kafka_log: KafkaLog) -> None:
    dice = random.Random(REBALANCES)
    with under_load(kafka_log, tmp_path, dice) as workers:
        workers.add()
        workers.add()
        workers.until_settled()
        for _ in range(REBALANCES):
            if len(workers.running) == 1 or (len(workers.running) < 4 and dice.random() < 0.5):
                workers.add()
            else:
                workers.remove(dice.choice(workers.running), kill=dice.random() < 0.5)
            workers.until_settled()


def test_a_frozen_worker_that_wakes_up_after_its_replacement_harms_nothing(
    tmp_path: Path, kafka_log: KafkaLog
) -> None:
    with under_load(kafka_log, tmp_path, random.Random(5)) as workers:
        frozen = workers.add()
        other = workers.add()
        workers.until_settled()
        for _ in range(2):
            frozen.send_signal(signal.SIGSTOP)
            until(
                lambda: len(partitions_of(other)) == PARTITIONS and other.is_ready(),
                FAR_S,
                "nobody has the partitions of the frozen worker",
            )
            until_flushed_again(kafka_log)
            frozen.send_signal(signal.SIGCONT)
            workers.until_settled()


def test_a_worker_that_is_told_to_end_leaves_its_partitions_at_once(
    tmp_path: Path, kafka_log: KafkaLog
) -> None:
    with under_load(kafka_log, tmp_path, random.Random(6)) as workers:
        first = workers.add()
        workers.add()
        workers.until_settled()
        began = monotonic()
        assert first.stop() == 0
        workers.running.remove(first)
        workers.until_settled()
        assert monotonic() - began < 30, "it waited for the session to time out"


def test_a_worker_that_makes_no_progress_ends_for_its_supervisor(
    tmp_path: Path, kafka_log: KafkaLog
) -> None:
    with under_load(kafka_log, tmp_path, random.Random(8)) as workers:
        workers.settings["WORKER_STALL_TIMEOUT"] = "5"
        stuck = workers.add()
        workers.until_settled()
        until_flushed_again(kafka_log)
        # its tables' topic is gone: nothing can be flushed, and nothing says that it will not be
        config = kafka_log.config
        delete_topics(config.bootstrap_servers[0], f"{config.prefix}workers.")
        until(stuck.has_ended, FAR_S, "it goes on without progress")
        workers.running.remove(stuck)
        assert stuck.stop() == 1, stuck.tail()
        assert "no progress" in stuck.output.read_text()
        workers.add()  # it makes the topic again and folds the log anew
        workers.until_settled()


def test_a_table_that_is_lost_with_the_logs_beginning_is_told_aloud(kafka_log: KafkaLog) -> None:
    config = kafka_log.config
    request = Request(points([("m", "gauge", 1, 1.0)]).batch, "me", "edge", 1, None)
    entry = Merger(1).entries([request])[0].entry
    kafka_log.submit(Append((entry,) * 5)).result(FAR_S)
    cut_off(config, 3)
    runner = KafkaRunner(config, kafka_log, [PROCESSOR], tick_ms=1_000)
    runner.start(FAR_S)
    try:
        until(lambda: runner.failure() is not None, FAR_S, "it goes on without its past")
        failure = runner.failure()
    finally:
        assert runner.stop(10)
    assert isinstance(failure, LogDamaged)
    assert "windows/0" in str(failure)


def cut_off(config: KafkaConfig, offset: int) -> None:
    """As the retention does: partition 0 of the points begins there."""

    async def work() -> None:
        admin = AIOKafkaAdminClient(**config.client_options())
        await admin.start()
        try:
            place = TopicPartition(config.topic(POINTS), 0)
            await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
        finally:
            await admin.close()

    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, work()).result(FAR_S)
