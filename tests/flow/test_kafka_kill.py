"""Workers, serve nodes and brokers killed at random under load: nothing acknowledged is missing or
counts twice, both nodes hold the fold of the log, and all is caught up soon after the last repair.

The parent keeps every acknowledgement. ``KAFKA_KILL_CYCLES`` (default 3; 100 every night) cycles;
``KAFKA_OUTAGE_S`` (default 3; 30 every night): how long all brokers stand still where they do;
``KAFKA_KILL_SEED``: of the choices.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import httpx
from confluent_kafka import KafkaError, Message, Producer

from streams.config import load_settings
from streams.events.catalogue import WindowAmended, WindowClosed
from streams.events.codec import decode
from streams.events.topics import WINDOWS
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Record
from tests.api.processes import run
from tests.conftest import require_kafka
from tests.flow.kafka_fleet import Child, Supervisor, until
from tests.kafka_cluster import Cluster

CYCLES = int(os.environ.get("KAFKA_KILL_CYCLES", "3"))
OUTAGE_S = float(os.environ.get("KAFKA_OUTAGE_S", "3"))
SEED = int(os.environ.get("KAFKA_KILL_SEED", CYCLES))
PARTITIONS = 4
WRITERS = 4
POINTS_A_REQUEST = 40
SHARDS = 8
CAUGHT_UP_S = 30.0
FAR_S = 180.0


class Writer:
    """Sends numbered requests with a key each, to one node and then another, until acknowledged."""

    def __init__(self, name: str, nodes: list[Child], rate: float = 20.0) -> None:
        self.name = name
        self.acknowledged: Counter[str] = Counter()
        self.requests = 0
        self._nodes = nodes
        self._interval_s = 1 / rate
        self._last_ms = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_writing(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Returns when the last request was acknowledged."""
        self._stopping.set()
        self._thread.join(FAR_S)
        assert not self._thread.is_alive(), f"{self.name} never got its last acknowledgement"

    def _run(self) -> None:
        with httpx.Client(timeout=httpx.Timeout(20, connect=2)) as client:
            while not self._stopping.wait(self._interval_s):
                series, body = self._request()
                key = {
                    "Content-Type": "application/json",
                    "Idempotency-Key": f"{self.name}-{self.requests}",
                }
                attempt = self.requests
                while not self._acknowledged(client, self._nodes[attempt % 2].url, body, key):
                    attempt += 1
                    threading.Event().wait(0.1)
                self.acknowledged += series
                self.requests += 1

    def _request(self) -> tuple[Counter[str], bytes]:
        """Times of this moment, each of a series once; what was not acknowledged keeps its own."""
        series: Counter[str] = Counter()
        metrics = []
        for _ in range(POINTS_A_REQUEST):
            self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
            shard = f"{self.name}/{self._last_ms % SHARDS}"
            series[shard] += 1
            metrics.append({
                "name": "work_done",
                "value": self._last_ms % 1_000_003,
                "metric_type": "gauge",
                "tags": {"shard": shard},
                "timestamp": self._last_ms / 1000,
            })  # fmt: skip
        arguments = {"source": "kill-test", "metrics": metrics}
        return series, json.dumps({"tool": "collect_metrics", "arguments": arguments}).encode()

    def _acknowledged(
        self, client: httpx.Client, url: str, body: bytes, key: dict[str, str]
    ) -> bool:
        try:
            answer = client.post(f"{url}/logfire-mcp", content=body, headers=key)
        except httpx.TransportError:
            return False
        if answer.status_code in {429, 503, 504}:
            return False
        assert answer.status_code == 200, answer.text[:1_000]
        assert answer.json()["collected_count"] == POINTS_A_REQUEST
        return True


