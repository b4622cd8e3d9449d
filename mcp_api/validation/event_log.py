"""The event log: read beside whoever writes it, every record of a file verified; Kafka asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress

from mcp_api.validation.outcome import Check, Outcome, Tell, look, ok, skipped
from streams.config import Settings
from streams.log.kafka_config import KafkaConfig
from streams.log.lock import ReaderLock
from streams.log.opening import ServerLog, open_log_to_read

PART = "log"
_TOLD_RECORDS = 10_000
_ANSWER_S = 10.0
_KAFKA = "check KAFKA_BOOTSTRAP_SERVERS, KAFKA_SASL_*, KAFKA_SSL_*, and that the brokers run"


def check_log(settings: Settings, tell: Tell) -> Iterator[Check]:
    """On Kafka the topics are declared and compared with the settings, as by every command; what
    the brokers hold is theirs to verify."""
    kafka = settings.kafka()
    if kafka is not None:
        brokers = look(PART, "brokers", lambda: asyncio.run(_brokers(kafka)), _KAFKA)
        yield brokers
        if brokers.outcome.state == "ok":
            yield look(PART, "topics", lambda: _topics(settings))
        return
    yield look(PART, "owner", lambda: _owner(settings))
    yield look(PART, "records", lambda: _records(settings, tell))


def is_owned(settings: Settings) -> bool:
    """Whether a server, or a command that works on the files, has the embedded log."""
    if settings.kafka() is not None or not settings.db_path.exists():
        return False
    with ReaderLock(settings.db_path) as quiet:
        return not quiet


def _owner(settings: Settings) -> Outcome:
    if is_owned(settings):
        return ok(f"{settings.db_path.name} is in use by another process; it is read beside it")
    return ok("no process has it open")


def _records(settings: Settings, tell: Tell) -> Outcome:
    if not settings.db_path.exists():
        return skipped(f"there is none yet at {settings.db_path}: `serve` makes it")
    with closing(open_log_to_read(settings)) as log:
        counts = _verified(log, tell)
    size = settings.db_path.stat().st_size
    text = f"{counts.total():,} records in {len(counts)} topics, {size / 2**20:,.1f} MiB, all sound"
    return ok(text, records=dict(counts), bytes=size)


def _verified(log: ServerLog, tell: Tell) -> Counter[str]:
    """Reading verifies each record's checksum, which chains it to the one before."""
    ends = dict(log.ends())
    total = sum(ends.values()) - sum(log.starts().values())
    counts: Counter[str] = Counter()
    told = 0
    for (topic, partition), start in log.starts().items():
        offset = start
        while offset < ends[topic, partition]:
            records = log.read_now(topic, partition, offset)
            offset = records[-1].offset + 1
            counts[topic] += len(records)
            if counts.total() - told >= _TOLD_RECORDS:
                told = counts.total()
                tell(f"Reading the log: {told:,} of {total:,} records")
    return counts


async def _brokers(config: KafkaConfig) -> Outcome:
    # Late: who has no Kafka needs no client of it.
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(
        **config.client_options(), request_timeout_ms=round(_ANSWER_S * 1_000)
    )
    try:
        async with asyncio.timeout(2 * _ANSWER_S):
            await admin.start()
            brokers = (await admin.describe_cluster())["brokers"]
    except (KafkaError, TimeoutError) as error:
        raise OSError(f"{', '.join(config.bootstrap_servers)}: {error!r}") from error
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()
    listed = ", ".join(f"{one['host']}:{one['port']}" for one in brokers)
    return ok(f"{len(brokers)}: {listed}")


def _topics(settings: Settings) -> Outcome:
    with closing(open_log_to_read(settings)) as log:
        records = sum(log.ends().values()) - sum(log.starts().values())
        return ok(f"{len({topic for topic, _ in log.ends()})} topics, {records:,} offsets in use")
