"""Ingest topics on a real broker: what any Kafka client writes there lands in the log, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.config import load_settings
from streams.errors import ConfigError
from streams.ingest.ingest_topics import IngestTopic
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.wall_clock import wall_clock_ms
from tests.api.processes import run
from tests.flow.ingesting import WITHIN_S, dead, ingesting, samples
from tests.flow.kafka_fleet import until

PARTITIONS = 3
NOW_MS = wall_clock_ms()


@pytest.fixture
def log(kafka: str, kafka_prefix: str) -> Iterator[KafkaLog]:
    log = KafkaLog.open(KafkaConfig((kafka,), prefix=kafka_prefix, partitions=PARTITIONS))
    yield log
    log.close()


@pytest.fixture
def topic_name(kafka_prefix: str) -> str:
    """Not beginning with the prefix: those are the log's."""
    return f"in-{kafka_prefix}"


@pytest.fixture
def produce(kafka: str) -> Iterator[Callable[..., None]]:
    """What somebody else's program does: nothing of ours is in it."""
    producer = Producer({"bootstrap.servers": kafka})

    def send(topic: str, *bodies: bytes | None, key: str | None = None) -> None:
        for body in bodies:
            producer.produce(topic, body, key=key)
        assert producer.flush(WITHIN_S) == 0

    yield send
    producer.flush(WITHIN_S)


def shop(*values: object) -> bytes:
    """One point a value, each of a time of its own."""
    metrics = [
        {"name": f"m{n}", "value": value, "metric_type": "gauge", "timestamp": NOW_MS}
        for n, value in enumerate(values)
    ]
    return json.dumps({"source": "till", "metrics": metrics}).encode()


def has(log: KafkaLog, count: int) -> bool:
    return sum(map(len, samples(log).values())) >= count


def test_json_and_line_protocol_of_another_client_are_samples(
    log: KafkaLog, topic_name: str, produce: Callable[..., None]
) -> None:
    topics = [
        IngestTopic(f"{topic_name}json", "json"),
        IngestTopic(f"{topic_name}lines", "influx", "ms"),
    ]
    with ingesting(log, topics) as ingest:
        produce(topics[0].name, shop(1, 2))
        produce(topics[1].name, f"cpu,host=a user=3,value=4i {NOW_MS}".encode())
        until(lambda: len(samples(log)) == 4, WITHIN_S, "the samples are in the log")
        counts = ingest.counts()
        until(lambda: counts[topics[1].name].messages == 1, WITHIN_S, "it is counted")
    assert samples(log) == {
        ("m0", "till", NOW_MS): [1.0],
        ("m1", "till", NOW_MS): [2.0],
        ("cpu_user", topics[1].name, NOW_MS): [3.0],
        ("cpu", topics[1].name, NOW_MS): [4.0],
    }
    assert dead(log) == []


def test_a_thousand_poison_messages_land_among_the_dead_letters_only(
    log: KafkaLog, topic_name: str, produce: Callable[..., None]
) -> None:
    topic = IngestTopic(topic_name, "json")
    kinds = [b"", None, b"{", b"[1, 2]", b"\xff\xfe", b'{"source": 5, "metrics": []}', b"null"]
    with ingesting(log, [topic]):
        for i in range(1_000):
            body = kinds[i % len(kinds)]
            produce(topic.name, body, shop(i)) if i % 100 == 0 else produce(topic.name, body)
        until(lambda: len(dead(log)) >= 1_000, WITHIN_S, "all are dead letters")
        until(lambda: len(samples(log)) >= 1, WITHIN_S, "the good ones are in the log")
    letters = dead(log)
    assert len({(letter.partition, letter.offset) for letter in letters}) == len(letters) == 1_000
    assert {letter.topic for letter in letters} == {topic.name}
    assert all(letter.reason for letter in letters)
    assert sorted(samples(log)["m0", "till", NOW_MS]) == [100.0 * i for i in range(10)]


