"""Random histories of one partition, and the ways to run a processor over them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from streams.events.batch import STALE, MetricBatch
from streams.events.catalogue import (
    DeadLettered,
    Envelope,
    Event,
    EventData,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.codec import decode, encode
from streams.events.topics import POINTS
from streams.events.window import WindowBatch
from streams.log.protocol import Entry, Record
from streams.processors.seam import HEAD, Tracked, advance, restore
from streams.processors.windows import WindowsProcessor, WindowsState
from tests.flow.window_model import Model, Row, Told, labels_of

BEGIN_MS = 1_700_000_000_000
NAMES = ("cpu", "disk", "latency", "requests", "ünï", "cpu_total")
TYPES = ("gauge", "counter", "histogram", "summary")

Point = tuple[str, str, int, float]
"""(metric name, type, time, value)"""


@dataclass(frozen=True)
class History:
    """Records of a partition, and what the model says of them."""

    records: tuple[Record, ...]
    model: Model
    poison: int


def record_of(offset: int, data: EventData, at_ms: int, *, topic: str = POINTS) -> Record:
    message = encode(Event(Envelope(f"test/{offset}", "test", at_ms, actor="tester"), data))
    return Record(topic, 0, offset, at_ms, message.headers, message.body)


def points(samples: Sequence[Point]) -> MetricsCollected:
    series = sorted({(name, type_) for name, type_, _, _ in samples})
    unique = dict(reversed([(name, type_) for name, type_ in series]))
    names = list(unique)
    return MetricsCollected(
        MetricBatch(
            labels=tuple(labels_of(name) for name in names),
            types=tuple(unique.values()),
            units=("",) * len(names),
            series=np.array([names.index(name) for name, *_ in samples], dtype=np.int32),
            at_ms=np.array([at_ms for _, _, at_ms, _ in samples], dtype=np.int64),
            value=np.array([value for *_, value in samples], dtype=np.float64),
        )
    )


VALUES = st.one_of(
    st.integers(-50, 1_000).map(lambda n: n / 7),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), float("-inf"), STALE]),
)
STEP_MS = 500
"""How much time passes from record to record."""
SAMPLE_DELAYS_MS = st.one_of(
    st.integers(-6, 12).map(lambda n: n * 250),
    st.integers(-3_000, 12_000),
)
TICK_DELAYS_MS = st.sampled_from([0, 0, 0, 500, 4_000, -700])
PROCESSORS = st.builds(
    WindowsProcessor,
    sizes_ms=st.sampled_from([(1_000,), (1_000, 3_000), (2_000, 3_000), (4_000, 1_000)]),
    grace_ms=st.sampled_from([0, 500, 1_700]),
    pending_points_max=st.sampled_from([2, 10, 10_000]),
)


@st.composite
def batches(draw: st.DrawFn, now_ms: int) -> list[Point]:
    """One type a metric in each record; another record may state another."""
    types = draw(st.fixed_dictionaries({name: st.sampled_from(TYPES) for name in NAMES}))
    samples = draw(
        st.lists(st.tuples(st.sampled_from(NAMES), SAMPLE_DELAYS_MS, VALUES), max_size=8)
    )
    return [(name, types[name], now_ms - delay_ms, value) for name, delay_ms, value in samples]


@st.composite
def histories(draw: st.DrawFn, processor: WindowsProcessor) -> History:
    """Points that come early, late, twice and out of order between ticks that mostly rise; the last
    tick passes everything."""
    model = Model(processor.sizes_ms, processor.grace_ms, processor.pending_points_max)
    kinds = st.sampled_from(["points", "points", "points", "tick", "tick", "poison"])
    records: list[Record] = []
    poison = 0
    for kind in [*draw(st.lists(kinds, min_size=5, max_size=40)), "end"]:
        offset = len(records)
        now_ms = BEGIN_MS + offset * STEP_MS
        if kind in {"tick", "end"}:
            tick_ms = now_ms - draw(TICK_DELAYS_MS) if kind == "tick" else now_ms + 60_000
            records.append(record_of(offset, Ticked(tick_ms), now_ms))
            model.tick(tick_ms)
        elif kind == "points":
            samples = draw(batches(now_ms))
            records.append(record_of(offset, points(samples), now_ms))
            model.samples(
                (labels_of(name), type_, t, v)
                for name, type_, t, v in samples
                if repr_bits(v) != repr_bits(STALE)
            )
        else:
            poison += 1
            records.append(draw(poisoned(offset, now_ms)))
    return History(tuple(records), model, poison)


def repr_bits(value: float) -> int:
    return int(np.array([value]).view(np.uint64)[0])


@st.composite
def poisoned(draw: st.DrawFn, offset: int, at_ms: int) -> Record:
    record = record_of(offset, points([("cpu", "gauge", BEGIN_MS, 1.0)]), at_ms)
    how = draw(st.sampled_from(["body", "cut", "type", "headers", "elsewhere", "ahead"]))
    match how:
        case "body":
            return replace(record, body=draw(st.binary(max_size=40)))
        case "cut":
            return replace(record, body=record.body[: draw(st.integers(0, len(record.body) - 1))])
        case "type":
            return replace(record, headers={**record.headers, "ce_type": "metrics.collected.v9"})
        case "headers":
            return replace(record, headers={})
        case "elsewhere":
            dead = DeadLettered("metrics.points", 0, 1, "why", {}, b"")
            return record_of(offset, dead, at_ms)
        case _:
            return record_of(offset, Ticked(at_ms + 7_200_000), at_ms)


@dataclass
class Run:
    """What a way of running left behind: the table and the events."""

    processor: WindowsProcessor
    records: tuple[Record, ...]
    table: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def restored(self) -> Tracked[WindowsState]:
        """As after a kill: from the table and the log alone."""
        return restore(self.processor, self.table, lambda a, b: self.records[a:b])

    def commit(self, changes: Mapping[str, bytes | None], entries: Sequence[Entry]) -> None:
        for key, value in changes.items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        self.entries.extend(entries)

    def feed(
        self, tracked: Tracked[WindowsState], records: Sequence[Record]
    ) -> Tracked[WindowsState]:
        after, changes, entries = advance(self.processor, 0, tracked, records)
        self.commit(changes, entries)
        return after


def run_in_steps(processor: WindowsProcessor, records: tuple[Record, ...], size: int) -> Run:
    run = Run(processor, records)
    tracked = run.restored()
    for first in range(0, len(records), size):
        tracked = run.feed(tracked, records[first : first + size])
    return run


def run_interrupted(
    processor: WindowsProcessor, records: tuple[Record, ...], dice: random.Random
) -> Run:
    """Steps of random size; some are computed and lost, some kill, some deliver records again."""
    run = Run(processor, records)
    tracked = run.restored()
    while tracked.position < len(records):
        first = max(0, tracked.position - dice.choice([0, 0, 1, 3]))
        step = records[first : tracked.position + dice.randint(1, 5)]
        fate = dice.random()
        if fate < 0.25:
            advance(processor, 0, tracked, step)  # the commit fails: the old state goes on
            continue
        tracked = run.feed(tracked, step)
        if fate > 0.6:
            tracked = run.restored()
    return run


def position(run: Run) -> bytes:
    return run.table.get(HEAD, b"")


def told(entries: Sequence[Entry]) -> tuple[list[Told], int]:
    """The rows of all window events in order, and the duplicates that they state."""
    rows: list[Told] = []
    duplicates = 0
    for entry in entries:
        data = decode(entry.message.headers, entry.message.body).data
        if isinstance(data, WindowClosed | WindowAmended):
            duplicates += data.duplicates
            rows += [_told(type(data).__name__, data.batch, i) for i in range(len(data.batch))]
    return rows, duplicates


def _told(kind: str, batch: WindowBatch, i: int) -> Told:
    begin, end = batch.bin_offsets[i : i + 2].tolist()
    bins = dict(
        zip(batch.bins[begin:end].tolist(), batch.bin_counts[begin:end].tolist(), strict=True)
    )
    return Told(
        kind=kind,
        size_ms=batch.size_ms,
        start_ms=int(batch.start_ms[i]),
        labels=batch.labels[i],
        type=batch.types[i],
        row=Row(
            count=int(batch.count[i]),
            sum=float(batch.sum[i]),
            min=float(batch.min[i]),
            max=float(batch.max[i]),
            first=float(batch.first[i]),
            last=float(batch.last[i]),
            first_ms=int(batch.first_ms[i]),
            last_ms=int(batch.last_ms[i]),
            increase=float(batch.increase[i]),
            bins=bins,
        ),
    )
