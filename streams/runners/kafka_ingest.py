"""Ingest topics on Kafka: what others write there becomes records of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.config import Settings
from streams.errors import LogUnavailable
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.pseudonyms import Pseudonyms, configured_pseudonyms
from streams.ingest.republish import Republished, Republisher
from streams.ingest.series_limits import SeriesLimits
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.kafka_topics import MESSAGE_BYTES_MAX, Topic, declare_topics
from streams.log.wall_clock import wall_clock_ms
from streams.runners.faust_app import FaustHost
from streams.runners.hosted_agents import Place
from streams.runners.intake import Intake
from streams.runners.kafka_runner import CHANGELOG

BATCH_RECORDS: Final = 256
BATCH_S: Final = 0.1
"""A message waits so long for others."""
LOOK_S: Final = 2.0
"""Between looks at what was not delivered."""


async def declare_ingest_topics(
    kafka: KafkaConfig, topics: Sequence[IngestTopic]
) -> Mapping[str, int]:
    """Makes those that are not there; the others are somebody's and stay as they are. The number
    of partitions of each.

    `LogUnavailable` where the brokers do not answer, `ConfigError` where they refuse.
    """
    existing = await _partitions(kafka)
    settings = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "retention.ms": str(kafka.retention_ms),
    }
    missing = [
        Topic(topic.name, kafka.partitions, settings)
        for topic in topics
        if topic.name not in existing
    ]
    if missing:
        await declare_topics(kafka, missing)
    return {topic.name: existing.get(topic.name, kafka.partitions) for topic in topics}


async def _partitions(kafka: KafkaConfig) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        described = await admin.describe_topics()
    except (KafkaError, OSError) as error:
        servers = ", ".join(kafka.bootstrap_servers)
        raise LogUnavailable(f"Kafka at {servers} cannot be reached: {error!r}") from error
    finally:
        await admin.close()
    return {each["topic"]: len(each["partitions"]) for each in described}


class KafkaIngest:
    """The agents of a host for all ingest topics; made before the host is started.

    Messages count as taken once what they say is durable. Where the log cannot be written they
    wait, and nothing is lost or skipped.
    """

    def __init__(
        self,
        host: FaustHost,
        log: KafkaLog,
        topics: Sequence[IngestTopic],
        *,
        partitions: Mapping[str, int],
        limits: SeriesLimits,
        anonymized: Callable[[], Pseudonyms | None] = lambda: None,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``partitions``: as `declare_ingest_topics` says. Declare `changelogs` before the start,
        and see to `FaustHost.on_assigned` before this: it is listened to as well. ``anonymized``:
        makes those of one topic."""
        self._host = host
        self._looking: asyncio.Task[None] | None = None
        self._republishers: dict[str, Republisher] = {}
        self._intakes: dict[str, Intake] = {}
        self.changelogs: list[Topic] = []
        for topic in topics:
            name, count = topic.name, partitions[topic.name]
            # A topic that got more partitions is read anew: what comes again counts once.
            table = host.table(f"ingest-{name}-{count}", count)
            self.changelogs.append(Topic(table.topic, count, CHANGELOG))
            republisher = Republisher(log, topic, limits, pseudonyms=anonymized(), clock=clock)
            intake = Intake(log.config, name, table, republisher.republish)
            self._republishers[name], self._intakes[name] = republisher, intake
            host.batch_agent(
                name,
                intake.take,
                name=f"ingest-{name}",
                records_max=BATCH_RECORDS,
                within_s=BATCH_S,
            )
        self._tell = host.on_assigned
        host.on_assigned = self._on_assigned

    def counts(self) -> Mapping[str, Republished]:
        """What each topic brought to this process."""
        return {name: each.counts for name, each in self._republishers.items()}

    def lag(self) -> Mapping[Place, int]:
        """Topic and partition to the messages before it, of the partitions of this process; up to
        `LOOK_S` old."""
        return {
            (topic, partition): self._intakes[topic].behind(partition)
            for topic, partition in sorted(self._host.assigned())
            if topic in self._intakes
        }

    def stalled_for_s(self) -> float:
        """For how long some messages have been waiting to be durable; 0.0 where none are."""
        return max((each.stalled_for_s() for each in self._intakes.values()), default=0.0)

    def _on_assigned(self, places: set[Place]) -> None:
        self._tell(places)
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._host.guarded(self._look_regularly()))

    async def _look_regularly(self) -> None:
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                for topic, partition in sorted(self._host.assigned()):
                    if topic in self._intakes:
                        await self._intakes[topic].look(partition)
        finally:
            for intake in self._intakes.values():
                await intake.close()


def ingest_of(
    host: FaustHost,
    log: KafkaLog,
    topics: Sequence[IngestTopic],
    limits: SeriesLimits,
    anonymized: Callable[[], Pseudonyms | None] = lambda: None,
) -> KafkaIngest:
    """The agents on a host that is not started, with all topics declared; blocks.

    Errors as of `declare_ingest_topics`.
    """
    partitions = asyncio.run(declare_ingest_topics(log.config, topics))
    ingest = KafkaIngest(
        host, log, topics, partitions=partitions, limits=limits, anonymized=anonymized
    )
    asyncio.run(declare_topics(log.config, ingest.changelogs))
    return ingest


def add_ingest(host: FaustHost, log: KafkaLog, settings: Settings) -> KafkaIngest | None:
    """The agents for the ingest topics of the settings, on a host that is not started; blocks.

    None where there are none. Errors as of `declare_ingest_topics` and `Settings.ingested`.
    """
    topics = settings.ingested()
    if not topics:
        return None
    limits = SeriesLimits(settings.series_max, settings.source_series_max)
    return ingest_of(host, log, topics, limits, partial(configured_pseudonyms, settings))
