"""Declaring topics, and refusing those that exist and are not as they are declared.

For the log's own topics and for whoever needs others (changelogs, for one): a topic that a client
made by itself would have the wrong number of partitions for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.errors import ConfigError, LogUnavailable
from streams.events.topics import TOPICS, WHOLE, partitions_of
from streams.log.kafka_config import KafkaConfig

META = "meta"
"""One partition, kept for ever: its first record is the log's id."""

REQUESTS = "requests"
"""One partition: the idempotency keys of all nodes."""

MESSAGE_BYTES_MAX = 2_097_152
"""Of one batch on the broker: a message's body and headers at their limits, and room."""

_RETRY_S = 0.3
_REQUEST_MS = 5_000
_AT_LEAST = {"max.message.bytes"}
"""Settings that may be larger than declared."""

_VARIABLES = {"retention.ms": "KAFKA_RETENTION_HOURS"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is to be. ``name``: the broker's. ``settings``: the broker's names and values;
    ``min.insync.replicas`` is added."""

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copies:
    """How many brokers keep each record, and how many have it before it is acknowledged."""

    replication: int
    min_insync: int

    @property
    def durable(self) -> bool:
        """Whether an acknowledged record outlives any one broker."""
        return self.min_insync > 1


def log_topics(config: KafkaConfig) -> list[Topic]:
    """All topics of the log."""
    common = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }
    kept = {**common, "retention.ms": str(config.retention_ms), "retention.bytes": "-1"}
    for_ever = {**common, "retention.ms": "-1", "retention.bytes": "-1"}
    # Twice the horizon: the broker deletes whole segments by their newest record.
    requests = {**common, "retention.ms": str(2 * config.key_horizon_ms)}
    return [
        *(
            Topic(
                config.topic(name),
                partitions_of(name, config.partitions),
                for_ever if name in WHOLE else kept,
            )
            for name in TOPICS
        ),
        Topic(config.topic(META), 1, for_ever),
        Topic(config.topic(REQUESTS), 1, requests),
    ]


async def declare_topics(
    config: KafkaConfig, topics: Sequence[Topic], *, timeout_s: float = 30.0
) -> Copies:
    """Makes the topics that are not there and checks the others; returns when all have leaders.

    The copies are those of the topic that has fewest. `ConfigError` where a topic differs from what
    is declared, with all differences; `LogUnavailable` where the brokers do not answer in time.
    """
    last: Exception | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    return await _declare_once(config, topics)
                except (KafkaError, OSError) as error:
                    last = error
                await asyncio.sleep(_RETRY_S)
    except TimeoutError:
        also = "" if config.security_protocol == "PLAINTEXT" else ", KAFKA_SASL_* and KAFKA_SSL_*"
        raise LogUnavailable(
            f"Kafka at {', '.join(config.bootstrap_servers)} did not have all topics ready within "
            f"{timeout_s:g} s: {last}; check KAFKA_BOOTSTRAP_SERVERS{also} and that the brokers run"
        ) from last


async def _declare_once(config: KafkaConfig, topics: Sequence[Topic]) -> Copies:
    admin = AIOKafkaAdminClient(**config.client_options(), request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        existing = await _existing(admin)
        missing = [topic for topic in topics if topic.name not in existing]
        if missing:
            brokers = len((await admin.describe_cluster())["brokers"])
            await _create(admin, missing, _copies(config, brokers))
            existing = await _until_led(admin, topics)
        found = await _settings(admin, topics)
        problems = [
            problem
            for topic in topics
            for problem in _differences(config, topic, existing[topic.name], found[topic.name])
        ]
        if problems:
            raise ConfigError(
                f"the topics at {config.bootstrap_servers[0]} are not as configured: "
                f"{'; '.join(problems)}. Change the settings, or the topics with the broker's tools"
            )
        return Copies(
            min(_replication(existing[topic.name]) for topic in topics),
            min(int(found[topic.name]["min.insync.replicas"]) for topic in topics),
        )
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()


def _copies(config: KafkaConfig, brokers: int) -> Copies:
    """What new topics get."""
    replication = config.replication or min(3, brokers)
    return Copies(replication, config.min_insync_replicas or (2 if replication >= 3 else 1))


async def _existing(admin: AIOKafkaAdminClient) -> dict[str, dict[str, Any]]:
    """Every topic's description by its name; asked for all, since asking for one by its name may
    make the broker create it."""
    return {one["topic"]: one for one in await admin.describe_topics() if not one["error_code"]}


async def _create(admin: AIOKafkaAdminClient, missing: Sequence[Topic], copies: Copies) -> None:
    in_sync = {"min.insync.replicas": str(copies.min_insync)}
    new = [
        NewTopic(
            topic.name,
            topic.partitions,
            copies.replication,
            topic_configs={**topic.settings, **in_sync},
        )
        for topic in missing
    ]
    for name, code, *told in (await admin.create_topics(new)).topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            text = f"the topic {name} cannot be made: {told[0] if told else error.description}"
            if error.retriable:
                raise error(text)
            raise ConfigError(text)


async def _until_led(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic]
) -> dict[str, dict[str, Any]]:
    """The descriptions once every partition has a leader; the caller bounds the time."""
    while True:
        existing = await _existing(admin)
        if all(
            topic.name in existing
            and all(partition["leader"] >= 0 for partition in existing[topic.name]["partitions"])
            for topic in topics
        ):
            return existing
        await asyncio.sleep(_RETRY_S / 3)


async def _settings(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic]
) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    settings = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                raise for_code(code)(message)
            settings[name] = {entry[0]: entry[1] for entry in entries}
    return settings


def _replication(description: Mapping[str, Any]) -> int:
    return min(len(partition["replicas"]) for partition in description["partitions"])


def _differences(
    config: KafkaConfig, topic: Topic, description: Mapping[str, Any], found: Mapping[str, str]
) -> list[str]:
    """One clause each; what was left to us by the settings may be as it is."""
    problems = []
    count = len(description["partitions"])
    if count != topic.partitions:
        problems.append(
            f"{topic.name} has {count} partitions, not {topic.partitions} (KAFKA_PARTITIONS)"
        )
    replication = _replication(description)
    if config.replication is not None and replication != config.replication:
        problems.append(
            f"{topic.name} has {replication} replicas, not {config.replication} (KAFKA_REPLICATION)"
        )
    wanted = dict(topic.settings)
    if config.min_insync_replicas is not None:
        wanted["min.insync.replicas"] = str(config.min_insync_replicas)
    variables = {**_VARIABLES, "min.insync.replicas": "KAFKA_MIN_INSYNC_REPLICAS"}
    for name, value in wanted.items():
        got = found.get(name, "")
        if got == value or (name in _AT_LEAST and got.isdecimal() and int(got) >= int(value)):
            continue
        variable = f" ({variables[name]})" if name in variables else ""
        problems.append(f"{topic.name} has {name}={got}, not {value}{variable}")
    return problems