class Stranger:
    """A Kafka client that knows nothing of us: one JSON document a message on an ingest topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.failed: list[KafkaError] = []
        self._topic = topic
        self._producer = Producer({
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "message.timeout.ms": int(FAR_S * 1000),
            "log_level": 0,  # brokers come and go here: it need not tell
        })  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stranger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(FAR_S)
        assert self._producer.flush(FAR_S) == 0
        assert not self.failed

    def _run(self) -> None:
        at_ms = time.time_ns() // 1_000_000
        while not self._stopping.wait(0.05):
            at_ms = max(at_ms + 1, time.time_ns() // 1_000_000)
            shard = f"stranger/{at_ms % SHARDS}"
            tags = {"shard": shard}
            metric = {
                "name": "work_done",
                "value": 1,
                "metric_type": "gauge",
                "tags": tags,
                "timestamp": at_ms / 1000,
            }
            body = json.dumps({"source": "kill-test", "metrics": [metric]})

            def acknowledged(error: KafkaError | None, _: Message, shard: str = shard) -> None:
                if error is None:
                    self.acknowledged[shard] += 1
                else:
                    self.failed.append(error)

            self._producer.produce(self._topic, body, on_delivery=acknowledged)
            self._producer.poll(0)


class Fleet:
    """Three brokers, three workers, two nodes, and the load."""

    def __init__(self, cluster: Cluster, folder: Path, prefix: str) -> None:
        self.cluster = cluster
        self.settings = {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "INGEST_TOPICS": f"ingest-{prefix}json=json",
            "WINDOW_SIZES": "2",
        }
        self.workers = [Child(f"worker-{i}", ["worker"], self.settings, folder) for i in range(3)]
        self.nodes = [Child(f"serve-{i}", ["serve"], self.settings, folder) for i in range(2)]
        self.writers = [Writer(f"writer-{i}", self.nodes) for i in range(WRITERS)]
        self.stranger = Stranger(cluster.bootstrap, f"ingest-{prefix}json")
        self.supervisor = Supervisor(self.workers + self.nodes)

    def acknowledged(self) -> Counter[str]:
        total = Counter(self.stranger.acknowledged)
        for writer in self.writers:
            total += writer.acknowledged
        return total

    def requests(self) -> int:
        return sum(writer.requests for writer in self.writers)

    def more_requests(self, count: int, what: str) -> None:
        goal = self.requests() + count

        def reached() -> bool:
            assert all(writer.is_writing() for writer in self.writers), "a writer was refused"
            return self.requests() >= goal

        until(reached, FAR_S, what)

    def all_ready(self) -> bool:
        return all(child.is_ready() for child in self.workers + self.nodes)

    def told(self) -> str:
        return "\n".join(child.tail() for child in self.workers + self.nodes)


def harms(chance: random.Random) -> Iterator[str]:
    """Every kind in each five cycles, in any order."""
    for _ in range(0, CYCLES, 5):
        yield from chance.sample(["worker", "worker", "serve", "broker", "outage"], 5)


def harm_and_repair(fleet: Fleet, kind: str, chance: random.Random) -> str:
    """One cycle: something dies, the load goes on, it comes back; what it was."""
    match kind:
        case "worker" | "serve":
            child = chance.choice(fleet.workers if kind == "worker" else fleet.nodes)
            fleet.supervisor.kill(child)
            fleet.more_requests(chance.randint(1, 60), f"no acknowledgement without {child.name}")
            fleet.supervisor.repair(child)
            return child.name
        case "broker":
            number = chance.randint(1, 3)
            fleet.cluster.kill(number)
            fleet.more_requests(chance.randint(1, 60), f"no acknowledgement without {number}")
            fleet.cluster.restart(number)
            return f"broker {number}"
        case _:
            for number in (1, 2, 3):
                fleet.cluster.pause(number)
            threading.Event().wait(OUTAGE_S)  # what is tested: a time without any broker
            for number in (1, 2, 3):
                fleet.cluster.resume(number)
            return f"all brokers for {OUTAGE_S:g} s"


@contextmanager
def running(folder: Path, prefix: str) -> Iterator[Fleet]:
    """All is up and under load inside; the load has ended, the fleet runs on until the end."""
    cluster = Cluster(3)
    try:
        fleet = Fleet(cluster, folder, prefix)
        with fleet.supervisor:
            try:
                until(fleet.all_ready, FAR_S, "workers and nodes are not ready")
                yield fleet
            except BaseException:
                print(fleet.told())
                raise
    finally:
        cluster.stop()


def test_nothing_acknowledged_is_lost_or_doubled_whatever_dies(
    tmp_path: Path, kafka_prefix: str
) -> None:
    require_kafka()
    chance = random.Random(SEED)
    with running(tmp_path, kafka_prefix) as fleet:
        load = [*fleet.writers, fleet.stranger]
        for each in load:
            each.start()
        for cycle, kind in zip(range(CYCLES), harms(chance), strict=False):
            fleet.more_requests(chance.randint(20, 100), "no acknowledgement while all runs")
            what = harm_and_repair(fleet, kind, chance)
            print(f"cycle {cycle}: {what}, {fleet.requests()} requests", flush=True)
        repaired = time.monotonic()
        for each in load:
            each.stop()
        wanted = fleet.acknowledged()
        for node in fleet.nodes:
            await_points(node, wanted)
        took_s = time.monotonic() - repaired
        until(fleet.all_ready, FAR_S, "workers and nodes are not ready again")
        print(f"{wanted.total()} points of {fleet.requests()} requests; {took_s:.1f} s to catch up")
        both_hold_the_fold_of_the_log(fleet, wanted)
    assert took_s < CAUGHT_UP_S


def await_points(node: Child, wanted: Counter[str]) -> None:
    """Until the node counts what was acknowledged, neither less nor more."""
    seen: Counter[str] = Counter()

    def all_there() -> bool:
        nonlocal seen
        seen = stored(node.url)
        return seen == wanted

    try:
        until(all_there, FAR_S, f"{node.name} does not hold what was acknowledged")
    finally:
        if seen != wanted:
            print(f"{node.name}: missing {wanted - seen}, too many {seen - wanted}")


def stored(url: str) -> Counter[str]:
    """Points a series, as a node counts them; empty while it cannot answer."""
    arguments = {
        "metric_name": "work_done",
        "start_time": "-1d",
        "aggregation": "count",
        "group_by": ["shard"],
        "limit": 100,
    }
    body = {"tool": "query_metrics", "arguments": arguments}
    try:
        answer = httpx.post(f"{url}/logfire-mcp", json=body, timeout=30)
    except httpx.TransportError:
        return Counter()
    if answer.status_code in {503, 504}:
        return Counter()
    assert answer.status_code == 200, answer.text[:1_000]
    return Counter({row["tags"]["shard"]: row["count"] for row in answer.json()["results"]})


class WindowsTold:
    """The window events in the log: samples a series, each numbered output once."""

    def __init__(self, log: KafkaLog) -> None:
        self.counts: Counter[str] = Counter()
        self._log = log
        self._next = dict.fromkeys(range(PARTITIONS), 0)
        self._seen: dict[str, int] = {}

    def read(self) -> Counter[str]:
        for partition in range(PARTITIONS):
            while records := self._log.read_now(WINDOWS, partition, self._next[partition]):
                for record in records:
                    self._take(record)
                self._next[partition] = records[-1].offset + 1
        return self.counts

    def _take(self, record: Record) -> None:
        event = decode(record.headers, record.body)
        origin, _, number = event.envelope.id.rpartition("/")
        last = self._seen.get(origin)
        if last is not None and int(number) <= last:
            return
        assert last is None or int(number) == last + 1, f"{origin}: {number} after {last}"
        self._seen[origin] = int(number)
        assert isinstance(event.data, WindowClosed | WindowAmended)
        batch = event.data.batch
        for text, count in zip(batch.labels, batch.count.tolist(), strict=True):
            labels = json.loads(text)
            if labels["__name__"] == "work_done":
                self.counts[labels["shard"]] += count


def both_hold_the_fold_of_the_log(fleet: Fleet, wanted: Counter[str]) -> None:
    """Every window is told; then no clock ticks any more, so both are at the same position."""
    settings = load_settings(fleet.settings, None)
    kafka = settings.kafka()
    assert kafka is not None
    with closing(KafkaLog.open(kafka)) as log:
        windows = WindowsTold(log)
        until(lambda: windows.read().total() >= wanted.total(), FAR_S, "not all windows are told")
        assert windows.read() == wanted
        fleet.supervisor.leave_off()
        assert [worker.stop() for worker in fleet.workers] == [0, 0, 0]
    reports = [verified(node, fleet.settings) for node in fleet.nodes]
    assert reports[0] == reports[1]
    for node in fleet.nodes:
        assert stored(node.url) == wanted
        assert node.stop() == 0
        with duckdb.connect(next(node.data_dir.glob("*.duckdb")), read_only=True) as connection:
            rows = connection.execute(
                "SELECT labels['shard'], sum(count)::BIGINT FROM windows_merged "
                "JOIN series USING (series_id) WHERE name = 'work_done' GROUP BY 1"
            ).fetchall()
        assert dict(rows) == dict(wanted)


def verified(node: Child, settings: dict[str, str]) -> str:
    """What ``verify`` says: the hashes, and that they are those of the log's fold."""
    ended = run("verify", "--data-dir", str(node.data_dir), **settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Equal" in ended.stdout
    return ended.stdout
