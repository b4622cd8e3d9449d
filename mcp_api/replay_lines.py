"""Records of the log as text: one exact JSON line for audits, one readable line for people."""

from __future__ import annotations

import base64
import math
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import numpy as np

from streams.errors import PoisonError
from streams.events.alerting import SamplesRouted
from streams.events.batch import STALE_BITS, MetricBatch
from streams.events.catalogue import (
    DeadLettered,
    EventData,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.codec import decode, iso_time
from streams.events.labels import parse_series
from streams.events.window import WindowBatch
from streams.log.protocol import Record

_NAN_BITS = 0x7FF8000000000000
_SHOWN_MAX = 3
_TEXT_MAX = 300

_encode = msgspec.json.Encoder().encode


def audit_line(record: Record) -> bytes:
    """A record as one JSON object (no newline): where it lies, its headers, its decoded data.

    Columns are arrays. Floats are exact (shortest text that reads back the same); what JSON cannot
    say is a string: "+Inf", "-Inf", "NaN", "stale" (Prometheus' marker), "NaN:<bits>" of any other.
    A record that is no event has ``poison``, the reason, and ``body_base64``.
    """
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": iso_time(record.at_ms),
        "headers": dict(record.headers),
    }
    try:
        line["data"] = _plain(decode(record.headers, record.body).data)
    except PoisonError as error:
        line |= {"poison": str(error), "body_base64": base64.b64encode(record.body).decode()}
    return _encode(line)


def tail_line(record: Record) -> str:
    """What a record tells a person: when, where, what happened, by whom."""
    where = f"{iso_time(record.at_ms)}  {record.topic}/{record.partition}@{record.offset}"
    try:
        said = _said(decode(record.headers, record.body).data)
    except PoisonError as error:
        said = f"poison: {error}"
    actor = record.headers.get("ce_actor", "")
    line = f"{where}  {said}" + (f"  by {actor}" if actor else "")
    # Labels come from anywhere: nothing in them may steer the terminal.
    return "".join(char if char.isprintable() else "�" for char in line)


def _said(data: EventData) -> str:
    match data:
        case MetricsCollected(batch):
            return f"collected {_points(batch)}"
        case Ticked(at_ms):
            return f"tick {iso_time(at_ms)}"
        case WindowClosed(windows, _):
            return f"closed {_windows(windows)}"
        case WindowAmended(windows, _):
            return f"amended {_windows(windows)}"
        case DeadLettered(topic, partition, offset, reason, _, _):
            return f"dead letter of {topic}/{partition}@{offset}: {reason}"
        case SamplesRouted(batch, source, _):
            return f"routed from partition {source}: {_points(batch)}"
        case _:
            text = msgspec.json.encode(data).decode()
            return f"{type(data).__name__} {text[:_TEXT_MAX]}{'…' if len(text) > _TEXT_MAX else ''}"


def _points(batch: MetricBatch) -> str:
    shown = []
    for i in range(min(len(batch), _SHOWN_MAX)):
        name, labels = parse_series(batch.labels[batch.series[i]])
        tags = ",".join(f"{key}={value}" for key, value in labels.items())
        shown.append(f"{name}{{{tags}}}={batch.value[i]:g}")
    more = f" and {len(batch) - _SHOWN_MAX:,} more" if len(batch) > _SHOWN_MAX else ""
    return f"{len(batch):,} points of {len(batch.labels):,} series: {', '.join(shown)}{more}"


def _windows(batch: WindowBatch) -> str:
    size_s = batch.size_ms // 1000
    if not len(batch):
        return f"no windows of {size_s} s"
    first, last = iso_time(int(batch.start_ms.min())), iso_time(int(batch.start_ms.max()))
    span = first if first == last else f"{first} to {last}"
    return f"{len(batch):,} windows of {size_s} s from {span}"


def _plain(value: object) -> Any:
    """Dataclasses to dicts, columns to lists, floats exact."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    match value:
        case np.ndarray():
            if value.dtype.kind != "f":
                return value.tolist()
            if np.isfinite(value).all():
                return value.tolist()
            return [exact_number(number) for number in value]
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def exact_number(value: float | np.floating[Any]) -> float | str:
    """A float as JSON can say it, without loss: see `audit_line`.

    >>> exact_number(1.5), exact_number(float("-inf"))
    (1.5, '-Inf')
    """
    number = float(value)
    if math.isfinite(number):
        return number
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    bits = int(np.asarray(value, np.float64).view(np.uint64))
    if bits == STALE_BITS:
        return "stale"
    return "NaN" if bits == _NAN_BITS else f"NaN:{bits:016x}"
