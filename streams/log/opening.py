"""Which log the settings mean, and opening it: Kafka where brokers are given, else the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from streams.config import Settings
from streams.errors import LogUnavailable
from streams.log.sqlite_log import SqliteLog

if TYPE_CHECKING:
    from streams.log.kafka_log import KafkaLog

ServerLog: TypeAlias = "SqliteLog | KafkaLog"
"""Both have what threads need beside `EventLog`: ``submit``, ``read_now``, ``ends``, ``starts``,
``wait_for``, ``stats``, ``close``."""


def open_log(settings: Settings) -> ServerLog:
    """The log for reading and writing, made where there is none; blocks.

    Raises `LogLocked` (the file has an owner), `LogDamaged`, `LogUnavailable`, `ConfigError`.
    """
    kafka = settings.kafka()
    if kafka is None:
        return SqliteLog.open(settings.db_path, partitions=settings.partitions)
    # Late: the embedded log's users need no Kafka client in memory.
    from streams.log.kafka_log import KafkaLog

    return KafkaLog.open(kafka)


def open_log_to_read(settings: Settings) -> ServerLog:
    """The log beside whoever writes it; errors as of `open_log`, `LogUnavailable` without one."""
    if settings.kafka() is None:
        return SqliteLog.open(settings.db_path, read_only=True)
    return open_log(settings)


def open_own_log(settings: Settings) -> ServerLog:
    """As `open_log`, but `LogUnavailable` where there is no log yet."""
    if settings.kafka() is None and not settings.db_path.exists():
        raise LogUnavailable(f"there is no log at {settings.db_path}: start the server first")
    return open_log(settings)
