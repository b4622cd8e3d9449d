"""Names for a Prometheus exposition: legal in every version, unique, and clean for its linter.

`promtool check metrics` wants counters to end in ``_total``, nothing else to, snake_case, no metric
types and no abbreviated or derived units among a name's parts
(https://prometheus.io/docs/practices/naming/). Values are never rescaled, so a part that the linter
reads as such a unit is joined to its neighbour: ``latency_ms`` becomes ``latencyms``. HELP keeps
the name as it was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

from streams.events.batch import OBSERVATIONS, MetricType

_ABBREVIATIONS = frozenset(
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"]
)
_TYPE_WORDS = frozenset([*MetricType, "untyped"])
_BASE_UNITS = (
    *("amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres"),
    *("seconds", "volts"),
)
_OTHER_UNITS = (
    *("minutes", "hours", "days", "weeks", "kelvins", "fahrenheit", "rankine", "inches"),
    *("yards", "miles", "bits", "calories", "pounds", "ounces"),
)
_PREFIXES = (
    *("pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi"),
    *("mega", "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi"),
)
_DERIVED_UNITS = frozenset(
    [*_OTHER_UNITS, *(p + u for p in _PREFIXES for u in (*_BASE_UNITS, *_OTHER_UNITS))]
)
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
_CAMEL = re.compile(r"([a-z])([A-Z])")
_FOREIGN_SUFFIXES = ("_total", "_count", "_sum", "_bucket")
_RESERVED_LABELS = frozenset(["le", "quantile"])


def family_name(name: str, metric_type: str) -> str:
    """A legal and clean name; not yet unique.

    >>> family_name("http.requestCount", "counter"), family_name("latency_ms", "gauge")
    ('http_request_count_total', 'latencyms')
    >>> family_name("jobs_total", "gauge")
    'jobs_total_value'
    """
    legal = _snake(name)
    is_counter = metric_type == MetricType.COUNTER
    stem = legal.removesuffix("_total") if is_counter else legal
    clean = _joined(stem)
    if is_counter:
        return clean + "_total"
    return clean + "_value" if clean.endswith(_FOREIGN_SUFFIXES) else clean


def label_names(tags: Mapping[str, str]) -> dict[str, str]:
    """A legal, distinct name for each tag: ``{tag: label}``."""
    taken: set[str] = set()
    return {tag: unique(_label_name(tag), tag, taken) for tag in sorted(tags)}


def unique(wanted: str, original: str, taken: set[str]) -> str:
    """``wanted``, or with a hash of the original before its suffix if it is taken; takes it."""
    name = wanted
    if name in taken:
        mark = blake2b(original.encode(), digest_size=4).hexdigest()
        suffix = "_total" if wanted.endswith("_total") else ""
        stem = wanted.removesuffix("_total").rstrip("_")
        name = f"{stem}_x{mark}{suffix}" if stem else f"x{mark}{suffix}"
    while name in taken:
        name = "x" + name
    taken.add(name)
    return name


def is_observed(metric_type: str) -> bool:
    """Whether samples of this type are single observations, exposed as a summary."""
    return metric_type in OBSERVATIONS


def _snake(name: str) -> str:
    legal = _ILLEGAL.sub("_", name)
    if _CAMEL.search(legal):
        legal = _CAMEL.sub(r"\1_\2", legal).lower()
    return "_" + legal if legal[:1].isdigit() else legal


def _label_name(tag: str) -> str:
    legal = _snake(tag)
    if legal.startswith("__"):  # reserved for Prometheus itself
        legal = "tag" + legal
    return f"exported_{legal}" if legal in _RESERVED_LABELS else legal


def _joined(name: str) -> str:
    parts = name.split("_")
    index = 0
    while index < len(parts):
        if not _offends(parts[index]):
            index += 1
        elif index > 0:
            parts[index - 1 : index + 1] = [parts[index - 1] + parts[index]]
            index -= 1
        elif len(parts) > 1:
            parts[0:2] = [parts[0] + parts[1]]
        else:
            parts[0] = "metric" + parts[0]
    joined = "_".join(parts)
    return joined.lower() if _CAMEL.search(joined) else joined


def _offends(part: str) -> bool:
    lower = part.lower()
    return lower in _ABBREVIATIONS or lower in _TYPE_WORDS or lower in _DERIVED_UNITS
