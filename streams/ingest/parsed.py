"""What every wire format's parser gives: a batch of good points, and the bad ones with reasons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from streams.errors import InputError
from streams.events.batch import Floats, Index, Ints, MetricBatch

REJECTED_MAX: Final = 100
"""Rejections told by an answer; their true number is told beside them."""

POINTS_A_REQUEST_MAX: Final = 1_000_000
REQUEST_ID_BYTES_MAX: Final = 256
_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Rejected:
    """A point that was not taken: where it stood in the request, and one sentence why."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a request says, whatever the time of its receipt: the ground of its digest.

    ``stated_ms``: `streams.ingest.timestamps.ABSENT` where a point states no time.
    """

    labels: tuple[str, ...]
    types: tuple[str, ...]
    units: tuple[str, ...]
    series: Index
    stated_ms: Ints
    value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """One request. ``batch`` may hold more than an event does (the edge splits it).

    ``rejected``: the first `REJECTED_MAX`, ``rejected_count``: all. ``indices``: where each sample
    of the batch stood in the request, None if that is its row.
    """

    source: str
    batch: MetricBatch
    rejected: tuple[Rejected, ...]
    rejected_count: int
    request_id: str | None
    content: Content
    indices: Ints | None = None

    @property
    def digest(self) -> bytes:
        """16 bytes, equal for retries of one request, whenever they come."""
        content = self.content
        hashed = blake2b(digest_size=16)
        hashed.update(_packed((self.source, *content.labels)))
        hashed.update(_packed((*content.types, *content.units)))
        for column in (content.series, content.stated_ms, content.value):
            hashed.update(np.ascontiguousarray(column).data)
        return hashed.digest()


def request_id_problem(request_id: str) -> str | None:
    """Why this cannot be an idempotency key, in one sentence, or None."""
    if not request_id:
        return "request_id is empty; give a text of your own for each request, or leave it out"
    if len(request_id.encode("utf-8", "surrogatepass")) > REQUEST_ID_BYTES_MAX:
        return f"request_id is longer than {REQUEST_ID_BYTES_MAX} bytes"
    return None


def shown(value: object) -> str:
    """What was got, for a reason: JSON, short, safe to write anywhere.

    >>> shown(True), shown({"a": 1}), shown("x" * 100)[-3:]
    ('true', 'an object', 'x…"')
    """
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case str() if len(value) > _SHOWN_MAX:
            return f'{_quoted(value[:_SHOWN_MAX])[:-1]}…"'
        case str():
            return _quoted(value)
        case int() if not isinstance(value, bool) and value.bit_length() > 200:
            return "an integer of over 60 digits"
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            return f"a {type(value).__name__}"


def required_text(value: object, field: str) -> str:
    """``value`` as a text that UTF-8 can write; `InputError` naming ``field`` otherwise."""
    if not isinstance(value, str):
        raise InputError(f"{field} is {shown(value)}; expected a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{field} holds a lone surrogate, which UTF-8 cannot write") from error
    return value


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)


def _packed(texts: tuple[str, ...]) -> bytes:
    # Lengths come first, so that no two lists of texts give the same bytes.
    return b"".join(b"%d:" % len(text) for text in texts) + b";" + "".join(texts).encode()
