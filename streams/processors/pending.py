"""The samples that wait for their window: columns in log order, one chunk a record.

They are not stored again: a table remembers the first record that still has some, and `restore`
reads from there. So what waits must follow from the records, the last tick and the rows that
`repeats` remembers as left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streams.domain.repeats import Spans, uncovered
from streams.domain.windows import Flags, Samples
from streams.events.batch import AT_MS_MIN, STALE_BITS, MetricBatch
from streams.log.protocol import Record
from streams.processors.series_index import SeriesIndex

AHEAD_MS_MAX = 3_600_000
"""The edge refuses samples more than 10 minutes ahead; a producer that writes to the log itself has
an hour, then its samples are not taken: they would wait, and be read again, for ever."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Samples of the record at ``offset``, all with times in ``[first_ms, last_ms]``."""

    offset: int
    samples: Samples
    first_ms: int
    last_ms: int


class LeftOut(NamedTuple):
    """Samples of a record: too far ahead of it to be taken; absorbed before."""

    outside: int = 0
    repeats: int = 0


def in_time(at_ms: int, record: Record) -> bool:
    """Whether a time may be taken from this record."""
    return AT_MS_MIN <= at_ms <= record.at_ms + AHEAD_MS_MAX


def chunk_of(
    index: SeriesIndex, record: Record, batch: MetricBatch, repeated: Spans = ()
) -> tuple[Chunk | None, LeftOut]:
    """What a record adds, and what of it is left out; ``repeated``: its rows that came before.

    Staleness markers are no values and are left out.
    """
    if not len(batch):
        return None, LeftOut()
    keep = batch.value.view(np.uint64) != STALE_BITS
    fresh = uncovered(repeated, len(batch)) if repeated else None
    outside = repeats = 0
    if not in_time(int(batch.at_ms.max()), record):
        inside = batch.at_ms <= record.at_ms + AHEAD_MS_MAX
        ahead = ~inside if fresh is None else ~inside & fresh
        outside = int(np.count_nonzero(ahead))
        keep &= inside
    if fresh is not None:
        repeats = int(np.count_nonzero(keep & ~fresh))
        keep &= fresh
        if not keep.any():
            return None, LeftOut(outside, repeats)
    numbers = index.resolve(batch.labels, batch.types, batch.units)
    samples = Samples(numbers[batch.series], batch.at_ms, batch.value)
    taken = chunk(record.offset, samples if keep.all() else _where(samples, keep))
    return taken, LeftOut(outside, repeats)


def chunk(offset: int, samples: Samples) -> Chunk | None:
    """A chunk of these samples, or None where there are none."""
    if not len(samples):
        return None
    return Chunk(offset, samples, int(samples.at_ms.min()), int(samples.at_ms.max()))


def split_due(chunks: Iterable[Chunk], before_ms: int) -> tuple[list[Samples], list[Chunk]]:
    """The samples with times below ``before_ms``, and the chunks of the others; both in order."""
    due: list[Samples] = []
    rest: list[Chunk] = []
    for each in chunks:
        if each.last_ms < before_ms:
            due.append(each.samples)
        elif each.first_ms >= before_ms:
            rest.append(each)
        else:
            is_due = each.samples.at_ms < before_ms
            due.append(_where(each.samples, is_due))
            left = chunk(each.offset, _where(each.samples, ~is_due))
            assert left is not None
            rest.append(left)
    return due, rest


def joined(parts: Sequence[Samples]) -> Samples:
    """All samples, in order."""
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Samples(none.astype(np.int32), none, np.zeros(0))
    return Samples(
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _where(samples: Samples, keep: Flags) -> Samples:
    return Samples(samples.series[keep], samples.at_ms[keep], samples.value[keep])
