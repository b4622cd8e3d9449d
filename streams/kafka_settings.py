"""The settings of the log on Kafka, and of what comes to it from there."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from streams.errors import ConfigError
from streams.ingest.ingest_topics import IngestTopic, read_topics
from streams.log.kafka_config import HOUR_MS, KafkaConfig, Mechanism, Protocol
from streams.setting_kinds import Servers, secret, setting

OWN_TOPICS = ("metrics.", "rules.", "alerts.", "commands", "deadletter", "meta", "requests")
"""How the names of the log's own topics begin where they have no prefix."""


class KafkaSettings(BaseModel):
    """A part of `streams.config.Settings`."""

    kafka_bootstrap_servers: Servers = setting(
        (), "KAFKA_BOOTSTRAP_SERVERS", "host:port of Kafka's brokers; the log is on Kafka if set"
    )
    kafka_topic_prefix: str = setting(
        "logfire.",
        "KAFKA_TOPIC_PREFIX",
        "begins the names of our topics and groups",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
    )
    kafka_partitions: int = setting(
        6, "KAFKA_PARTITIONS", "partitions of each topic, fixed when it is made", ge=1, le=1_024
    )
    kafka_replication: int | None = setting(
        None,
        "KAFKA_REPLICATION",
        "copies of each topic; by default three, or as many as there are brokers",
        ge=1,
        le=32,
    )
    kafka_min_insync_replicas: int | None = setting(
        None,
        "KAFKA_MIN_INSYNC_REPLICAS",
        "copies that have a record before it is acknowledged; by default two of three, else one",
        ge=1,
        le=32,
    )
    kafka_retention_hours: int = setting(
        168, "KAFKA_RETENTION_HOURS", "hours for which points and windows are kept", ge=1, le=87_600
    )
    kafka_security_protocol: Protocol = setting(
        "PLAINTEXT", "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Mechanism = setting(
        "PLAIN", "KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = setting(None, "KAFKA_SASL_USERNAME", "for SASL")
    kafka_sasl_password: str | None = secret("KAFKA_SASL_PASSWORD", "for SASL")
    kafka_ssl_cafile: str | None = setting(
        None, "KAFKA_SSL_CAFILE", "PEM file of the authority that signed the brokers' certificates"
    )
    kafka_ssl_certfile: str | None = setting(
        None,
        "KAFKA_SSL_CERTFILE",
        "PEM file of this client's certificate, where brokers ask for it",
    )
    kafka_ssl_keyfile: str | None = setting(
        None, "KAFKA_SSL_KEYFILE", "PEM file of that certificate's key"
    )

    ingest_topics: Annotated[tuple[IngestTopic, ...], BeforeValidator(read_topics)] = setting(
        (),
        "INGEST_TOPICS",
        "Kafka topics from which workers take what others write: name=json, name=influx or "
        "name=influx:ms (ns, us, ms, s), comma-separated",
    )
    worker_id: str | None = setting(
        None,
        "WORKER_ID",
        "name of a worker among all: one that comes back under it soon keeps its partitions, and "
        "while it is gone nobody else has them for KAFKA_SESSION_TIMEOUT",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    kafka_session_timeout_s: float = setting(
        10.0,
        "KAFKA_SESSION_TIMEOUT",
        "seconds without a sign of life until a worker's partitions go to others; brokers take 6 "
        "or more as they come",
        ge=1,
        le=300,
    )
    worker_stall_timeout_s: float = setting(
        60.0,
        "WORKER_STALL_TIMEOUT",
        "seconds without progress until a worker ends, to be started again",
        ge=1,
        le=3_600,
    )

    def ingested(self) -> tuple[IngestTopic, ...]:
        """The ingest topics; `ConfigError` where there is no Kafka, or one is the log's own."""
        kafka = self.kafka()
        for topic in self.ingest_topics:
            if kafka is None:
                raise ConfigError(
                    f"INGEST_TOPICS is {topic}, and KAFKA_BOOTSTRAP_SERVERS is not set: ingest "
                    "topics are Kafka's"
                )
            own = kafka.prefix or OWN_TOPICS
            if topic.name.startswith(own):
                raise ConfigError(
                    f"INGEST_TOPICS has {topic.name}; valid: names that begin otherwise than the "
                    f"log's own, with {kafka.prefix or ', '.join(own)} (KAFKA_TOPIC_PREFIX)"
                )
        return self.ingest_topics

    def kafka(self) -> KafkaConfig | None:
        """The cluster that holds the log; None where the log is the embedded one.

        `ConfigError` where KAFKA_* settings do not fit together.
        """
        if not self.kafka_bootstrap_servers:
            return None
        copies, in_sync = self.kafka_replication, self.kafka_min_insync_replicas
        if copies is not None and in_sync is not None and in_sync > copies:
            raise ConfigError(
                f"KAFKA_MIN_INSYNC_REPLICAS is {in_sync}; valid: at most KAFKA_REPLICATION, "
                f"{copies}"
            )
        secured = self.kafka_security_protocol.startswith("SASL")
        if secured and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ConfigError(
                f"KAFKA_SECURITY_PROTOCOL is {self.kafka_security_protocol}: it takes "
                "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        return KafkaConfig(
            bootstrap_servers=self.kafka_bootstrap_servers,
            prefix=self.kafka_topic_prefix,
            partitions=self.kafka_partitions,
            replication=copies,
            min_insync_replicas=in_sync,
            retention_ms=self.kafka_retention_hours * HOUR_MS,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password,
            ssl_cafile=self.kafka_ssl_cafile,
            ssl_certfile=self.kafka_ssl_certfile,
            ssl_keyfile=self.kafka_ssl_keyfile,
        )
