"""Records as what Redis is to hold: newest samples, alerts, targets, messages. Pure.

Keys begin with a prefix, ``logfire:`` by default; times are Unix milliseconds. All are hashes::

  last:<labels as JSON>   at_ms, value (text: 1.5, NaN, +Inf, -Inf, stale), type, unit
  alert:<fingerprint>     state, since_ms, name, severity, rule_id, version, labels, annotations,
                          value, active_ms, reason; one that is over is ``inactive``
  health:<target>         state, since_ms, reason, suppressed_by; checked_ms, cause, latency_ms

Channels: ``metrics``, ``alerts``, ``health``, one JSON object a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from projections.alert_rows import AlertRows
from projections.fold import decode_record
from projections.health_rows import HealthRows
from projections.samples import is_stale
from streams.errors import PoisonError
from streams.events.batch import Floats, MetricBatch
from streams.events.catalogue import Event, MetricsCollected
from streams.events.topics import ALERTS, HEALTH_RESULTS
from streams.log.protocol import Record

Row = dict[str, Any]
Command = tuple[str, ...]

MESSAGE_SAMPLES_MAX: Final = 500

_ALERT_FIELDS = (
    "name",
    "severity",
    "rule_id",
    "version",
    "labels",
    "annotations",
    "value",
    "active_ms",
    "reason",
)
_STATE_FIELDS = ("state", "since_ms", "reason", "suppressed_by")
_LAST_FIELDS = ("checked_ms", "cause", "latency_ms")


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest sample of a series in a run of records."""

    at_ms: int
    value: str
    type: str
    unit: str


@dataclass(slots=True)
class RedisRows:
    """What a run of records says, in log order."""

    samples: dict[str, Newest] = field(default_factory=dict)
    transitions: list[Row] = field(default_factory=list)
    states: dict[str, Row | None] = field(default_factory=dict)
    last: dict[str, Row | None] = field(default_factory=dict)
    changes: list[Row] = field(default_factory=list)

    def absorb(self, record: Record) -> None:
        """Adds what a record says; one that says nothing of this, or cannot be read, adds none."""
        event = decode_record(record).event
        if isinstance(event, PoisonError):
            return
        match event:
            case Event() if record.topic == ALERTS:
                rows = AlertRows()
                if _absorbed(rows.absorb, record.offset, event):
                    self.transitions += rows.inserted.get("transitions", ())
            case Event() if record.topic == HEALTH_RESULTS:
                found = HealthRows()
                if _absorbed(found.absorb, record.partition, record.offset, event):
                    self.states |= found.replaced.get("health_states", {})
                    self.last |= found.replaced.get("health_last", {})
                    self.changes += found.inserted.get("health_changes", ())
            case Event(_, MetricsCollected(batch)):
                self.add_samples(batch)
            case _:
                pass

    def add_samples(self, batch: MetricBatch) -> None:
        """Of one series the newest stays, of two with the same time the first."""
        size = len(batch)
        if not size:
            return
        order = np.lexsort((-np.arange(size), batch.at_ms, batch.series))
        series = batch.series[order]
        ends = np.flatnonzero(np.append(series[1:] != series[:-1], True))
        rows = order[ends]
        texts = value_texts(batch.value[rows])
        for number, at_ms, value in zip(
            series[ends].tolist(), batch.at_ms[rows].tolist(), texts, strict=True
        ):
            known = self.samples.get(batch.labels[number])
            if known is None or known.at_ms < at_ms:
                one = Newest(at_ms, value, batch.types[number], batch.units[number])
                self.samples[batch.labels[number]] = one

    def alert_commands(self, prefix: str, ttl_ms: int) -> Iterator[Command]:
        """The last state of each alert; one that is over is gone after ``ttl_ms``."""
        newest = {row["fingerprint"]: row for row in self.transitions}
        for fingerprint, row in newest.items():
            key = f"{prefix}alert:{fingerprint}"
            state = {"state": row["state_after"], "since_ms": row["at_ms"]}
            yield _hset(key, state | {name: row[name] for name in _ALERT_FIELDS})
            over = row["state_after"] == "inactive"
            yield ("PEXPIREAT", key, str(row["at_ms"] + ttl_ms)) if over else ("PERSIST", key)

    def health_commands(self, prefix: str, ttl_ms: int) -> Iterator[Command]:
        """The state of each target, gone ``ttl_ms`` after its last check."""
        for target, row in self.states.items():
            key = f"{prefix}health:{target}"
            if row is None:
                yield ("HDEL", key, *_STATE_FIELDS)
                continue
            told = (row["state_after"], row["at_ms"], row["reason"], row["suppressed_by"])
            yield _hset(key, dict(zip(_STATE_FIELDS, told, strict=True)))
            yield ("PEXPIREAT", key, str(row["at_ms"] + ttl_ms))
        for target, row in self.last.items():
            key = f"{prefix}health:{target}"
            if row is None:
                yield ("HDEL", key, *_LAST_FIELDS)
                continue
            last = (row["at_ms"], row["cause"], row["latency_ms"])
            yield _hset(key, dict(zip(_LAST_FIELDS, last, strict=True)))
            yield ("PEXPIREAT", key, str(row["at_ms"] + ttl_ms))

    def messages(self, prefix: str, *, samples: bool) -> Iterator[Command]:
        """What is published; ``samples``: whether somebody listens to ``metrics``."""
        for channel, rows in (("alerts", self.transitions), ("health", self.changes)):
            for row in rows:
                plain = {name: _json_value(value) for name, value in row.items()}
                yield ("PUBLISH", f"{prefix}{channel}", _json(plain))
        told = list(self.samples.items()) if samples else []
        for begin in range(0, len(told), MESSAGE_SAMPLES_MAX):
            listed = [
                {"labels": msgspec.Raw(text.encode()), "at_ms": one.at_ms, "value": one.value}
                for text, one in told[begin : begin + MESSAGE_SAMPLES_MAX]
            ]
            yield ("PUBLISH", f"{prefix}metrics", _json({"samples": listed}))


def value_texts(values: Floats) -> list[str]:
    """The shortest text that reads back the same; ``stale``: its series has ended.

    >>> value_texts(np.array([1.5, np.nan, -np.inf]))
    ['1.5', 'NaN', '-Inf']
    """
    texts = [repr(value) for value in values.tolist()]
    for i in np.flatnonzero(~np.isfinite(values)).tolist():
        special = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[texts[i]]
        texts[i] = "stale" if is_stale(values[i : i + 1])[0] else special
    return texts


def _absorbed(absorb: Any, *event: object) -> bool:
    try:
        absorb(*event)
    except PoisonError:  # the read model counts it
        return False
    return True


def _hset(key: str, fields: Row) -> Command:
    return ("HSET", key, *(text for name, value in fields.items() for text in (name, _text(value))))


def _text(value: object) -> str:
    if isinstance(value, float):
        return value_texts(np.array([value]))[0]
    return "" if value is None else str(value)


def _json_value(value: object) -> object:
    if isinstance(value, float) and not np.isfinite(value):
        return _text(value)
    return value


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
