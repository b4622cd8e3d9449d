"""The sink of each destination: firings as logs, and by choice all points as metrics.

A position is kept once everything before it was acknowledged, so nothing is lost while nobody
answers, as long as the log holds it; after an error or a crash the last batch may be sent twice.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mcp_api.observability import wire
from mcp_api.observability.destinations import Destination, destinations, is_configured
from mcp_api.observability.firings import log_record
from mcp_api.observability.points import PointsEncoder
from mcp_api.observability.reporting import resource
from projections.fold import decode_record
from projections.sink import Gap, Sink
from projections.sink_positions import PositionFile, PositionStore, Settled
from projections.source import Partition
from streams.config import Settings
from streams.errors import SinkError
from streams.events.catalogue import Event, MetricsCollected
from streams.events.topics import ALERTS, POINTS
from streams.log.opening import ServerLog
from streams.log.protocol import Record
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 10.0
RETRY_AFTER_S_MAX: Final = 300.0
_SAID_CHARS_MAX: Final = 200
_AGAIN: Final = frozenset({408, 425, 429})
_MISCONFIGURED: Final = frozenset({401, 402, 403, 404, 405})
_log = logging.getLogger(__name__)


def otlp_sinks(log: ServerLog, settings: Settings) -> Iterator[Sink]:
    """One for each destination; none where nothing is configured."""
    if not is_configured(settings):
        return
    for destination in destinations(settings):
        yield OtlpSink(
            destination,
            resource(settings),
            Settled(_positions(log, settings, destination), settle_s=0.0),
            points=settings.forward_points,
        )


class OtlpSink:
    """A `Sink`. It begins with what comes after its first start.

    A request that the destination calls wrong is counted and left out; one that it refuses for a
    time, or whose token it does not know, is sent again.
    """

    def __init__(
        self,
        destination: Destination,
        described: Mapping[str, str],
        positions: Settled,
        *,
        points: bool,
    ) -> None:
        """``described``: the resource; ``points``: whether to send them, too."""
        self.name = destination.name
        wanted = ((ALERTS, destination.logs_url), (POINTS, points and destination.metrics_url))
        self.topics: tuple[str, ...] = tuple(topic for topic, url in wanted if url)
        self._destination = destination
        self._described = described
        self._positions = positions
        self._encoder = PointsEncoder()
        self._client: httpx.Client | None = None
        self._counts = {"firings": 0, "points": 0, "unsayable": 0, "refused_requests": 0}

    def open(self, places: Collection[Partition]) -> Mapping[Partition, int]:
        """Sends a request with nothing in it: so it is known at once whether more will be taken."""
        if self._client is None:
            import httpx  # late: it takes 50 ms, and most servers send to nobody

            certificate = self._destination.certificate
            context = httpx.create_ssl_context(verify=certificate or True)
            self._client = httpx.Client(timeout=TIMEOUT_S, verify=context)
        to = self._destination
        self._post(to.logs_url or to.metrics_url or to.traces_url, b"")
        return self._positions.load(places)

    def begin_ms(self, topic: str, now_ms: int) -> int | None:  # noqa: ARG002
        """What was before it was configured is nobody's to send."""
        return now_ms

    def apply(self, records: Sequence[Record], positions: Mapping[Partition, int]) -> None:
        """Points first; each request holds at most 2 MiB."""
        for record in records:
            if record.topic == POINTS:
                self._send_points(record)
        lines = [line for one in records if one.topic == ALERTS and (line := log_record(one))]
        if lines:
            self._send(self._destination.logs_url, b"".join(lines))
            self._counts["firings"] += len(lines)
        self._positions.acknowledged(positions)

    def refill(self, gap: Gap) -> bool:  # noqa: ARG002
        """Never: it is told live, or not at all."""
        return False

    def counts(self) -> Mapping[str, int]:
        """``unsayable``: points of times that OTLP has no number for."""
        return dict(self._counts)

    def close(self) -> None:
        """Lets the connection go."""
        if self._client is not None:
            self._client.close()
        self._positions.close()

    def _send_points(self, record: Record) -> None:
        event = decode_record(record).event
        if not isinstance(event, Event) or not isinstance(event.data, MetricsCollected):
            return  # a tick, or what nobody can read
        left = len(event.data.batch)
        for content, count in self._encoder.scopes(event.data.batch):
            self._send(self._destination.metrics_url, content)
            self._counts["points"] += count
            left -= count
        self._counts["unsayable"] += left

    def _send(self, url: str, content: bytes) -> None:
        self._post(url, wire.envelope(self._described, content))

    def _post(self, url: str, body: bytes) -> None:
        import httpx  # it is loaded already

        assert self._client is not None
        headers = {**self._destination.headers, "content-type": "application/x-protobuf"}
        if self._destination.gzip:
            body = gzip.compress(body, 1)
            headers["content-encoding"] = "gzip"
        try:
            answer = self._client.post(url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise SinkError(f"{url} does not answer: {type(error).__name__}") from error
        status = answer.status_code
        if status < 300:
            return
        said = f"{url} answers {status}"
        if status >= 500 or status in _AGAIN or status in _MISCONFIGURED:
            after_s = _retry_after_s(answer.headers.get("retry-after", ""))
            raise SinkError(said, retry_after_s=after_s)
        self._counts["refused_requests"] += 1
        _log.warning("%s; left out. It says: %s", said, answer.text[:_SAID_CHARS_MAX])


def _retry_after_s(text: str) -> float:
    """RFC 9110, 10.2.3: seconds, or a date."""
    try:
        if text.isdigit():
            return min(float(text), RETRY_AFTER_S_MAX)
        at_s = parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0
    return min(max(at_s - wall_clock_ms() / 1000, 0.0), RETRY_AFTER_S_MAX)


def _positions(log: ServerLog, settings: Settings, to: Destination) -> PositionStore:
    """A file where one process sends; on Kafka what outlives a worker and moves to the next."""
    named = f"{log.log_id} {to.logs_url} {to.metrics_url}".encode()
    belongs = blake2b(named, digest_size=8).hexdigest()
    if isinstance(log, SqliteLog):
        return PositionFile(settings.data_dir / f"{to.name}.position.json", belongs)
    # Late: the embedded server needs no Kafka client in memory.
    from streams.log.kafka_offsets import KafkaOffsets

    return KafkaOffsets(log.config, f"{log.config.prefix}sink-{to.name}-{belongs}")
