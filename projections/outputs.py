"""Numbered outputs of processors: which came before, and where one is missing. Pure.

A worker that was believed dead, or one that repeats what it did before a crash, appends outputs
again, with the same numbers. So a reader keeps the highest number of each maker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.errors import ProjectionError
from streams.events.catalogue import POINTS
from streams.log.protocol import Record
from streams.processors.seam import PREVIOUS_HEADER

Maker = tuple[str, int]
"""A processor's name and the partition that it reads and writes."""

Marks = Mapping[Maker, int]
"""The highest number absorbed of each."""

_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Output:
    """``previous``: the number before it on its topic; None for the first, or where it is not
    told (by earlier versions)."""

    maker: Maker
    number: int
    previous: int | None


def output_of(record: Record) -> Output | None:
    """None where the headers are not those of a processor's output; `streams.processors.seam`
    makes them. What is collected is nobody's output, whatever its headers say."""
    if record.topic == POINTS:
        return None
    name, _, place = record.headers.get("ce_id", "").partition("/")
    partition, _, number = place.partition("/")
    if record.headers.get("ce_source") != f"processor/{name}" or partition != str(record.partition):
        return None
    if (known := _number(number)) is None:
        return None
    return Output((name, record.partition), known, _number(record.headers.get(PREVIOUS_HEADER, "")))


def is_repeat(marks: Marks, output: Output) -> bool:
    """Whether it was absorbed before.

    `ProjectionError` where the one before it on its topic was not; nothing is asked of the first
    that is seen of a maker.
    """
    mark = marks.get(output.maker)
    if mark is None:
        return False
    if output.number <= mark:
        return True
    if output.previous is not None and output.previous != mark:
        name, partition = output.maker
        raise ProjectionError(
            f"output {name}/{partition}/{output.number} comes after {output.previous}, but the "
            f"newest that was read is {mark}: an output is missing from the log"
        )
    return False


def _number(digits: str) -> int | None:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        return None
    return int(digits)
