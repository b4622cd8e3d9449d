"""The log's topics on Kafka: made as configured, and refused where they differ."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.errors import ConfigError, LogUnavailable
from streams.events.topics import POINTS, TOPICS, partitions_of
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog


@pytest.fixture
def config(kafka: str, kafka_prefix: str) -> KafkaConfig:
    return KafkaConfig((kafka,), prefix=kafka_prefix, partitions=2)


def test_topics_are_made_as_configured(
    kafka: str, config: KafkaConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(KafkaLog.open(config)) as log:
        assert log.partitions(POINTS) == 2
        assert not log.durable
    assert "1 copy of each record: what is acknowledged is lost with its broker" in caplog.text

    async def topics() -> dict[str, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        described = await admin.describe_topics()
        await admin.close()
        ours = [one for one in described if one["topic"].startswith(config.prefix)]
        return {one["topic"].removeprefix(config.prefix): len(one["partitions"]) for one in ours}

    declared = {topic: partitions_of(topic, 2) for topic in TOPICS}
    assert asyncio.run(topics()) == {**declared, "meta": 1, "requests": 1}


def test_topics_that_differ_are_refused_with_every_difference(
    kafka: str, kafka_prefix: str, config: KafkaConfig
) -> None:
    KafkaLog.open(config).close()
    other = KafkaConfig(
        (kafka,),
        prefix=kafka_prefix,
        partitions=3,
        replication=2,
        min_insync_replicas=2,
        retention_ms=7_000,
    )
    with pytest.raises(ConfigError) as refused:
        KafkaLog.open(other)
    text = str(refused.value)
    name = f"{kafka_prefix}metrics.points"
    assert f"{name} has 2 partitions, not 3 (KAFKA_PARTITIONS)" in text
    assert f"{name} has 1 replicas, not 2 (KAFKA_REPLICATION)" in text
    assert f"{name} has retention.ms=604800000, not 7000 (KAFKA_RETENTION_HOURS)" in text
    assert f"{name} has min.insync.replicas=1, not 2 (KAFKA_MIN_INSYNC_REPLICAS)" in text


def test_a_topic_that_a_client_made_by_itself_is_refused(config: KafkaConfig) -> None:
    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap_servers[0])
        await admin.start()
        await admin.create_topics([NewTopic(config.topic(POINTS), 2, 1)])
        await admin.close()

    asyncio.run(make())
    with pytest.raises(ConfigError, match=r"message\.timestamp\.type=CreateTime, not LogAppendT"):
        KafkaLog.open(config)


def test_more_copies_than_brokers_are_refused(kafka: str, kafka_prefix: str) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        KafkaLog.open(KafkaConfig((kafka,), prefix=kafka_prefix, replication=7))


def test_an_address_where_nobody_answers_is_named() -> None:
    config = KafkaConfig(("127.0.0.1:1",))
    with pytest.raises(LogUnavailable, match=r"Kafka at 127\.0\.0\.1:1 .*KAFKA_BOOTSTRAP_SERVERS"):
        KafkaLog.open(config, timeout_s=1)


def test_whoever_does_not_use_kafka_does_not_load_its_clients() -> None:
    check = "import sys, mcp_api.server, mcp_api.cli; print({'aiokafka', 'faust'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True)
    assert ended.stdout.strip() == b"set()"
