"""Which rows of a record belong to which request: the header ``slices`` of `MetricsCollected`.

JSON, ``[[key, first, count, start], …]``: the rows ``[first, first + count)`` of the record are the
rows ``[start, start + count)`` of the request with that idempotency key, counted within this
partition; in an element of three, ``start`` is 0. A retry of a request has the same rows in the
same order, however it is cut into records, so a reader of a log that cannot refuse repeats itself
can leave them out (`streams.domain.repeats`).

A key ``@<stream>/<number>`` belongs to a numbered stream: readers need to keep only the highest
number of each. So its writer sends a number only when all lower ones are acknowledged, or in one
unit with them and in their order. Every other key begins with its actor, which never begins
with ``@``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from streams.errors import PoisonError

SLICES_HEADER: Final = "slices"
NUMBER_MAX: Final = 2**63 - 1
ROWS_MAX: Final = 2**53
"""Of a request in a partition: far above what one can hold."""

_STREAM_MARK: Final = "@"


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows ``[first, first + count)`` of a record are rows ``start`` and on of request ``key``."""

    key: str
    first: int
    count: int
    start: int = 0


def numbered_key(stream: str, number: int) -> str:
    """The key of one request of a numbered stream.

    >>> numbered_key("ingest/telegraf/0", 17)
    '@ingest/telegraf/0/17'
    """
    assert 0 <= number <= NUMBER_MAX
    return f"{_STREAM_MARK}{stream}/{number}"


def numbered(key: str) -> tuple[str, int] | None:
    """The stream and the number of a `numbered_key`; None for every other key.

    >>> numbered("@ingest/telegraf/0/17"), numbered("me/17"), numbered("@x")
    (('ingest/telegraf/0', 17), None, None)
    """
    if not key.startswith(_STREAM_MARK):
        return None
    stream, _, digits = key[1:].rpartition("/")
    if not (stream and digits.isascii() and digits.isdigit() and len(digits) <= 19):
        return None
    number = int(digits)
    return (stream, number) if number <= NUMBER_MAX else None


def encode_slices(slices: Iterable[Slice]) -> str:
    """The header's text."""
    return json.dumps(
        [[one.key, one.first, one.count, one.start] for one in slices], separators=(",", ":")
    )


def slices_of(headers: Mapping[str, str], rows: int) -> tuple[Slice, ...]:
    """What the header of a record of so many rows says; empty where there is none.

    `PoisonError` for anything but ascending slices within the record.
    """
    text = headers.get(SLICES_HEADER)
    if text is None:
        return ()
    try:
        elements = msgspec.json.decode(text, type=list[list[str | int]])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PoisonError(f"the header slices is not valid: {error}") from error
    slices = tuple(_slice(element) for element in elements)
    if any(one.first + one.count > rows for one in slices):
        raise PoisonError(f"the header slices names rows beyond the record's {rows}")
    if any(a.first + a.count > b.first for a, b in pairwise(slices)):
        raise PoisonError("the header slices names rows twice, or not in their order")
    return slices


def _slice(element: list[str | int]) -> Slice:
    match element:
        case [str(key), int(first), int(count)]:
            start = 0
        case [str(key), int(first), int(count), int(start)]:
            pass
        case _:
            raise PoisonError("the header slices is not [[key, first, count, start], …]")
    if min(first, count, start) < 0 or max(first, count, start) > ROWS_MAX:
        raise PoisonError("the header slices names rows that cannot be")
    return Slice(key, first, count, start)
