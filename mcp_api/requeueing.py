"""Where corrected dead letters go: an ingest topic, or the points of the log itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from streams.errors import InputError, PoisonError
from streams.events.batch import MetricBatch
from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode, iso_time
from streams.events.topics import POINTS
from streams.ingest.foreign import TIME_HEADER, understand
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.json_points import parse_body
from streams.ingest.merging import Merger, Request
from streams.log.opening import ServerLog, open_own_log
from streams.log.protocol import HEADER_BYTES_MAX, Append, Record
from streams.log.wall_clock import wall_clock_ms

if TYPE_CHECKING:
    from mcp_api.dead_letters import Corrected
    from streams.config import Settings
    from streams.log.kafka_producer import Producer

SEND_TIMEOUT_S: Final = 30.0
ACTOR: Final = "requeue"


class Destination:
    """What the settings' log and its ingest topics take; `close` it. For one thread."""

    def __init__(self, settings: Settings) -> None:
        """`ConfigError` where the settings do not fit together. Nothing is opened yet."""
        self._settings = settings
        self._kafka = settings.kafka()
        self._topics = {topic.name: topic for topic in settings.ingested()}
        self._runner = asyncio.Runner()
        self._producer: Producer | None = None
        self._log: ServerLog | None = None

    def check(self, corrected: Corrected) -> int:
        """How many points it has; `InputError` where any of it would be refused."""
        if corrected.topic == POINTS:
            return len(_batch(corrected))
        topic = self._topics.get(corrected.topic)
        if topic is None:
            valid = ", ".join([POINTS, *self._topics])
            raise InputError(
                f"topic {corrected.topic!r} takes nothing; valid: {valid} (INGEST_TOPICS)"
            )
        return _points(topic, corrected)

    def send(self, corrected: Corrected) -> str:
        """Returns when it is durable; where it lies. `LogUnavailable`, `LogLocked`."""
        if corrected.topic == POINTS:
            return self._append(_batch(corrected))
        return self._runner.run(self._produce(corrected))

    def close(self) -> None:
        """Closes what was opened."""
        if self._log is not None:
            self._log.close()
        if self._producer is not None:
            self._runner.run(self._producer.close())
        self._runner.close()

    def _append(self, batch: MetricBatch) -> str:
        if self._log is None:
            self._log = open_own_log(self._settings)
        request = Request(batch, ACTOR, ACTOR, wall_clock_ms())
        written = Merger(self._log.partitions(POINTS)).entries([request])
        unit = Append(tuple(one.entry for one in written))
        positions = self._log.submit(unit).result(SEND_TIMEOUT_S).positions
        return ", ".join(f"{each.topic}/{each.partition}@{each.offset}" for each in positions)

    async def _produce(self, corrected: Corrected) -> str:
        # Late: the embedded log's users need no Kafka client in memory.
        from streams.log.kafka_connection import Connection
        from streams.log.kafka_producer import Producer

        assert self._kafka is not None
        kafka = replace(self._kafka, prefix="")  # ingest topics have none
        if self._producer is None:
            self._producer = Producer(kafka)
        connection = Connection(kafka, [corrected.topic])
        try:
            await connection.start(SEND_TIMEOUT_S)
            partitions = connection.partitions(corrected.topic)
        finally:
            await connection.close()
        if not partitions:
            raise InputError(f"there is no topic {corrected.topic}: a worker makes it")
        headers = [(name, text.encode()) for name, text in _headers(corrected).items()]
        place = (corrected.topic, corrected.partition % partitions)
        deadline = asyncio.get_running_loop().time() + SEND_TIMEOUT_S
        offset = await self._producer.append(place, (headers, corrected.body), deadline)
        return f"{place[0]}/{place[1]}@{offset}"


def _headers(corrected: Corrected) -> dict[str, str]:
    headers = dict(corrected.headers)
    if corrected.time_ms is not None:
        headers[TIME_HEADER] = iso_time(corrected.time_ms)
    size = sum(len(name.encode()) + len(text.encode()) for name, text in headers.items())
    if size > HEADER_BYTES_MAX:
        raise InputError(f"the headers have {size} bytes; at most {HEADER_BYTES_MAX} are taken")
    return headers


def _points(topic: IngestTopic, corrected: Corrected) -> int:
    now_ms = wall_clock_ms()
    record = Record(topic.name, 0, 0, now_ms, _headers(corrected), corrected.body)
    understood = understand(topic, record, now_ms)
    if understood.dead is not None:
        raise InputError(understood.dead.reason)
    assert understood.parsed is not None
    if not len(understood.parsed.batch):
        raise InputError("there is no point in it")
    return len(understood.parsed.batch)


def _batch(corrected: Corrected) -> MetricBatch:
    """Of an event as it was, or of points written as the JSON of `collect_metrics`."""
    if "ce_type" in corrected.headers:
        try:
            data = decode(corrected.headers, corrected.body).data
        except PoisonError as error:
            raise InputError(
                f"{error}; correct it, or write the points as collect_metrics has them (JSON) and "
                "leave out the headers"
            ) from error
        if not isinstance(data, MetricsCollected):
            raise InputError(f"{corrected.headers['ce_type']} has no points")
        return data.batch
    parsed = parse_body(corrected.body, corrected.time_ms or wall_clock_ms())
    if parsed.rejected_count:
        first = parsed.rejected[0]
        raise InputError(
            f"{parsed.rejected_count} of its points are bad; point {first.index}: {first.reason}"
        )
    if not len(parsed.batch):
        raise InputError("there is no point in it")
    return parsed.batch
