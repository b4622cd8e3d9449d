"""Requests that came before: their rows are left out, as windows leave them out. Pure.

For logs that cannot refuse a repeated request. Its points need not be equal to those that came
first: where they state no time, they have that of their receipt. So the rows are told by the
record's header ``slices``, with the limits of `WindowsProcessor.remembers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from streams.domain import repeats
from streams.domain.repeats import Seen
from streams.errors import PoisonError
from streams.events.batch import MetricBatch, take
from streams.events.slices import slices_of
from streams.events.topics import POINTS
from streams.log.protocol import Record

Requests = Mapping[int, Seen]
"""What was absorbed of requests, by partition of the points' topic."""


class Fresh(NamedTuple):
    """What a record adds: ``again`` samples of it came before. ``seen``: what is known once
    ``batch`` is absorbed; None where nothing changes."""

    batch: MetricBatch
    again: int = 0
    seen: Seen | None = None


def fresh_of(requests: Requests, record: Record, batch: MetricBatch) -> Fresh:
    """The rows of a record that come for the first time, with their series only.

    All of them where its slices cannot be read (a dead letter tells of those), or it has none.
    """
    if record.topic != POINTS:
        return Fresh(batch)
    try:
        slices = slices_of(record.headers, len(batch))
    except PoisonError:
        return Fresh(batch)
    before = requests.get(record.partition, Seen())
    seen, spans = repeats.absorb(before, slices, record.at_ms)
    if not spans:
        return Fresh(batch, 0, seen)
    rows = np.flatnonzero(repeats.uncovered(spans, len(batch)))
    return Fresh(take(batch, rows), len(batch) - len(rows), seen)
