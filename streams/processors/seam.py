"""What a processor is, and what every runner does with one: skip, step, number the outputs.

A processor knows what records mean; it knows neither where they are stored nor who runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import encode
from streams.log.protocol import Entry, Record

S = TypeVar("S")

HEAD = "head"
"""The table key under which `Tracked`'s own numbers lie."""

CARRIED_CHARS_MAX = 512
"""Of each header that an output takes over from its cause."""

ReadBack = Callable[[int, int], Sequence[Record]]
"""``read_back(from, to)``: the records of the processor's partition in ``[from, to)``."""


@dataclass(frozen=True, slots=True)
class Out:
    """An event that a step makes, and the record that caused it."""

    topic: str
    data: EventData
    cause: Record


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
        """The topic that it reads; it writes to the same partition number of its output topics."""
        ...

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> S:
        """The state at offset ``end`` (exclusive), from its table values and, where the state keeps
        recent records by reference, from the log."""
        ...

    def step(self, state: S, records: Sequence[Record]) -> Step[S]:
        """Folds the records, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Tracked(Generic[S]):
    """A processor's state in one partition with the position that it has absorbed.

    ``position``: the next offset to read. ``out_seq``: outputs made so far; (processor, partition,
    out_seq) is the id of an output, so a reader can tell a repeat.
    """

    state: S
    position: int = 0
    out_seq: int = 0


def restore(processor: Processor[S], table: Mapping[str, bytes], read_back: ReadBack) -> Tracked[S]:
    """The tracked state of one partition from its table."""
    head = json.loads(table[HEAD]) if HEAD in table else {"position": 0, "out_seq": 0}
    rest = {key: value for key, value in table.items() if key != HEAD}
    state = processor.restore(rest, head["position"], read_back)
    return Tracked(state, head["position"], head["out_seq"])


def advance(
    processor: Processor[S], partition: int, tracked: Tracked[S], records: Sequence[Record]
) -> tuple[Tracked[S], dict[str, bytes | None], tuple[Entry, ...]]:
    """One step: the next tracked state, the table's changes and the entries to append.

    Records below the position were absorbed before (a redelivery) and are skipped. All three must
    be stored together, or none.
    """
    fresh = [record for record in records if record.offset >= tracked.position]
    if not fresh:
        return tracked, {}, ()
    step = processor.step(tracked.state, fresh)
    entries = tuple(
        _numbered(processor.name, partition, tracked.out_seq + i, out)
        for i, out in enumerate(step.events)
    )
    after = replace(
        tracked,
        state=step.state,
        position=fresh[-1].offset + 1,
        out_seq=tracked.out_seq + len(entries),
    )
    head = json.dumps({"position": after.position, "out_seq": after.out_seq}).encode()
    return after, {**step.changes, HEAD: head}, entries


def _numbered(name: str, partition: int, out_seq: int, out: Out) -> Entry:
    cause = out.cause
    envelope = Envelope(
        id=f"{name}/{partition}/{out_seq}",
        source=f"processor/{name}",
        time_ms=cause.at_ms,
        actor=_carried(cause, "ce_actor"),
        correlation_id=_carried(cause, "ce_correlationid") or _carried(cause, "ce_id"),
        causation_id=_carried(cause, "ce_id"),
        traceparent=_carried(cause, "traceparent"),
    )
    return Entry(out.topic, partition, encode(Event(envelope, out.data)))


def _carried(cause: Record, header: str) -> str:
    """Cut, so that no cause can make an output whose headers are too large to append."""
    return cause.headers.get(header, "")[:CARRIED_CHARS_MAX]
