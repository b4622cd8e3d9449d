"""`InfluxSink`: windows, by choice samples, in InfluxDB or what speaks its v2 write API.

https://docs.influxdata.com/influxdb/v2/api/#operation/PostWrite The same row written again changes
nothing, so every row is written at least once: the position that is kept is one whose rows were
acknowledged some seconds ago, and from there everything is written again after each outage.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from projections.fold import decode_record
from projections.influx_lines import point_lines, window_lines
from projections.refill import Refill
from projections.sink import Gap
from projections.sink_positions import Settled
from projections.source import Partition
from streams.errors import SinkError
from streams.events.catalogue import Event, MetricsCollected, WindowAmended, WindowClosed
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Record

Writes = Literal["windows", "points", "both"]

LINES_MAX: Final = 5_000
"""Of one request, as InfluxDB recommends."""
ATTEMPTS_MAX: Final = 64
"""Requests to find the lines of a batch that are refused; what is left of it is left out then."""
SINGLES_MAX: Final = 3
TIMEOUT_MS: Final = 10_000
RETRY_AFTER_S_MAX: Final = 300.0

_REFUSED = frozenset({400, 413, 422})
_WORDS_MAX = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InfluxTarget:
    """Where to. ``token`` "": none is sent."""

    url: str = field(repr=False)
    token: str = field(repr=False)
    org: str
    bucket: str


class InfluxSink:
    """A `Sink`."""

    name = "influxdb"

    def __init__(
        self,
        target: InfluxTarget,
        positions: Settled,
        *,
        writes: Writes = "windows",
        refill: Refill | None = None,
    ) -> None:
        """``refill``: what the log no longer holds; None where this process has no read model."""
        kinds = {"windows": (WINDOWS,), "points": (POINTS,), "both": (POINTS, WINDOWS)}
        self.topics: tuple[str, ...] = kinds[writes]
        self._target = target
        self._positions = positions
        self._refill = refill
        self._client: Any = None
        self._writer: Any = None
        self._port = self._served = self._singles = 0
        self._counts = {"written": 0, "refused": 0, "unwritable": 0}

    def open(self, places: Collection[Partition]) -> Mapping[Partition, int]:
        if self._client is None:
            # Late: 11 MB and 0.2 s that nobody pays who has no InfluxDB.
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS
            from urllib3 import Retry

            target = self._target
            self._client = InfluxDBClient(
                target.url, target.token, org=target.org, timeout=TIMEOUT_MS, retries=Retry(0)
            )
            self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._port, self._served = self._own_port(), 0
        return self._positions.load(places)

    def begin_ms(self, topic: str, now_ms: int) -> int | None:  # noqa: ARG002
        return None

    def apply(self, records: Sequence[Record], positions: Mapping[Partition, int]) -> None:
        lines: list[str] = []
        for record in records:
            event = decode_record(record).event
            match event:
                case Event(_, MetricsCollected(batch)):
                    lines += self._counted(point_lines(batch))
                case Event(_, WindowClosed(windows, _)):
                    lines += self._counted(window_lines(windows, amended=False))
                case Event(_, WindowAmended(windows, _)):
                    lines += self._counted(window_lines(windows, amended=True))
                case _:
                    pass  # ticks and rules; what nobody can read is a dead letter already
            if len(lines) >= LINES_MAX:
                self._write(lines)
                lines = []
        self._write(lines)
        self._positions.acknowledged(positions)

    def refill(self, gap: Gap) -> bool:
        if self._refill is None or not self._refill.reaches(gap.topic, gap.partition, gap.end):
            return False
        if gap.topic == WINDOWS:
            for windows, amended in self._refill.windows(gap.partition, gap.first, gap.end):
                self._write(self._counted(window_lines(windows, amended)))
        else:
            for batch in self._refill.points(gap.partition, gap.after_ms, gap.before_ms):
                self._write(self._counted(point_lines(batch)))
        return True

    def counts(self) -> Mapping[str, int]:
        """``refused``: by the database; ``unwritable``: NaN, infinities, times out of range."""
        return dict(self._counts)

    def close(self) -> None:
        self._positions.close()
        if self._client is not None:
            self._client.close()

    def _counted(self, told: tuple[list[str], int]) -> list[str]:
        lines, left_out = told
        self._counts["unwritable"] += left_out
        return lines

    def _write(self, lines: Sequence[str]) -> None:
        for chunk in _chunks(lines, LINES_MAX):
            refused = self._post_parts(chunk)
            self._counts["written"] += len(chunk) - refused
            self._counts["refused"] += refused

    def _post_parts(self, lines: Sequence[str]) -> int:
        """Writes all lines that are taken; the number of those that are refused."""
        waiting, refused, attempts = [lines], 0, 0
        while waiting:
            part = waiting.pop()
            attempts += 1
            reason = self._post(part)
            if not reason:
                continue
            if len(part) > 1 and attempts < ATTEMPTS_MAX:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            if not refused:
                _log.error("InfluxDB refuses %.200r: %s", part[0], reason)
            refused += len(part)
        return refused

    def _post(self, lines: Sequence[str]) -> str:
        """ "" where they were taken, why where they were refused; `SinkError` for all else."""
        from influxdb_client.rest import ApiException  # late, as above
        from urllib3.exceptions import HTTPError

        body = "\n".join(lines).encode()
        try:
            self._writer.write(self._target.bucket, self._target.org, body)
        except ApiException as error:
            words = self._said(error.message or error.reason or "")
            if error.status in _REFUSED:
                return f"{error.status} {words}"
            raise SinkError(
                f"InfluxDB answers {error.status} {words}", retry_after_s=_retry_after_s(error)
            ) from None
        except (HTTPError, OSError) as error:
            raise SinkError(f"InfluxDB cannot be reached: {self._said(str(error))}") from None
        self._require_same_connection()
        return ""

    def _require_same_connection(self) -> None:
        """`SinkError` where a connection was replaced that rows were written on: a server that was
        started again may have lost what it had acknowledged, and urllib3 connects again in silence.
        A server that ends every connection after one request is not taken for that for long."""
        port, served = self._own_port(), self._served
        if port == self._port:
            self._served += 1
            self._singles = 0 if served else self._singles
            return
        self._port, self._served = port, 1
        if served == 0 or port == 0 or (served == 1 and self._singles >= SINGLES_MAX):
            return
        self._singles += 1 if served == 1 else 0
        raise SinkError("the connection was replaced: the last rows are written again")

    def _said(self, words: str) -> str:
        words = " ".join(words.split())
        for secret in (self._target.token, urlsplit(self._target.url).password):
            words = words.replace(secret, "…") if secret else words
        return words[:_WORDS_MAX]

    def _own_port(self) -> int:
        """Of the connection that is kept for the next request; 0 where the server said that it ends
        it. Nothing else tells one connection from the next."""
        manager = self._client.api_client.rest_client.pool_manager
        kept = manager.connection_from_url(self._target.url).pool.queue
        sockets = [one.sock for one in kept if one is not None and one.sock is not None]
        return int(sockets[-1].getsockname()[1]) if sockets else 0


def _chunks(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for begin in range(0, len(lines), size):
        yield lines[begin : begin + size]


def _retry_after_s(error: Any) -> float:
    text = (error.headers or {}).get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isdecimal() else 0.0
