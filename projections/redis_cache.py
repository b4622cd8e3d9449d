"""`RedisSink`: the newest sample of each series, the state of alerts and targets, and channels.

Rows and positions are written together, and only where the positions are those that this process
knows: so each record counts exactly once, also where two processes believe that they have the
partition. A Redis that lost everything begins again: with the alerts and targets from the log's
start, with samples as far back as they would be kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from projections.redis_rows import Command, Newest, RedisRows
from projections.redis_script import APPLY
from projections.refill import Refill
from projections.sink import Gap
from projections.source import Partition
from streams.errors import SinkError
from streams.events.batch import MetricBatch
from streams.events.topics import ALERTS, HEALTH_RESULTS, POINTS
from streams.log.protocol import Record
from streams.log.wall_clock import wall_clock_ms
from streams.processors.outputs import is_repeat, output_of

SAMPLES_MAX: Final = 2_000
"""Of one script: Redis does nothing else meanwhile, for some milliseconds."""
TIMEOUT_S: Final = 5.0

_WORDS_MAX = 200


class RedisSink:
    """A `Sink`."""

    name = "redis"
    topics: tuple[str, ...] = (POINTS, ALERTS, HEALTH_RESULTS)

    def __init__(
        self,
        url: str,
        log_id: str,
        *,
        prefix: str = "logfire:",
        ttl_s: int = 86_400,
        refill: Refill | None = None,
    ) -> None:
        """``ttl_s``: how long after its time a sample, a check, or an alert that is over is kept.
        ``refill``: what the log no longer holds; None where this process has no read model."""
        self._url = url
        self._log_id = log_id
        self._prefix = prefix
        self._ttl_ms = ttl_s * 1_000
        self._refill = refill
        self._client: Any = None
        self._stored: dict[Partition, str] = {}
        self._marks: dict[Partition, dict[str, int]] = {}
        self._counts = {"written": 0, "repeats": 0}

    def open(self, places: Collection[Partition]) -> Mapping[Partition, int]:
        if self._client is None:
            import redis  # late: 5 MB that nobody pays who has no Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            self._client = redis.Redis.from_url(
                self._url,
                decode_responses=True,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),  # the pump tries again, from what is stored
            )
        self._stored, self._marks = {}, {}
        found = {}
        if listed := sorted(places):
            told = self._asked("MGET", *(self._position_key(place) for place in listed))
            for place, text in zip(listed, told, strict=True):
                self._stored[place] = text or ""
                if (known := self._read(text)) is not None:
                    found[place], self._marks[place] = known
        else:
            self._asked("PING")
        return found

    def begin_ms(self, topic: str, now_ms: int) -> int | None:
        return now_ms - self._ttl_ms if topic == POINTS else None

    def apply(self, records: Sequence[Record], positions: Mapping[Partition, int]) -> None:
        rows = RedisRows()
        marks = {place: dict(self._marks.get(place, {})) for place in positions}
        repeats = 0
        for record in records:
            if self._is_repeat(record, marks[record.topic, record.partition]):
                repeats += 1
            else:
                rows.absorb(record)
        texts = {
            place: json.dumps({"offset": at, "log": self._log_id, "marks": marks[place]})
            for place, at in positions.items()
        }
        channel = f"{self._prefix}metrics"
        listened = bool(rows.samples) and bool(self._asked("PUBSUB", "NUMSUB", channel)[1])
        self._write(rows, texts, samples_told=listened)
        self._stored |= texts
        self._marks |= marks
        self._counts["repeats"] += repeats

    def refill(self, gap: Gap) -> bool:
        if self._refill is None or not self._refill.reaches(gap.topic, gap.partition, gap.end):
            return False
        rows = RedisRows()
        if gap.topic == POINTS:
            batch: MetricBatch = self._refill.latest(gap.partition)
            rows.add_samples(batch)
        elif gap.topic == HEALTH_RESULTS:
            for each in self._refill.targets():
                if each.since_ms is not None:
                    rows.states[each.target.name] = {
                        "state_after": each.state,
                        "at_ms": each.since_ms,
                        "reason": each.reason,
                        "suppressed_by": each.suppressed_by,
                    }
                if each.last is not None:
                    rows.last[each.target.name] = {
                        "at_ms": each.last.at_ms,
                        "cause": each.last.cause,
                        "latency_ms": each.last.latency_ms,
                    }
        else:
            return False  # the log keeps what was decided and told for ever
        self._write(rows, {}, samples_told=False)
        return True

    def counts(self) -> Mapping[str, int]:
        """``repeats``: records of processors that were absorbed before."""
        return dict(self._counts)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _write(
        self, rows: RedisRows, texts: Mapping[Partition, str], *, samples_told: bool
    ) -> None:
        """Positions move with the last rows; those before them may be written twice, without
        effect."""
        now_ms = wall_clock_ms()
        kept = [
            (text, one)
            for text, one in rows.samples.items()
            if min(one.at_ms, now_ms) + self._ttl_ms > now_ms
        ]
        while len(kept) > SAMPLES_MAX:
            part, kept = kept[:SAMPLES_MAX], kept[SAMPLES_MAX:]
            unmoved = {place: self._stored[place] for place in texts}
            self._run(unmoved, self._sample_words(part, now_ms), ())
            self._counts["written"] += len(part)
        commands = (
            *rows.alert_commands(self._prefix, self._ttl_ms),
            *rows.health_commands(self._prefix, self._ttl_ms),
            *rows.messages(self._prefix, samples=samples_told),
        )
        self._run(texts, self._sample_words(kept, now_ms), commands)
        self._counts["written"] += len(kept) + len(rows.transitions) + len(rows.last)

    def _run(
        self, texts: Mapping[Partition, str], samples: Sequence[str], commands: Sequence[Command]
    ) -> None:
        places = sorted(texts)
        words = [
            *(self._stored[place] for place in places),
            *(texts[place] for place in places),
            *samples,
            *(word for command in commands for word in (str(len(command)), *command)),
        ]
        keys = [self._position_key(place) for place in places]
        if self._asked("EVAL", APPLY, len(keys), *keys, *words) == 0:
            raise SinkError("Redis holds other positions than were written: they are read again")

    def _sample_words(self, samples: Sequence[tuple[str, Newest]], now_ms: int) -> list[str]:
        words = [str(len(samples))]
        for text, one in samples:
            expires = min(one.at_ms, now_ms) + self._ttl_ms
            key = f"{self._prefix}last:{text}"
            words += (key, str(one.at_ms), one.value, one.type, one.unit, str(expires))
        return words

    def _asked(self, *words: Any) -> Any:
        from redis.exceptions import RedisError  # late, as above

        try:
            return self._client.execute_command(*words)
        except (RedisError, OSError) as error:
            told = " ".join(str(error).split())
            for secret in _secrets(self._url):
                told = told.replace(secret, "…")
            raise SinkError(f"Redis: {told[:_WORDS_MAX]}") from None

    def _is_repeat(self, record: Record, marks: dict[str, int]) -> bool:
        """A processor's output that it appended again, after a crash or beside its successor."""
        output = output_of(record)
        if output is None:
            return False
        maker = f"{output.maker[0]}/{output.maker[1]}"
        if is_repeat({output.maker: marks[maker]} if maker in marks else {}, output):
            return True
        marks[maker] = output.number
        return False

    def _position_key(self, place: Partition) -> str:
        return f"{self._prefix}position:{place[0]}/{place[1]}"

    def _read(self, text: str | None) -> tuple[int, dict[str, int]] | None:
        """Offset and marks; None where there is no position, or it is another log's."""
        try:
            told = json.loads(text or "null")
            if told is None or told["log"] != self._log_id:
                return None
            return int(told["offset"]), {str(k): int(v) for k, v in told["marks"].items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            return None


def _secrets(url: str) -> Iterator[str]:
    if password := urlsplit(url).password:
        yield password
