"""What a processor is, and what every runner does with one: skip, step, number the outputs.

A processor knows what records mean; it knows neither where they are stored nor who runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from streams.errors import LogDamaged
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import encode
from streams.log.protocol import Entry, Message, Record
from streams.processors.outputs import (
    PREVIOUS_HEADER,
    Marks,
    is_repeat,
    missing_before,
    output_of,
)
from streams.tracing import traceparent_of

S = TypeVar("S")

HEAD = "head"
"""The table key under which `Tracked`'s own numbers lie."""

CARRIED_CHARS_MAX = 512
"""Of each header that an output takes over from its cause."""

ReadBack = Callable[[int, int], Sequence[Record]]
"""``read_back(from, to)``: the records of the processor's partition in ``[from, to)``."""


@dataclass(frozen=True, slots=True)
class Out:
    """An event that a step makes, and the record that caused it. ``partition``: None for the number
    of the one that was read. ``traceparent``: of the call that it comes of, where that is not the
    cause's."""

    topic: str
    data: EventData
    cause: Record
    partition: int | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """A step's result: the next state, the table values to write (None deletes), the events."""

    state: S
    changes: Mapping[str, bytes | None] = field(default_factory=dict)
    events: tuple[Out, ...] = ()


class Processor(Protocol[S]):
    """A pure fold over one totally ordered partition.

    ``step`` gives the same state and events however its records are cut into steps. It reads no
    clock, no randomness, no network, and never raises for what a record holds: a poison record
    becomes a `DeadLettered` event.
    """

    @property
    def name(self) -> str:
        """In the ids of its events and the keys of its tables: never changed."""
        ...

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        ...

    @property
    def prompt(self) -> bool:
        """Whether its outputs are wanted at once. Else they may wait for the next tick, with which
        those of a whole interval are made durable together."""
        ...

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> S:
        """The state at offset ``end`` (exclusive), from its table values and, where the state keeps
        recent records by reference, from the log."""
        ...

    def step(self, state: S, records: Sequence[Record]) -> Step[S]:
        """Folds the records, in order."""
        ...

    def newest_tick_ms(self, state: S) -> int | None:
        """The time of the newest tick absorbed; None before the first, or where ticks are nothing
        to it."""
        ...

    def due_ms(self, state: S) -> int | None:
        """When it wants a tick of its own in its partition: a topic without a clock (all but the
        points) gets one only then. None: not as things stand."""
        ...


@dataclass(frozen=True, slots=True)
class Tracked(Generic[S]):
    """A processor's state in one partition with the position that it has absorbed.

    ``position``: the next offset to read. ``out_seq``: outputs made so far; (processor, partition,
    out_seq) is the id of an output, so a reader can tell a repeat. ``newest``: the out_seq of the
    last output to each place, as `_place` names it. ``marks``: of other processors' outputs that
    were read, the highest of each maker.
    """

    state: S
    position: int = 0
    out_seq: int = 0
    newest: Mapping[str, int] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)


def restore(processor: Processor[S], table: Mapping[str, bytes], read_back: ReadBack) -> Tracked[S]:
    """The tracked state of one partition from its table."""
    head: dict[str, Any] = {"position": 0, "out_seq": 0}
    if HEAD in table:
        head = json.loads(table[HEAD])
    rest = {key: value for key, value in table.items() if key != HEAD}
    state = processor.restore(rest, head["position"], read_back)
    # a table that an earlier version wrote does not know the newest by topic
    marks = {(name, partition): number for name, partition, number in head.get("marks", ())}
    return Tracked(state, head["position"], head["out_seq"], head.get("newest", {}), marks)


def advance(
    processor: Processor[S], partition: int, tracked: Tracked[S], records: Sequence[Record]
) -> tuple[Tracked[S], dict[str, bytes | None], tuple[Entry, ...]]:
    """One step: the next tracked state, the table's changes and the entries to append.

    Records below the position were absorbed before (a redelivery) and are skipped, as are outputs
    that their maker appended again. All three must be stored together, or none. `LogDamaged` where
    an output is missing.
    """
    fresh = [record for record in records if record.offset >= tracked.position]
    if not fresh:
        return tracked, {}, ()
    new, marks = _new(tracked.marks, fresh)
    step = processor.step(tracked.state, new)
    newest = dict(tracked.newest)
    entries: list[Entry] = []
    for out_seq, out in enumerate(step.events, tracked.out_seq):
        to = partition if out.partition is None else out.partition
        place = _place(out.topic, to, partition)
        message = _numbered(processor.name, partition, out_seq, out, newest.get(place))
        entries.append(Entry(out.topic, to, message))
        newest[place] = out_seq
    after = replace(
        tracked,
        state=step.state,
        position=fresh[-1].offset + 1,
        out_seq=tracked.out_seq + len(entries),
        newest=newest,
        marks=marks,
    )
    return after, {**step.changes, HEAD: _head(after)}, tuple(entries)


def _new(marks: Marks, records: Sequence[Record]) -> tuple[list[Record], Marks]:
    """Without the outputs that were read before; and the marks after them."""
    new: list[Record] = []
    after = dict(marks)
    for record in records:
        output = output_of(record)
        if output is not None:
            if is_repeat(after, output):
                continue
            if problem := missing_before(after, output):
                raise LogDamaged(f"{record.topic}/{record.partition}@{record.offset}: {problem}")
            after[output.maker] = output.number
        new.append(record)
    return new, after


def _place(topic: str, to: int, partition: int) -> str:
    """Tables of earlier versions know only outputs to the partition that was read."""
    return topic if to == partition else f"{topic}/{to}"


def _head(tracked: Tracked[S]) -> bytes:
    newest = dict(sorted(tracked.newest.items()))
    numbers: dict[str, Any] = {
        "position": tracked.position,
        "out_seq": tracked.out_seq,
        "newest": newest,
    }
    if tracked.marks:
        numbers["marks"] = [[*maker, number] for maker, number in sorted(tracked.marks.items())]
    return json.dumps(numbers).encode()


def _numbered(name: str, partition: int, out_seq: int, out: Out, previous: int | None) -> Message:
    cause = out.cause
    envelope = Envelope(
        id=f"{name}/{partition}/{out_seq}",
        source=f"processor/{name}",
        time_ms=cause.at_ms,
        actor=_carried(cause, "ce_actor"),
        correlation_id=_carried(cause, "ce_correlationid") or _carried(cause, "ce_id"),
        causation_id=_carried(cause, "ce_id"),
        traceparent=out.traceparent or traceparent_of(cause),
    )
    message = encode(Event(envelope, out.data))
    if previous is None:
        return message
    return Message({**message.headers, PREVIOUS_HEADER: str(previous)}, message.body)


def _carried(cause: Record, header: str) -> str:
    """Cut, so that no cause can make an output whose headers are too large to append."""
    return cause.headers.get(header, "")[:CARRIED_CHARS_MAX]
