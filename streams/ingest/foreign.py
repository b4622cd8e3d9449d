"""What a message on an ingest topic says: its good points, and what of it is a dead letter.

Pure: the same message gives the same on every reading (its points without a time get its own), so a
message that is read again has the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streams.errors import InputError, PoisonError
from streams.events.catalogue import DeadLettered
from streams.events.codec import parse_iso_time
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.json_points import parse_body
from streams.ingest.line_protocol import parse_lines
from streams.ingest.line_syntax import lines
from streams.ingest.parsed import Parsed
from streams.ingest.pseudonyms import Pseudonyms
from streams.ingest.timestamps import FUTURE_MS_MAX
from streams.log.protocol import HEADER_BYTES_MAX, Record
from streams.processors.deadletter import dead_letter

TIME_HEADER: Final = "ce_time"
"""Of a message: the time of its points that state none, instead of its own (RFC 3339)."""

REASONS_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Understood:
    """``parsed``: None where nothing of the message could be read; it may have no points.

    ``dead``: what of it was refused and why, in a form that can be corrected and sent again.
    """

    at_ms: int
    parsed: Parsed | None
    dead: DeadLettered | None


def understand(
    topic: IngestTopic, record: Record, now_ms: int, pseudonyms: Pseudonyms | None = None
) -> Understood:
    """Reads one message; never raises for what it holds. ``now_ms`` only bounds its own time."""
    at_ms = _received_ms(record, now_ms)
    try:
        if not record.body.strip():
            raise InputError("the message is empty")
        if topic.format == "json":
            parsed = parse_body(record.body, at_ms)
        else:
            parsed = parse_lines(record.body, at_ms, source=topic.name, precision=topic.precision)
        if pseudonyms is not None:
            parsed = pseudonyms.of(parsed)
    except InputError as error:
        return Understood(at_ms, None, _dead(topic, record, str(error), record.body))
    return Understood(at_ms, parsed, refused(topic, record, parsed))


def refused(topic: IngestTopic, record: Record, parsed: Parsed) -> DeadLettered | None:
    """The bad points alone, as a message in the topic's format; None where there are none."""
    if not parsed.rejected_count:
        return None
    what = "point" if topic.format == "json" else "line"
    told = [f"{what} {one.index}: {one.reason}" for one in parsed.rejected[:REASONS_TOLD]]
    if parsed.rejected_count > len(told):
        told.append("…")
    taken = "the others were taken" if len(parsed.batch) else "none was taken"
    reason = f"{parsed.rejected_count} refused, {taken}: {'; '.join(told)}"
    body = (_bad_points if topic.format == "json" else _bad_lines)(record.body, parsed)
    return _dead(topic, record, reason, body)


def _received_ms(record: Record, now_ms: int) -> int:
    """The message's time; the clock's where it has none that could be."""
    at_ms = record.at_ms if 0 < record.at_ms <= now_ms + FUTURE_MS_MAX else now_ms
    try:
        return max(0, min(at_ms, parse_iso_time(record.headers.get(TIME_HEADER, ""))))
    except (PoisonError, OverflowError):
        return at_ms


def _dead(topic: IngestTopic, record: Record, reason: str, body: bytes) -> DeadLettered:
    """With the topic's own name, and without headers if they are too large to be kept."""
    headers = _small(record.headers)
    lain = replace(record, topic=topic.name, headers=headers, body=body)
    dead = dead_letter(lain, reason).data
    assert isinstance(dead, DeadLettered)
    return dead


def _small(headers: Mapping[str, str]) -> Mapping[str, str]:
    size = sum(len(name.encode()) + len(text.encode()) for name, text in headers.items())
    return headers if size <= HEADER_BYTES_MAX else {}


def _bad_points(body: bytes, parsed: Parsed) -> bytes:
    sent = json.loads(body)
    good = _indices(parsed)
    bad = [point for i, point in enumerate(sent["metrics"]) if i not in good]
    # Under its request_id the corrected message would be taken for a repeat.
    return json.dumps({"source": sent["source"], "metrics": bad}, ensure_ascii=True).encode()


def _bad_lines(body: bytes, parsed: Parsed) -> bytes:
    good = _indices(parsed)
    told = {one.index for one in parsed.rejected}
    bad: Sequence[str] = [
        sent
        for number, sent, line in lines(body.decode("utf-8", "surrogateescape"))
        if number in told or (number not in good and (isinstance(line, str) or line.fields))
    ]
    return "\n".join(bad).encode("utf-8", "surrogateescape")


def _indices(parsed: Parsed) -> set[int]:
    if parsed.indices is None:
        return set(range(len(parsed.batch)))
    return set(parsed.indices.tolist())
