"""Records of the log as clients of the live feed are told them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from mcp_api.live_feed.messages import in_parts, json_text
from mcp_api.live_feed.subscriptions import Cursor, LogWanted
from mcp_api.tools.positions import absorbed_token
from projections.source import Partition
from streams.errors import PoisonError
from streams.events.catalogue import EventData, MetricsCollected, WindowAmended, WindowClosed
from streams.events.codec import decode, iso_time
from streams.log.protocol import Record

TYPE = "ce_type"


class Line(NamedTuple):
    """An event as JSON; ``copy``: one for another partition, which tells nothing new."""

    offset: int
    kind: str
    copy: bool
    text: str


def lines_of(records: Iterable[Record], takes: Callable[[str], bool]) -> list[Line]:
    """The events whose type is taken, in order. Of columns there is only how many: they may be of
    50,000 points. What cannot be read is left out: it is a dead letter."""
    lines = []
    for record in records:
        kind = record.headers.get(TYPE, "")
        if not takes(kind):
            continue
        try:
            data = decode(record.headers, record.body).data
        except PoisonError:
            continue
        told = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "at": iso_time(record.at_ms),
            "type": kind,
            "data": _told(data),
        }
        if actor := record.headers.get("ce_actor", ""):
            told["actor"] = actor
        lines.append(Line(record.offset, kind, bool(getattr(data, "copy", False)), json_text(told)))
    return lines


def changes(
    wanted: LogWanted,
    lines: list[Line],
    cursor: Cursor,
    place: Partition,
    following: int,
) -> Iterator[str]:
    """The messages, without heads, of what is wanted of a partition from its cursor to
    ``following``; each with the position after its last event."""
    chosen = [line for line in lines if wanted.takes(place[0], line.kind, copy=line.copy)]
    if not chosen:
        return
    told = 0
    for part in in_parts(line.text for line in chosen):
        told += len(part)
        at = following if told == len(chosen) else chosen[told - 1].offset + 1
        position = absorbed_token(cursor | {place: at})
        yield f'"type":"change","events":[{",".join(part)}],"position":"{position}"}}'


def _told(data: EventData) -> Any:
    match data:
        case MetricsCollected(batch):
            return {"points": len(batch), "series": len(batch.labels)}
        case WindowClosed(windows, _) | WindowAmended(windows, _):
            return {"windows": len(windows), "size_ms": windows.size_ms}
        case _:
            return data
