"""What a processor is, and what every runner does with one: skip, step, number the outputs.

A processor knows what records mean; it knows neither where they are stored nor who runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Protocol, TypeVar

from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import encode
from streams.log.protocol import Entry, Message, Record

S = TypeVar("S")

HEAD = "head"
"""The table key under which `Tracked`'s own numbers lie."""

CARRIED_CHARS_MAX = 512
"""Of each header that an output takes over from its cause."""

PREVIOUS_HEADER: Final = "previous"
"""Of an output: the out_seq of the one before it from its processor and partition on its topic, so
that a reader of one topic can tell a loss from a number that went to another topic."""

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

    def newest_tick_ms(self, state: S) -> int | None:
        """The time of the newest tick absorbed; None before the first, or where ticks are nothing
        to it."""
        ...


@dataclass(frozen=True, slots=True)
class Tracked(Generic[S]):
    """A processor's state in one partition with the position that it has absorbed.

    ``position``: the next offset to read. ``out_seq``: outputs made so far; (processor, partition,
    out_seq) is the id of an output, so a reader can tell a repeat. ``newest``: the out_seq of the
    last output to each topic.
    """

    state: S
    position: int = 0
    out_seq: int = 0
    newest: Mapping[str, int] = field(default_factory=dict)


def restore(processor: Processor[S], table: Mapping[str, bytes], read_back: ReadBack) -> Tracked[S]:
    """The tracked state of one partition from its table."""
    head: dict[str, Any] = {"position": 0, "out_seq": 0}
    if HEAD in table:
        head = json.loads(table[HEAD])
    rest = {key: value for key, value in table.items() if key != HEAD}
    state = processor.restore(rest, head["position"], read_back)
    # a table that an earlier version wrote does not know the newest by topic
    return Tracked(state, head["position"], head["out_seq"], head.get("newest", {}))


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
    newest = dict(tracked.newest)
    entries: list[Entry] = []
    for out_seq, out in enumerate(step.events, tracked.out_seq):
        message = _numbered(processor.name, partition, out_seq, out, newest.get(out.topic))
        entries.append(Entry(out.topic, partition, message))
        newest[out.topic] = out_seq
    after = replace(
        tracked,
        state=step.state,
        position=fresh[-1].offset + 1,
        out_seq=tracked.out_seq + len(entries),
        newest=newest,
    )
    return after, {**step.changes, HEAD: _head(after)}, tuple(entries)


def _head(tracked: Tracked[S]) -> bytes:
    newest = dict(sorted(tracked.newest.items()))
    numbers = {"position": tracked.position, "out_seq": tracked.out_seq, "newest": newest}
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
        traceparent=_carried(cause, "traceparent"),
    )
    message = encode(Event(envelope, out.data))
    if previous is None:
        return message
    return Message({**message.headers, PREVIOUS_HEADER: str(previous)}, message.body)


def _carried(cause: Record, header: str) -> str:
    """Cut, so that no cause can make an output whose headers are too large to append."""
    return cause.headers.get(header, "")[:CARRIED_CHARS_MAX]
