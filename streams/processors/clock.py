"""The clock: it puts `Ticked` into every partition of ``metrics.points``.

It is a producer, not a fold: whoever runs it (the local runner; on Kafka any worker) asks
`streams.domain.ticks.due_tick` and appends these entries. Two clocks do no harm: a tick's id
follows from its time, and readers ignore a tick that is not above the last.
"""

from __future__ import annotations

from typing import Final

from streams.events.catalogue import POINTS, Envelope, Event, Ticked
from streams.events.codec import encode
from streams.log.protocol import Entry

SOURCE: Final = "clock"


def tick_entries(partitions: int, at_ms: int) -> tuple[Entry, ...]:
    """One tick a partition, with the id ``clock/<partition>/<at_ms>``."""
    return tuple(
        Entry(POINTS, partition, encode(Event(_envelope(partition, at_ms), Ticked(at_ms))))
        for partition in range(partitions)
    )


def _envelope(partition: int, at_ms: int) -> Envelope:
    return Envelope(id=f"{SOURCE}/{partition}/{at_ms}", source=SOURCE, time_ms=at_ms)
