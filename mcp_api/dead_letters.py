"""Dead letters as JSON lines that a person can correct, and corrected ones read again.

``{"topic", "partition", "offset", "reason", "time", "headers", "body"}``; a body that is not UTF-8
is ``body_base64`` instead. To send one again takes ``topic`` and the body; the rest may be left
out, and is otherwise kept: ``time`` is that of points which state none.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.errors import InputError, PoisonError
from streams.events.catalogue import DeadLettered
from streams.events.codec import decode, iso_time, parse_iso_time
from streams.events.slices import SLICES_HEADER
from streams.ingest.parsed import shown
from streams.log.protocol import Record


@dataclass(frozen=True, slots=True)
class Corrected:
    """A message to be sent again. ``time_ms``: None where the line says none."""

    topic: str
    body: bytes
    partition: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    time_ms: int | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    body: str | None = None
    body_base64: str | None = None
    partition: int = 0
    offset: int = 0
    reason: str = ""
    time: str | None = None
    headers: dict[str, str] = {}


def dead_line(record: Record) -> str:
    """A record of ``deadletter`` as one line without its end; of one that is no dead letter itself
    the line says that."""
    try:
        event = decode(record.headers, record.body)
        dead = event.data
        if not isinstance(dead, DeadLettered):
            raise PoisonError(f"{record.headers['ce_type']} does not belong on {record.topic}")
        time_ms = event.envelope.time_ms
    except PoisonError as error:
        place = (record.topic, record.partition, record.offset)
        dead = DeadLettered(*place, str(error), dict(record.headers), record.body)
        time_ms = record.at_ms
    line: dict[str, Any] = {
        "topic": dead.topic,
        "partition": dead.partition,
        "offset": dead.offset,
        "reason": dead.reason,
        "time": iso_time(time_ms),
        "headers": dead.headers,
    }
    try:
        line["body"] = dead.body.decode()
    except UnicodeDecodeError:
        line["body_base64"] = base64.b64encode(dead.body).decode()
    return msgspec.json.encode(line).decode()


def read_corrected(line: bytes) -> Corrected:
    """`InputError` with what is wrong with the line."""
    try:
        told = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"the line is none of `tail --dead --json`: {error}") from error
    if (told.body is None) == (told.body_base64 is None):
        raise InputError("the line has to have body (text) or body_base64, one of them")
    try:
        body = (
            told.body.encode()
            if told.body is not None
            else base64.b64decode(told.body_base64 or "", validate=True)
        )
        time_ms = None if told.time is None else parse_iso_time(told.time)
    except (binascii.Error, UnicodeError, PoisonError) as error:
        raise InputError(f"body or time cannot be read: {error}") from error
    if told.partition < 0:
        raise InputError(f"partition is {shown(told.partition)}")
    headers = {name: text for name, text in told.headers.items() if name != SLICES_HEADER}
    return Corrected(told.topic, body, told.partition, headers, time_ms)
