"""A record that cannot be understood becomes `DeadLettered`, and the pipeline goes on."""

from __future__ import annotations

import json

from streams.events.catalogue import DeadLettered
from streams.events.topics import DEADLETTER
from streams.log.protocol import BODY_BYTES_MAX, Record
from streams.processors.seam import Out

REASON_CHARS_MAX = 1_000


def dead_letter(record: Record, reason: str) -> Out:
    """The record as it was, where it lay, and why.

    The body travels as base64 inside JSON; of one too large for that the beginning is kept and the
    reason says how much (the whole still lies at its offset in its topic).
    """
    reason = reason.encode("utf-8", "replace").decode()[:REASON_CHARS_MAX]
    headers = dict(record.headers)
    # base64 makes 4 bytes of 3; 1,024 are for the reason's suffix and the other fields
    around = len(json.dumps([record.topic, reason, headers])) + 1_024
    room = max(0, BODY_BYTES_MAX - around) // 4 * 3
    body = record.body
    if len(body) > room:
        reason += f" (the first {room:,} of {len(body):,} bytes of the body are kept here)"
        body = body[:room]
    dead = DeadLettered(record.topic, record.partition, record.offset, reason, headers, body)
    return Out(DEADLETTER, dead, record)
