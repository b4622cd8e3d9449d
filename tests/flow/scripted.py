"""Records of several partitions as a seed has them: late, twice, retried, poisoned, ticked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from streams.events.catalogue import Ticked
from streams.events.topics import POINTS
from streams.ingest.merging import Merger, Request
from streams.log.protocol import Entry, Message
from streams.processors.windows import WindowsProcessor
from tests.flow.schedules import BEGIN_MS, NAMES, TYPES, Point, points, record_of

PARTITIONS: Final = 2
TICK_MS: Final = 5_000
LAST_TICK_MS: Final = BEGIN_MS + 600_000
PROCESSOR: Final = WindowsProcessor(sizes_ms=(2_000, 10_000), grace_ms=1_000, deduplicates=True)
"""Its larger windows stay open over several ticks, so its tables have large values."""

STEP_MS = 400
RECORDS = 150


def scripted(dice: random.Random) -> list[Entry]:
    """What lies between the first and the last tick, partition by partition in turn."""
    streams = [list(_partition(dice, partition)) for partition in range(PARTITIONS)]
    return [entry for entries in zip(*streams, strict=True) for entry in entries]


def last_ticks() -> list[Entry]:
    """One a partition, after everything; the same each time."""
    return [_tick(LAST_TICK_MS, partition) for partition in range(PARTITIONS)]


def _partition(dice: random.Random, partition: int) -> Iterator[Entry]:
    sent: list[Request] = []
    for number in range(RECORDS):
        now_ms = BEGIN_MS + number * STEP_MS
        match dice.choice(["points"] * 6 + ["again", "again", "tick", "tick", "poison"]):
            case "tick":
                yield _tick(now_ms - dice.choice([0, 0, 0, 900, 5_000]), partition)
            case "poison":
                headers = {"ce_type": dice.choice(["metrics.collected.v1", "no.such.v1"])}
                yield Entry(POINTS, partition, Message(headers, dice.randbytes(9)))
            case "again" if sent:
                yield _request(dice.choice(sent[-5:]), partition)
            case _:
                key = dice.choice([None, f"me/{number}"])
                batch = points(_points(dice, now_ms)).batch
                sent.append(Request(batch, "me", "edge", now_ms, key))
                yield _request(sent[-1], partition)


def _points(dice: random.Random, now_ms: int) -> list[Point]:
    return [
        (f"{name}_{dice.randint(0, 9)}", dice.choice(TYPES), now_ms - delay_ms, dice.gauss(0, 9))
        for name in NAMES
        for delay_ms in (dice.randint(-500, 1_500), dice.choice([0, 250, 6_000]))
    ]


def _request(request: Request, partition: int) -> Entry:
    (written,) = Merger(1).entries([request])
    return Entry(POINTS, partition, written.entry.message)


def _tick(at_ms: int, partition: int) -> Entry:
    record = record_of(0, Ticked(at_ms), at_ms)
    return Entry(POINTS, partition, Message(record.headers, record.body))
