"""Numbered outputs of processors: which came before, and where one is missing. Pure.

A worker that was believed dead, or one that repeats what it did before a crash, appends outputs
again, with the same numbers. So a reader keeps the highest number of each maker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.events.topics import POINTS
from streams.log.protocol import Record

PREVIOUS_HEADER: Final = "previous"
"""Of an output: the out_seq of the one before it from its processor and partition in the partition
that it goes to, so that a reader of that can tell a loss from a number that went elsewhere."""

Maker = tuple[str, int]
"""A processor's name and the partition that it reads."""

Marks = Mapping[Maker, int]
"""The highest number absorbed of each."""

_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Output:
    """``previous``: the number before it in its partition; None for the first, or where it is not
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
    if record.headers.get("ce_source") != f"processor/{name}":
        return None
    maker, known = _number(partition), _number(number)
    if maker is None or known is None:
        return None
    return Output((name, maker), known, _number(record.headers.get(PREVIOUS_HEADER, "")))


def is_repeat(marks: Marks, output: Output) -> bool:
    """Whether it was absorbed before."""
    mark = marks.get(output.maker)
    return mark is not None and output.number <= mark


def missing_before(marks: Marks, output: Output) -> str:
    """Where the one before it was not absorbed: what is missing, as a sentence; else "".

    Nothing is asked of the first that is seen of a maker.
    """
    mark = marks.get(output.maker)
    if mark is None or output.previous is None or output.previous == mark:
        return ""
    name, partition = output.maker
    return (
        f"output {name}/{partition}/{output.number} comes after {output.previous}, but the "
        f"newest that was read is {mark}: an output is missing from the log"
    )


def _number(digits: str) -> int | None:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        return None
    return int(digits)
