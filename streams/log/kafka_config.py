"""`KafkaConfig`: which cluster, how it is reached, and how our topics are declared there.

Nothing of Kafka is imported here, so a process that does not use it does not load it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

from streams.errors import ConfigError

HOUR_MS = 3_600_000

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """``bootstrap_servers``: each ``host:port``; one that answers is enough.

    ``replication`` and ``min_insync_replicas`` None: three copies, or as many as there are brokers,
    and two of them in sync before a write is acknowledged where there are three; topics that exist
    keep what they have. ``retention_ms``: how long points and windows are kept.
    ``key_horizon_ms``: how long an idempotency key is remembered.
    """

    bootstrap_servers: tuple[str, ...]
    prefix: str = "logfire."
    partitions: int = 6
    replication: int | None = None
    min_insync_replicas: int | None = None
    retention_ms: int = 168 * HOUR_MS
    security_protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: Mechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    key_horizon_ms: int = HOUR_MS

    def topic(self, name: str) -> str:
        """The broker's name of one of our topics.

        >>> KafkaConfig(("localhost:9092",)).topic("metrics.points")
        'logfire.metrics.points'
        """
        return f"{self.prefix}{name}"

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments of every aiokafka client: where the brokers are, and security.

        `ConfigError` for certificate files that cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "the files of KAFKA_SSL_CAFILE, KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE cannot be "
                f"used: {error}; each is a readable PEM file"
            ) from error
        return context