def test_a_process_that_takes_over_goes_on_where_the_other_ended(
    log: KafkaLog, topic_name: str, produce: Callable[..., None]
) -> None:
    topic = IngestTopic(topic_name, "influx", "ms")
    for owner in range(3):
        lines = [f"m,n={owner}-{i} value={i} {NOW_MS + i}".encode() for i in range(50)]
        whole = 50 * (owner + 1)
        with ingesting(log, [topic]):
            produce(topic.name, *lines)
            until(partial(has, log, whole), WITHIN_S, f"{whole} samples are in the log")
    assert {len(values) for values in samples(log).values()} == {3}


def test_dead_letters_are_shown_corrected_and_sent_again(
    log: KafkaLog, topic_name: str, produce: Callable[..., None], tmp_path: Path
) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": log.config.bootstrap_servers[0],
        "KAFKA_TOPIC_PREFIX": log.config.prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "INGEST_TOPICS": f"{topic_name}=json",
        "LOGFIRE_DATA_DIR": str(tmp_path),
    }
    topic = IngestTopic(topic_name, "json")
    with ingesting(log, [topic]):
        produce(topic.name, shop(1, "two"))
        until(lambda: len(dead(log)) == 1, WITHIN_S, "the bad point is a dead letter")

        shown = run("tail", "--dead", "--no-follow", **environment).stdout
        assert f"dead letter of {topic_name}/" in shown
        assert 'value is "two"' in shown
        line = run("tail", "--dead", "--json", "--no-follow", **environment).stdout
        letter = json.loads(line)
        assert (letter["topic"], letter["offset"]) == (topic_name, 0)
        file = tmp_path / "dead.jsonl"
        file.write_text(line)
        ended = run("requeue", str(file), **environment)
        assert ended.returncode == 1
        assert 'value is "two"' in ended.stderr
        assert "0 sent, 1 refused" in ended.stdout

        letter["body"] = letter["body"].replace('"two"', "2")
        file.write_text(json.dumps(letter) + "\n")
        ended = run("requeue", "--dry-run", str(file), **environment)
        assert f"line 1: 1 points to {topic_name}" in ended.stdout
        ended = run("requeue", str(file), **environment)
        assert ended.returncode == 0, ended.stderr
        assert "1 sent, 0 refused" in ended.stdout
        until(lambda: len(samples(log)) == 2, WITHIN_S, "the corrected point is in the log")
    assert samples(log) == {("m0", "till", NOW_MS): [1.0], ("m1", "till", NOW_MS): [2.0]}
    assert len(dead(log)) == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("shop", "a topic is like telegraf=influx"),
        ("=json", "a topic is like"),
        ("shop=csv", "json or influx, not 'csv'"),
        ("shop=json:ms", "no precision"),
        ("shop=influx:h", "ns, us, ms or s, not 'h'"),
        ("a b=json", "letters, digits"),
        ("..=json", "letters, digits"),
        ("shop=json,shop=influx", "shop is given twice"),
        (",".join(f"t{n}=json" for n in range(65)), "at most 64"),
        ("logfire.x=json", "KAFKA_TOPIC_PREFIX"),
    ],
)
def test_ingest_topics_that_cannot_be_are_refused_with_what_is_valid(value: str, why: str) -> None:
    environment = {"INGEST_TOPICS": value, "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}
    with pytest.raises(ConfigError, match=why) as refused:
        load_settings(environment).ingested()
    assert "INGEST_TOPICS" in str(refused.value)


def test_ingest_topics_need_kafka() -> None:
    assert load_settings({}).ingested() == ()
    with pytest.raises(ConfigError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        load_settings({"INGEST_TOPICS": "shop=json"}).ingested()
    environment = {"INGEST_TOPICS": " telegraf = influx:ms , shop=json,", "KAFKA_TOPIC_PREFIX": ""}
    settings = load_settings({**environment, "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"})
    assert settings.ingested() == (
        IngestTopic("telegraf", "influx", "ms"),
        IngestTopic("shop", "json"),
    )
