"""The windows processor as timetables: what comes when, and what is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.sketch import quantile
from streams.events.batch import STALE, MetricBatch, encode_batch
from streams.events.catalogue import (
    DeadLettered,
    EventData,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.codec import decode
from streams.events.ipc import write_ipc
from streams.events.topics import DEADLETTER, WINDOWS
from streams.events.window import WindowBatch
from streams.log.protocol import BODY_BYTES_MAX, Entry, Record
from streams.processors.seam import HEAD
from streams.processors.windows import MARKS, WindowsProcessor
from tests.effort import examples
from tests.flow.schedules import BEGIN_MS, Run, points, record_of, run_in_steps, told

MINUTE = 60_000
T0 = BEGIN_MS // (10 * MINUTE) * (10 * MINUTE)


def history(*events: EventData, began_ms: int = T0) -> tuple[Record, ...]:
    return tuple(record_of(i, data, began_ms) for i, data in enumerate(events))


def cpu(*samples: tuple[float, float], name: str = "cpu", kind: str = "gauge") -> MetricsCollected:
    """Samples as (seconds after the start, value)."""
    return points([(name, kind, T0 + round(at_s * 1_000), value) for at_s, value in samples])


def tick(at_s: float) -> Ticked:
    return Ticked(T0 + round(at_s * 1_000))


def run(*events: EventData, processor: WindowsProcessor | None = None) -> Run:
    return run_in_steps(processor or WindowsProcessor(), history(*events), 2)


def lines(entries: Sequence[Entry]) -> list[str]:
    return [
        f"{row.kind} {row.labels.split(chr(34))[3]} {row.size_ms // 1000}s "
        f"+{(row.start_ms - T0) // 1000}s n={row.row.count} sum={row.row.sum:g}"
        for row in told(entries)[0]
    ]


def dead(entries: Sequence[Entry]) -> list[DeadLettered]:
    found = [
        decode(e.message.headers, e.message.body).data for e in entries if e.topic == DEADLETTER
    ]
    return [data for data in found if isinstance(data, DeadLettered)]


def test_a_window_is_told_by_the_first_tick_whose_watermark_reaches_its_end() -> None:
    early = run(cpu((0, 1), (59.999, 2)), tick(89.999))
    assert early.entries == []
    late = run(cpu((0, 1), (59.999, 2)), tick(89.999), tick(90))
    assert lines(late.entries) == ["WindowClosed cpu 60s +0s n=2 sum=3"]


def test_a_sample_within_the_grace_is_in_the_window_whatever_the_order() -> None:
    entries = run(cpu((70, 9)), tick(85), cpu((59, 2)), cpu((1, 1)), tick(90)).entries
    assert lines(entries) == ["WindowClosed cpu 60s +0s n=2 sum=3"]
    assert told(entries)[0][0].row.first == 1


def test_a_sample_after_the_grace_amends_its_window_at_the_next_tick() -> None:
    entries = run(
        cpu((0, 1)), tick(90), cpu((5, 2)), cpu((6, 3)), cpu((1, 7), name="new"), tick(95)
    ).entries
    assert lines(entries) == [
        "WindowClosed cpu 60s +0s n=1 sum=1",
        "WindowAmended cpu 60s +0s n=2 sum=5",
        "WindowAmended new 60s +0s n=1 sum=7",
    ]


def test_rows_come_by_window_and_then_by_labels() -> None:
    entries = run(cpu((61, 1), name="b"), cpu((1, 1), name="c"), cpu((1, 1), name="a"), tick(300))
    assert [line.split()[1:4] for line in lines(entries.entries)] == [
        ["a", "60s", "+0s"],
        ["c", "60s", "+0s"],
        ["b", "60s", "+60s"],
    ]


def test_of_samples_with_one_time_the_first_in_the_log_wins_and_the_others_are_counted() -> None:
    entries = run(cpu((1, 5), (1, 6)), cpu((1, 7), (2, 1)), tick(90)).entries
    assert lines(entries) == ["WindowClosed cpu 60s +0s n=2 sum=6"]
    assert told(entries)[1] == 2


def test_staleness_markers_are_no_values_but_other_nans_are() -> None:
    entries = run(cpu((1, STALE), (2, math.nan), (3, 4), name="cpu"), tick(90)).entries
    row = told(entries)[0][0].row
    assert (row.count, row.min, row.max, row.first_ms) == (2, 4.0, 4.0, T0 + 2_000)
    assert math.isnan(row.sum)


def test_a_tick_that_repeats_or_goes_back_changes_nothing() -> None:
    once = run(cpu((0, 1)), tick(90), cpu((1, 2)))
    again = run(cpu((0, 1)), tick(90), cpu((1, 2)), tick(90), tick(30))
    assert lines(again.entries) == lines(once.entries) == ["WindowClosed cpu 60s +0s n=1 sum=1"]


def test_after_an_outage_one_tick_tells_all_windows_that_passed() -> None:
    entries = run(cpu((0, 1)), tick(5), cpu((70, 2), (3_500, 3)), tick(3_600)).entries
    assert [line.split()[3] for line in lines(entries)] == ["+0s", "+60s", "+3480s"]


def test_a_larger_window_is_told_from_its_small_ones_with_the_increase_across_their_seam() -> None:
    processor = WindowsProcessor(sizes_ms=(MINUTE, 5 * MINUTE))
    counter = [(i * 50.0, 10.0 * i if i < 4 else 10.0 * (i - 4)) for i in range(6)]
    entries = run(cpu(*counter, kind="counter"), tick(200), tick(330), processor=processor).entries
    large = [row for row in told(entries)[0] if row.size_ms == 5 * MINUTE]
    assert [(row.kind, row.row.count, row.row.increase) for row in large] == [
        ("WindowClosed", 6, 40.0)
    ]


def test_a_sample_for_a_closed_large_window_amends_it() -> None:
    processor = WindowsProcessor(sizes_ms=(MINUTE, 2 * MINUTE))
    entries = run(cpu((0, 1)), tick(150), cpu((70, 2)), tick(155), processor=processor).entries
    assert lines(entries)[-2:] == [
        "WindowAmended cpu 60s +60s n=1 sum=2",
        "WindowAmended cpu 120s +0s n=1 sum=2",
    ]


def test_observations_are_sketched_and_gauges_are_not() -> None:
    latencies = [(i / 10, float(i)) for i in range(1, 101)]
    entries = run(cpu(*latencies, kind="histogram"), cpu((1, 1), name="b"), tick(90)).entries
    rows = {row.labels: row.row for row in told(entries)[0]}
    gauge, observed = rows['{"__name__":"b"}'], rows['{"__name__":"cpu"}']
    assert gauge.bins == {}
    bins, counts = np.array(list(observed.bins)), np.array(list(observed.bins.values()))
    assert quantile(bins, counts, 0.95) == pytest.approx(95, rel=1 / 128)


def test_a_large_window_keeps_the_sketch_of_all_its_parts() -> None:
    processor = WindowsProcessor(sizes_ms=(MINUTE, 2 * MINUTE))
    entries = run(
        cpu((1, 1), (70, 1), (71, 9), kind="summary"), tick(100), tick(150), processor=processor
    ).entries
    assert sum(told(entries)[0][-1].row.bins.values()) == 3


def test_more_waiting_samples_than_allowed_are_folded_early_and_still_told_once() -> None:
    processor = WindowsProcessor(pending_points_max=3)
    overflowing = run(
        cpu((1, 1), (2, 2), (3, 3), (4, 4)), cpu((5, 5)), tick(90), processor=processor
    )
    assert lines(overflowing.entries) == ["WindowClosed cpu 60s +0s n=5 sum=15"]


def test_duplicates_that_an_early_fold_left_out_are_counted_by_the_next_event() -> None:
    processor = WindowsProcessor(pending_points_max=3)
    entries = run(cpu((1, 1), (1, 2), (2, 2), (3, 3)), tick(90), processor=processor).entries
    assert told(entries)[1] == 1


def test_more_open_rows_than_allowed_are_told_early_and_amended_later() -> None:
    processor = WindowsProcessor(pending_points_max=1)
    many = [cpu((1, 1), name="a"), cpu((1, 1), name="b"), cpu((1, 1), name="c")]
    entries = run(
        *many, cpu((2, 2), name="a"), cpu((2, 2), name="b"), tick(90), processor=processor
    )
    assert lines(entries.entries) == [
        "WindowClosed a 60s +0s n=1 sum=1",
        "WindowClosed b 60s +0s n=1 sum=1",
        "WindowAmended a 60s +0s n=1 sum=2",
        "WindowAmended c 60s +0s n=1 sum=1",
        "WindowAmended b 60s +0s n=1 sum=2",
    ]


def test_events_are_cut_to_what_one_message_may_hold() -> None:
    labels = tuple(f'{{"__name__":"cpu","host":"{i:05}{"x" * 300}"}}' for i in range(9_000))
    batch = MetricBatch(
        labels=labels,
        types=("gauge",) * len(labels),
        units=("",) * len(labels),
        series=np.arange(len(labels), dtype=np.int32),
        at_ms=np.full(len(labels), T0),
        value=np.random.default_rng(1).normal(size=len(labels)),
    )
    processor = WindowsProcessor(sizes_ms=(MINUTE, 2 * MINUTE))
    both = run(MetricsCollected(batch), tick(100), processor=processor)
    assert len(both.entries) > 1
    assert all(len(entry.message.body) <= BODY_BYTES_MAX for entry in both.entries)
    assert [row.labels for row in told(both.entries)[0]] == sorted(labels)
    blocks = [key for key in both.table if key.startswith(f"{2 * MINUTE}/{T0}/")]
    assert len(blocks) > 1
    closed = run(MetricsCollected(batch), tick(100), tick(150), processor=processor)
    assert len(told(closed.entries)[0]) == 2 * len(labels)
    assert set(closed.table) == {HEAD, MARKS}


def test_a_poison_record_is_told_with_its_reason_and_the_others_are_folded() -> None:
    good = history(cpu((0, 1)), tick(1), tick(90))
    bad = Record(good[1].topic, 0, 1, T0, good[1].headers, b"\xff not json")
    entries = run_in_steps(WindowsProcessor(), (good[0], bad, good[2]), 1).entries
    (letter,) = dead(entries)
    assert (letter.offset, letter.body, letter.headers) == (1, bad.body, dict(bad.headers))
    assert "clock.ticked.v1" in letter.reason
    assert lines(entries) == ["WindowClosed cpu 60s +0s n=1 sum=1"]


def test_an_event_of_another_topic_is_a_dead_letter() -> None:
    batch = told_batch()
    entries = run(WindowClosed(batch, 0), WindowAmended(batch, 0), tick(90)).entries
    assert [letter.reason for letter in dead(entries)] == [
        "metrics.window_closed.v1 does not belong on metrics.points",
        "metrics.window_amended.v1 does not belong on metrics.points",
    ]


def told_batch() -> WindowBatch:
    (entry,) = run(cpu((0, 1)), tick(90)).entries
    data = decode(entry.message.headers, entry.message.body).data
    assert isinstance(data, WindowClosed)
    return data.batch


def test_a_poison_record_too_large_for_a_dead_letter_is_cut_and_says_so() -> None:
    record = Record("metrics.points", 0, 0, T0, {"ce_type": "x" * 9_000}, b"\x00" * BODY_BYTES_MAX)
    (entry,) = run_in_steps(WindowsProcessor(), (record,), 1).entries
    assert len(entry.message.body) <= BODY_BYTES_MAX
    (letter,) = dead([entry])
    assert len(letter.body) > BODY_BYTES_MAX // 2
    assert f"of {BODY_BYTES_MAX:,} bytes of the body are kept here" in letter.reason


def test_a_huge_id_of_a_cause_does_not_make_an_output_too_large_to_append() -> None:
    headers = {"ce_id": "i" * 8_000, "ce_actor": "a" * 8_000}
    (entry,) = run_in_steps(
        WindowsProcessor(), (Record("metrics.points", 0, 0, T0, headers, b""),), 1
    ).entries
    assert sum(len(name) + len(value) for name, value in entry.message.headers.items()) < 4_096


def test_samples_far_ahead_of_their_record_are_told_and_not_taken() -> None:
    entries = run(cpu((1, 1), (2 * 3_600, 2)), tick(90)).entries
    assert lines(entries) == ["WindowClosed cpu 60s +0s n=1 sum=1"]
    assert "1 of 2 samples are over 60 minutes ahead" in dead(entries)[0].reason


def test_a_tick_far_ahead_does_not_move_the_watermark() -> None:
    entries = run(cpu((1, 1)), Ticked(T0 + 10**15), Ticked(10**30), tick(90)).entries
    assert len(dead(entries)) == 2
    assert lines(entries) == ["WindowClosed cpu 60s +0s n=1 sum=1"]


@settings(max_examples=examples(300), deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4)
)
def test_a_record_with_flipped_bytes_never_stops_the_processor(
    flips: list[tuple[int, int]],
) -> None:
    good = history(cpu((0, 1), (1, 2), kind="histogram"), tick(90), tick(95))
    body = bytearray(good[0].body)
    for place, mask in flips:
        body[place % len(body)] ^= mask
    bad = Record(good[0].topic, 0, 0, T0, good[0].headers, bytes(body))
    run_in_steps(WindowsProcessor(), (bad, *good[1:]), 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_type": f"metrics.collected.v{'9' * 5_000}"},
        {"ce_type": "metrics.window_closed.v1", "duplicates": "9" * 5_000},
        {"ce_type": "metrics.window_closed.v1", "duplicates": "²"},
        {"ce_time": "2024-01-01"},
        {"ce_id": ""},
    ],
)
def test_absurd_headers_are_a_dead_letter(headers: dict[str, str]) -> None:
    good = record_of(0, WindowClosed(told_batch(), 0), T0)
    bad = Record(good.topic, 0, 0, T0, {**good.headers, **headers}, good.body)
    assert len(dead(run_in_steps(WindowsProcessor(), (bad,), 1).entries)) == 1


def test_a_batch_with_a_null_or_an_endless_unit_is_a_dead_letter() -> None:
    good = record_of(0, cpu((0, 1), (1, 2)), T0)
    table = pa.ipc.open_stream(good.body).read_all()
    holes = pa.DictionaryArray.from_arrays(
        pa.array([0, None], pa.int32()), table.column(0).chunk(0).dictionary
    )
    bodies = [write_ipc(table.set_column(0, table.field(0), holes).to_batches()[0])]
    batch = replace(points([("cpu", "gauge", T0, 1.0)]).batch, units=("s" * 10_000,))
    bodies.append(encode_batch(batch))
    for body in bodies:
        bad = Record(good.topic, 0, 0, T0, good.headers, body)
        assert len(dead(run_in_steps(WindowsProcessor(), (bad,), 1).entries)) == 1


def test_an_empty_batch_adds_nothing() -> None:
    assert run(points([]), tick(90)).entries == []


def test_outputs_name_the_tick_that_caused_them() -> None:
    (entry,) = run(cpu((0, 1)), tick(90)).entries
    assert entry.topic == WINDOWS
    assert entry.message.headers["ce_causationid"] == "test/1"
    assert entry.message.headers["ce_source"] == "processor/windows"
