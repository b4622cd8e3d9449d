"""One point, read slowly and judged in full: where a request is not plain, each point gets its say.

Of two equal keys in one JSON object the last one counts, as in every common JSON reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Final

from streams.events.batch import METRIC_TYPES, STALE, MetricType
from streams.ingest.parsed import shown
from streams.ingest.series_cache import Entry, make_entry
from streams.ingest.timestamps import ABSENT, time_ms

FIELDS: Final = ("name", "value", "metric_type", "tags", "timestamp", "unit")
SPECIAL_VALUES: Final = {
    "NaN": float("nan"),
    "Inf": float("inf"),
    "+Inf": float("inf"),
    "-Inf": float("-inf"),
    "StaleNaN": STALE,
}
"""JSON has no numbers for these: they are sent as strings, spelt as Prometheus spells them."""

_TYPES = ", ".join(MetricType)
_SPECIAL = ", ".join(f'"{text}"' for text in SPECIAL_VALUES)


@dataclass(frozen=True, slots=True)
class Point:
    """A good point; ``stated_ms`` is `ABSENT` where it states no time."""

    entry: Entry
    value: float
    stated_ms: int


def read_point(sent: object, source: str) -> Point:
    """The point; `ValueError` with one sentence: the field, what was got, what is valid."""
    if not isinstance(sent, Mapping):
        raise ValueError(f"the point is {shown(sent)}; expected an object with name, value, …")
    for key in sent:
        if key not in FIELDS:
            raise ValueError(unknown_field(key, FIELDS))
    for field in ("name", "value", "metric_type"):
        if field not in sent:
            raise ValueError(f"{field} is missing; a point has name, value and metric_type")
    entry = read_series(
        source, sent["name"], sent.get("tags"), sent["metric_type"], sent.get("unit")
    )
    return Point(entry, _value(sent["value"]), stated_ms(sent.get("timestamp")))


def read_series(
    source: str, name: object, tags: object, metric_type: object, unit: object
) -> Entry:
    """The series of what somebody states; `ValueError` with one sentence, as `read_point`."""
    if not isinstance(name, str):
        raise ValueError(f"name is {shown(name)}; expected a string")
    if not isinstance(metric_type, str) or metric_type not in METRIC_TYPES:
        raise ValueError(f"metric_type is {shown(metric_type)}; expected one of {_TYPES}")
    if unit is not None and not isinstance(unit, str):
        raise ValueError(f"unit is {shown(unit)}; expected a string")
    return make_entry(source, name, _tags(tags), metric_type, unit)


def stated_ms(timestamp: object) -> int:
    """Unix milliseconds of a point's timestamp, `ABSENT` for None; `ValueError` otherwise."""
    if timestamp is None:
        return ABSENT
    if isinstance(timestamp, bool) or not isinstance(timestamp, str | int | float):
        raise ValueError(
            f"timestamp is {shown(timestamp)}; expected ISO 8601 with offset, or Unix seconds"
        )
    return time_ms(timestamp)


def unknown_field(got: object, valid: tuple[str, ...]) -> str:
    """One sentence that refuses a field by name.

    >>> unknown_field("metric_typ", FIELDS)
    'unknown field "metric_typ"; did you mean "metric_type"?'
    """
    near = get_close_matches(str(got)[:64].lower(), valid, 1)
    hint = f'did you mean "{near[0]}"?' if near else f"valid fields: {', '.join(valid)}"
    return f"unknown field {shown(got)}; {hint}"


def _value(value: object) -> float:
    if isinstance(value, str):
        if value in SPECIAL_VALUES:
            return SPECIAL_VALUES[value]
        raise ValueError(f"value is {shown(value)}; expected a JSON number, or one of {_SPECIAL}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"value is {shown(value)}; expected a JSON number, or one of {_SPECIAL}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise ValueError(
            f"value is no number that 64-bit floats reach; expected one, or one of {_SPECIAL}"
        )
    return number


def _tags(tags: object) -> dict[str, str]:
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise ValueError(f"tags is {shown(tags)}; expected an object of strings")
    for tag, text in tags.items():
        if not isinstance(tag, str) or not isinstance(text, str):
            raise ValueError(f"tag {shown(tag)} is {shown(text)}; expected a string: put quotes")
    return dict(tags)
