"""The clock: it puts `Ticked` into every partition of ``metrics.points``, and elsewhere into those
whose processor wants one (`Processor.due_ms`).

It is a producer, not a fold: whoever runs it (the local runner; on Kafka any worker) asks
`streams.domain.ticks.due_tick` and appends these entries. Two clocks do no harm: a tick's id
follows from its time, and readers ignore a tick that is not above the last.
"""

from __future__ import annotations

from typing import Final

from streams.events.catalogue import Envelope, Event, Ticked
from streams.events.codec import encode
from streams.events.topics import POINTS
from streams.log.protocol import Entry

SOURCE: Final = "clock"


def tick_entries(partitions: int, at_ms: int) -> tuple[Entry, ...]:
    """One tick a partition of the points."""
    return tuple(tick_entry(POINTS, partition, at_ms) for partition in range(partitions))


def tick_entry(topic: str, partition: int, at_ms: int) -> Entry:
    """A tick with the id ``clock/<partition>/<at_ms>``."""
    return Entry(topic, partition, encode(Event(_envelope(partition, at_ms), Ticked(at_ms))))


def _envelope(partition: int, at_ms: int) -> Envelope:
    return Envelope(id=f"{SOURCE}/{partition}/{at_ms}", source=SOURCE, time_ms=at_ms)
