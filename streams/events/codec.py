"""Events to messages and back: CloudEvents 1.0 in binary mode (attributes in ``ce_*`` headers).

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, cast

import msgspec

from streams.errors import PoisonError
from streams.events import alerting, health, rules
from streams.events.alerting import SamplesRouted
from streams.events.batch import AT_MS_MAX, decode_batch, encode_batch
from streams.events.catalogue import (
    DeadLettered,
    Envelope,
    Event,
    EventData,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.upcast import UPCASTERS
from streams.events.window import decode_windows, encode_windows
from streams.log.protocol import Message

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"

COLLECTED = "metrics.collected.v1"
TICKED = "clock.ticked.v1"
WINDOW_CLOSED = "metrics.window_closed.v1"
WINDOW_AMENDED = "metrics.window_amended.v1"
DEAD_LETTERED = "deadletter.recorded.v1"
SAMPLES_ROUTED = "rules.samples_routed.v1"
TICK_ROUTED = "rules.tick_routed.v1"

_OPTIONAL = {
    "actor": "actor",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
    "traceparent": "traceparent",
}
_KINDS = {**rules.WIRE_NAMES, **alerting.WIRE_NAMES, **health.WIRE_NAMES}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_TYPE = re.compile(r"([a-z_.]+)\.v([1-9][0-9]{0,5})")
_COUNT = re.compile(r"[0-9]{1,18}")
_MALFORMED = (
    ValueError,
    TypeError,
    AttributeError,  # these two from an upcaster that misses something
    LookupError,
    RecursionError,
    msgspec.MsgspecError,
)


class _Ticked(msgspec.Struct, frozen=True):
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=AT_MS_MAX)]


class _DeadLettered(msgspec.Struct, frozen=True):
    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    reason: str
    headers: dict[str, str]
    body: str


def encode(event: Event) -> Message:
    """The message of an event; its body is at most 1 MiB (the makers of events see to that)."""
    wire_type, content_type, extra, body = _encode_data(event.data)
    envelope = event.envelope
    headers = {
        "ce_specversion": "1.0",
        "ce_id": envelope.id,
        "ce_type": wire_type,
        "ce_source": envelope.source,
        "ce_time": iso_time(envelope.time_ms),
        "content-type": content_type,
        **extra,
    }
    for name, header in _OPTIONAL.items():
        if value := getattr(envelope, name):
            headers[f"ce_{header}" if header != "traceparent" else header] = value
    return Message(headers, body)


def decode(headers: Mapping[str, str], body: bytes) -> Event:
    """The event of a record's headers and body.

    Raises `PoisonError` with the reason where they are not an event of the catalogue.
    """
    wire_type = headers.get("ce_type", "")
    match = _TYPE.fullmatch(wire_type)
    if match is None:
        raise PoisonError(f"ce_type is {wire_type!r}; expected name.vN")
    data = _decode_data(match[1], int(match[2]), headers, body)
    optional = {
        name: headers.get(f"ce_{header}" if header != "traceparent" else header, "")
        for name, header in _OPTIONAL.items()
    }
    envelope = Envelope(
        id=headers.get("ce_id", ""),
        source=headers.get("ce_source", ""),
        time_ms=parse_iso_time(headers.get("ce_time", "")),
        **optional,
    )
    if not envelope.id or not envelope.source:
        raise PoisonError("ce_id or ce_source is missing")
    return Event(envelope, data)


def iso_time(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds.

    >>> iso_time(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def parse_iso_time(text: str) -> int:
    """Unix milliseconds of `iso_time`'s text; `PoisonError` for anything without an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise PoisonError(f"ce_time is {text!r}; expected RFC 3339") from error
    if moment.tzinfo is None:
        raise PoisonError(f"ce_time is {text!r}: it has no offset")
    return round(moment.timestamp() * 1000)


def _encode_data(data: EventData) -> tuple[str, str, dict[str, str], bytes]:
    match data:
        case MetricsCollected(batch):
            return COLLECTED, ARROW, {}, encode_batch(batch)
        case WindowClosed(windows, duplicates):
            extra = {"duplicates": str(duplicates)}
            return WINDOW_CLOSED, ARROW, extra, encode_windows(windows)
        case WindowAmended(windows, duplicates):
            extra = {"duplicates": str(duplicates)}
            return WINDOW_AMENDED, ARROW, extra, encode_windows(windows)
        case Ticked(at_ms):
            return TICKED, JSON, {}, msgspec.json.encode(_Ticked(at_ms))
        case DeadLettered(topic, partition, offset, reason, headers, body):
            text = base64.b64encode(body).decode()
            dead = _DeadLettered(topic, partition, offset, reason, headers, text)
            return DEAD_LETTERED, JSON, {}, msgspec.json.encode(dead)
        case SamplesRouted(batch, source, position):
            extra = {"source": str(source), "position": str(position)}
            return SAMPLES_ROUTED, ARROW, extra, encode_batch(batch)
        case _:
            return _NAMES[type(data)], JSON, {}, msgspec.json.encode(data)


def _decode_data(name: str, version: int, headers: Mapping[str, str], body: bytes) -> EventData:
    wire_type = f"{name}.v{version}"
    match wire_type:
        case "metrics.collected.v1":
            return MetricsCollected(decode_batch(body))
        case "metrics.window_closed.v1":
            return WindowClosed(decode_windows(body), _count(headers, "duplicates"))
        case "metrics.window_amended.v1":
            return WindowAmended(decode_windows(body), _count(headers, "duplicates"))
        case "rules.samples_routed.v1":
            source, position = _count(headers, "source"), _count(headers, "position")
            return SamplesRouted(decode_batch(body), source, position)
    try:
        plain = json.loads(body)
        version, plain = UPCASTERS.upcast(name, version, plain)
        newest = f"{name}.v{version}"
        if newest in _KINDS:
            return cast("EventData", msgspec.convert(plain, _KINDS[newest]))
        match newest:
            case "clock.ticked.v1":
                return Ticked(msgspec.convert(plain, _Ticked).at_ms)
            case "deadletter.recorded.v1":
                dead = msgspec.convert(plain, _DeadLettered)
                original = base64.b64decode(dead.body, validate=True)
                return DeadLettered(
                    dead.topic, dead.partition, dead.offset, dead.reason, dead.headers, original
                )
    except _MALFORMED as error:
        raise PoisonError(f"the body of {wire_type} is not valid: {error}") from error
    raise PoisonError(f"unknown event type {wire_type!r}: written by a newer version?")


def _count(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "0")
    if _COUNT.fullmatch(text) is None:
        raise PoisonError(f"header {name} is {text!r}; expected a count")
    return int(text)
