"""Requests that come again in the log: each row counts once, whatever is killed when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.domain.repeats import Limits
from streams.events.batch import STALE_BITS
from streams.events.catalogue import DeadLettered, MetricsCollected, Ticked
from streams.events.codec import decode
from streams.events.slices import SLICES_HEADER, numbered, numbered_key, slices_of
from streams.events.topics import DEADLETTER, POINTS
from streams.ingest.merging import Merger, Request
from streams.log.protocol import BODY_BYTES_MAX, Record
from streams.processors.repeats import DROPPED, SEEN
from streams.processors.windows import WindowsProcessor
from tests.effort import examples
from tests.flow.schedules import (
    BEGIN_MS,
    PROCESSORS,
    TICK_DELAYS_MS,
    Run,
    batches,
    points,
    record_of,
    run_in_steps,
    run_interrupted,
    told,
)
from tests.flow.window_model import Model, same

MINUTE = 60_000
T0 = BEGIN_MS // MINUTE * MINUTE
STEP_MS = 150
"""From record to record: many in a window, so that repeats come while samples wait."""
SLOW = settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LIMITS = st.builds(
    Limits,
    horizon_ms=st.sampled_from([0, 3_600_000]),
    spans_max=st.sampled_from([1, 3, 200_000]),
    streams_max=st.sampled_from([1, 2_048]),
)


@dataclass(frozen=True)
class Case:
    processor: WindowsProcessor
    records: tuple[Record, ...]


def records_of(requests: Sequence[Request], first: int, at_ms: int) -> list[Record]:
    """What the edge writes for them, from this offset on."""
    messages = [written.entry.message for written in Merger(1).entries(requests)]
    return [
        Record(POINTS, 0, first + i, at_ms, message.headers, message.body)
        for i, message in enumerate(messages)
    ]


@st.composite
def cases(draw: st.DrawFn, limits: st.SearchStrategy[Limits]) -> Case:
    """Requests with and without keys, in varying company, and some of them again and again."""
    processor = replace(draw(PROCESSORS), deduplicates=True, remembers=draw(limits))
    records: list[Record] = []
    sent: list[Request] = []
    for kind in [*draw(st.lists(st.sampled_from("ssssrrrtt"), min_size=3, max_size=30)), "end"]:
        offset = len(records)
        now_ms = BEGIN_MS + offset * STEP_MS
        if kind in {"t", "end"}:
            tick_ms = now_ms - draw(TICK_DELAYS_MS) if kind == "t" else now_ms + 60_000
            records.append(record_of(offset, Ticked(tick_ms), now_ms))
            continue
        group: list[Request] = []
        if kind == "r" and sent:
            group += draw(st.lists(st.sampled_from(sent[-4:]), min_size=1, max_size=3))
        for _ in range(draw(st.integers(kind == "s", 2))):
            number = len(sent)
            keys = [None, f"me/{number}", f"me/{number}", numbered_key("in", number)]
            key = draw(st.sampled_from(keys))
            batch = points(draw(batches(now_ms))).batch
            sent.append(Request(batch, draw(st.sampled_from("ab")), "edge", now_ms, key))
            group.append(sent[-1])
        records += records_of(group, offset, now_ms)
    return Case(processor, tuple(records))


def left(run: Run) -> tuple[dict[str, bytes], list[object]]:
    entries = [(e.topic, e.partition, e.message.headers, e.message.body) for e in run.entries]
    return run.table, entries


@SLOW
@given(case=cases(LIMITS), seed=st.integers(0, 2**32))
def test_steps_of_any_size_and_kills_leave_the_same_bytes(case: Case, seed: int) -> None:
    whole = left(run_in_steps(case.processor, case.records, len(case.records)))
    assert left(run_in_steps(case.processor, case.records, 1)) == whole
    assert left(run_in_steps(case.processor, case.records, 5)) == whole
    dice = random.Random(seed)
    for _ in range(3):
        assert left(run_interrupted(case.processor, case.records, dice)) == whole


@SLOW
@given(case=cases(LIMITS), size=st.integers(1, 9))
def test_a_restored_state_is_the_one_that_lived_on(case: Case, size: int) -> None:
    run = Run(case.processor, case.records)
    tracked = run.restored()
    for first in range(0, len(case.records), size):
        tracked = run.feed(tracked, case.records[first : first + size])
        restored = run.restored()
        assert restored.state.repeats == tracked.state.repeats
        assert list(restored.state.repeats.seen.streams) == list(tracked.state.repeats.seen.streams)
        assert restored.state.marks == tracked.state.marks
        assert waiting(restored.state.chunks) == waiting(tracked.state.chunks)
        assert restored.newest == tracked.newest


def waiting(chunks: Sequence[object]) -> list[object]:
    return [
        (c.offset, c.samples.at_ms.tolist(), c.samples.value.view(np.int64).tolist())  # type: ignore[attr-defined]
        for c in chunks
    ]


def first_times(records: Sequence[Record], model: Model) -> int:
    """Feeds the model the rows that come for the first time; returns how many samples came again,
    row by row."""
    seen: set[tuple[str, int]] = set()
    highest: dict[str, int] = {}
    again = 0
    for record in records:
        data = decode(record.headers, record.body).data
        if isinstance(data, Ticked):
            model.tick(data.at_ms)
            continue
        assert isinstance(data, MetricsCollected)
        key_of: dict[int, tuple[str, int]] = {}
        for one in slices_of(record.headers, len(data.batch)):
            key_of |= {one.first + i: (one.key, one.start + i) for i in range(one.count)}
        fresh = []
        for row, value in enumerate(data.batch.value.tolist()):
            stale = int(data.batch.value.view(np.uint64)[row]) == STALE_BITS
            if row in key_of:
                stream = numbered(key_of[row][0])
                low = stream is not None and stream[1] < highest.get(stream[0], 0)
                if stream is not None and not low:
                    highest[stream[0]] = stream[1]
                if low or key_of[row] in seen:
                    again += not stale
                    continue
                seen.add(key_of[row])
            series = data.batch.series[row]
            if not stale:
                at_ms = int(data.batch.at_ms[row])
                fresh.append((data.batch.labels[series], data.batch.types[series], at_ms, value))
        model.samples(fresh)
    return again


@SLOW
@given(case=cases(st.just(Limits())))
def test_each_row_of_a_request_counts_once_as_a_plain_loop_finds(case: Case) -> None:
    processor = case.processor
    model = Model(processor.sizes_ms, processor.grace_ms, processor.pending_points_max)
    again = first_times(case.records, model)
    run = run_in_steps(processor, case.records, 7)
    rows, duplicates = told(run.entries)
    assert same(rows, model.told)
    untold = run.restored().state.marks.duplicates
    assert duplicates + untold == model.duplicates + again


def cpu(at_s: float, value: float, key: str | None, *, size: int = 1) -> Request:
    samples = [("cpu", "gauge", T0 + round(at_s * 1_000) + i, value) for i in range(size)]
    return Request(points(samples).batch, "me", "edge", T0, key)


def history(*made: Request | Sequence[Request] | float) -> tuple[Record, ...]:
    """Requests, requests that share a record, and ticks (seconds), a second apart."""
    records: list[Record] = []
    for one in made:
        at_ms = T0 + len(records) * 1_000
        if isinstance(one, Request):
            records += records_of([one], len(records), at_ms)
        elif isinstance(one, Sequence):
            records += records_of(one, len(records), at_ms)
        else:
            records.append(record_of(len(records), Ticked(T0 + round(one * 1_000)), at_ms))
    return tuple(records)


def counts(records: tuple[Record, ...], **options: int) -> tuple[list[tuple[str, int]], int]:
    processor = WindowsProcessor(deduplicates=True, remembers=Limits(**options))
    rows, duplicates = told(run_in_steps(processor, records, 2).entries)
    return [(row.kind, row.row.count) for row in rows], duplicates


def test_a_repeat_after_its_window_was_told_amends_nothing() -> None:
    first = cpu(1, 5.0, "me/k", size=3)
    records = history(first, 90, first, 95, cpu(61, 1.0, None), 150)
    assert counts(records) == ([("WindowClosed", 3), ("WindowClosed", 1)], 3)


def test_without_deduplication_it_would_be_counted_again() -> None:
    first = cpu(1, 5.0, "me/k", size=3)
    run = run_in_steps(WindowsProcessor(), history(first, 90, first, 95), 2)
    assert [row.kind for row in told(run.entries)[0]] == ["WindowClosed", "WindowAmended"]
    assert not [key for key in run.table if key.startswith((SEEN, DROPPED))]


def test_of_a_request_that_was_written_in_part_the_rest_is_taken_from_its_retry() -> None:
    whole = cpu(1, 5.0, "me/k", size=4)
    part = history(cpu(1, 5.0, "me/k", size=2))
    records = history(cpu(1, 5.0, "me/k", size=2), 90, whole, 95)
    assert slices_of(part[0].headers, 2)[0].count == 2
    assert counts(records) == ([("WindowClosed", 2), ("WindowAmended", 2)], 2)


def test_a_lower_number_of_a_stream_is_a_repeat() -> None:
    records = history(
        [cpu(i, 1.0, numbered_key("in", i)) for i in range(5)],
        90,
        [cpu(i, 1.0, numbered_key("in", i)) for i in range(3, 6)],
        95,
    )
    assert counts(records) == ([("WindowClosed", 5), ("WindowAmended", 1)], 2)


def test_slices_that_cannot_be_read_are_told_and_the_samples_are_taken() -> None:
    records = history(cpu(1, 5.0, "me/k"), 90)
    odd = replace(records[0], headers={**records[0].headers, SLICES_HEADER: '[["k",0,9]]'})
    processor = WindowsProcessor(deduplicates=True)
    run = run_in_steps(processor, (odd, records[1]), 1)
    assert [(row.kind, row.row.count) for row in told(run.entries)[0]] == [("WindowClosed", 1)]
    (letter,) = [entry for entry in run.entries if entry.topic == DEADLETTER]
    data = decode(letter.message.headers, letter.message.body).data
    assert isinstance(data, DeadLettered)
    assert "rows beyond the record's 1; its samples were taken" in data.reason


def test_thousands_of_repeats_that_wait_are_stored_in_small_values_and_then_forgotten() -> None:
    requests = [cpu(i / 100, 1.0, f"me/{i}") for i in range(2_500)]
    made: list[Request | Sequence[Request] | float] = [*requests, 5, *requests[::-1], 10, 11]
    records = tuple(replace(record, at_ms=T0) for record in history(*made))
    processor = WindowsProcessor(deduplicates=True)
    run = Run(processor, records)
    tracked = run.feed(run.restored(), records[:-1])
    keys = [key for key in run.table if key.startswith(f"{SEEN}{T0 // MINUTE}/")]
    dropped = [key for key in run.table if key.startswith(DROPPED)]
    assert (len(keys), len(dropped)) == (3, 3)
    assert all(len(value) < BODY_BYTES_MAX // 4 for value in run.table.values())
    assert waiting(run.restored().state.chunks) == waiting(tracked.state.chunks)
    final = replace(record_of(len(records), Ticked(T0 + 90_000), T0), at_ms=T0 + 90_000)
    run.feed(run.restored(), (records[-1], final))
    rows, duplicates = told(run.entries)
    assert [(row.kind, row.row.count) for row in rows] == [("WindowClosed", 2_500)]
    assert duplicates == 2_500
    assert not [key for key in run.table if key.startswith(DROPPED)]


def test_a_quiet_tick_writes_nothing_of_what_did_not_change() -> None:
    records = history(cpu(1, 1.0, "me/a"), cpu(1, 1.0, "@in/1"), 5, cpu(2, 1.0, None), 10)
    processor = WindowsProcessor(deduplicates=True)
    run = Run(processor, records)
    tracked = run.feed(run.restored(), records[:3])
    step = processor.step(tracked.state, records[3:])
    assert not [key for key in step.changes if key.startswith((SEEN, DROPPED))]
