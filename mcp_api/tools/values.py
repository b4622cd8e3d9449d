"""Numbers and freshness as JSON tells them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mcp_api.tools.positions import absorbed_token
from mcp_api.tools.times import iso
from projections.answers import AsOf

CHARS_PER_TOKEN = 4
"""A rough mean for JSON in English; the limits of answers are counted with it."""

_EXACT_MAX = 2.0**53


def json_number(value: float) -> float | int | str:
    """The same number; what JSON cannot write as Prometheus' text: ``NaN``, ``+Inf``, ``-Inf``.

    >>> json_number(75.0), json_number(0.1), json_number(float("-inf"))
    (75, 0.1, '-Inf')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return int(value) if value.is_integer() and abs(value) < _EXACT_MAX else float(value)


def short_number(value: float) -> float | int | str:
    """`json_number` with six significant digits; whole numbers stay as they are.

    >>> short_number(1 / 3), short_number(1_234_567.0)
    (0.333333, 1234567)
    """
    if not math.isfinite(value) or value.is_integer():
        return json_number(value)
    return json_number(float(f"{value:.6g}"))


def as_of_content(as_of: AsOf) -> dict[str, Any]:
    """``time``: newest sample's time projected, or null; ``position``: a token for min_position."""
    time = None if as_of.time_ms is None else iso(as_of.time_ms)
    return {"time": time, "position": absorbed_token(as_of.positions)}


def json_chars(content: object) -> int:
    """Length of the content as compact JSON."""
    return len(json.dumps(content, separators=(",", ":"), ensure_ascii=False))


def tags_text(tags: Mapping[str, str], *, chars_max: int = 160) -> str:
    """One line for people: ``host=a, zone=b``.

    >>> tags_text({"host": "a", "zone": ""}), tags_text({})
    ('host=a, no zone', 'all')
    """
    text = ", ".join(f"{k}={v}" if v else f"no {k}" for k, v in tags.items()) or "all"
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
