"""Window sizes may change between runs; series come and go; neither loses or doubles a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.catalogue import EventData, Ticked
from streams.log.protocol import Entry, Record
from streams.processors.windows import WindowsProcessor
from tests.effort import examples
from tests.flow.schedules import BEGIN_MS, Run, points, record_of, run_in_steps, told

SECOND = 1_000
T0 = BEGIN_MS // 60_000 * 60_000
SIZES = st.sampled_from([(1,), (2,), (3,), (1, 2), (2, 3), (2, 4), (4, 6), (6,)])


def samples_told(entries: Sequence[Entry], size_ms: int) -> Counter[int]:
    """Start of each window of this size, in seconds, and the samples that its events hold."""
    found: Counter[int] = Counter()
    for row in told(entries)[0]:
        if row.size_ms == size_ms:
            found[(row.start_ms - T0) // SECOND] += row.row.count
    return found


def switched(
    sizes: Sequence[tuple[int, ...]], records: tuple[Record, ...], cuts: Sequence[int]
) -> Run:
    """Each of ``sizes`` (seconds) runs up to its cut; every switch is a restart."""
    run = Run(WindowsProcessor(), records)
    begin = 0
    for these, end in zip(sizes, [*cuts, len(records)], strict=True):
        sizes_ms = tuple(size * SECOND for size in these)
        run.processor = WindowsProcessor(sizes_ms=sizes_ms, grace_ms=0)
        run.feed(run.restored(), records[begin:end])
        begin = end
    return run


@settings(max_examples=examples(150), deadline=None)
@given(before=SIZES, after=SIZES, kept=st.sampled_from([1, 2, 3, 6]), data=st.data())
def test_a_size_that_stays_tells_every_sample_once_whatever_is_added_or_removed_beside_it(
    before: tuple[int, ...], after: tuple[int, ...], kept: int, data: st.DataObject
) -> None:
    events: list[EventData] = []
    for second in range(12):
        events.append(points([("cpu", "gauge", T0 + second * SECOND + 100, 1.0)]))
        if data.draw(st.booleans()):
            events.append(Ticked(T0 + second * SECOND + 500))
    events.append(Ticked(T0 + 30 * SECOND))
    records = tuple(record_of(i, event, T0) for i, event in enumerate(events))
    cut = data.draw(st.integers(0, len(records)))
    run = switched([(*before, kept), (*after, kept)], records, [cut])
    expected = dict.fromkeys(range(0, 12, kept), kept)
    assert samples_told(run.entries, kept * SECOND) == expected


def test_a_size_that_is_gone_is_told_no_more_and_its_open_windows_are_deleted() -> None:
    events: list[EventData] = [
        points([("cpu", "gauge", T0, 1.0)]),
        Ticked(T0 + 2 * SECOND),
        Ticked(T0 + 90 * SECOND),
    ]
    records = tuple(record_of(i, event, T0) for i, event in enumerate(events))
    run = switched([(1, 60)], records[:2], [])
    assert any(key.startswith("60000/") for key in run.table)
    run = switched([(1, 60), (1,)], records, [2])
    assert not any(key.startswith("60000/") for key in run.table)
    assert samples_told(run.entries, 60 * SECOND) == {}


def test_a_longer_grace_never_moves_the_watermark_back() -> None:
    events: list[EventData] = [
        points([("cpu", "gauge", T0, 1.0)]),
        Ticked(T0 + 60 * SECOND),
        points([("cpu", "gauge", T0 + 1, 1.0)]),
        Ticked(T0 + 65 * SECOND),
    ]
    records = tuple(record_of(i, event, T0) for i, event in enumerate(events))
    run = Run(WindowsProcessor(grace_ms=0), records)
    run.feed(run.restored(), records[:2])
    run.processor = WindowsProcessor(grace_ms=30_000)
    run.feed(run.restored(), records[2:])
    assert [row.kind for row in told(run.entries)[0]] == ["WindowClosed", "WindowAmended"]


def test_series_that_are_gone_are_forgotten_and_what_is_told_stays_the_same() -> None:
    events: list[EventData] = []
    for minute in range(40):
        at_ms = T0 + minute * 60_000
        events.append(points([(f"m{minute}.{i}", "summary", at_ms + i, 1.0) for i in range(20)]))
        events.append(points([("stays", "counter", at_ms, float(minute))]))
        events.append(Ticked(at_ms + 5_000))
    records = tuple(record_of(i, event, T0 + i // 3 * 60_000) for i, event in enumerate(events))
    sizes_ms = (60_000, 300_000)
    whole = run_in_steps(WindowsProcessor(sizes_ms=sizes_ms), records, 1)
    run = Run(WindowsProcessor(sizes_ms=sizes_ms, idle_series_max=8), records)
    tracked = run.restored()
    for record in records:
        tracked = run.feed(tracked, [record])
        in_use = 7 * 21  # five minutes that are open, one that waits, one that comes
        assert len(tracked.state.index) <= 2 * in_use + 8
    assert run.entries == whole.entries
    assert run.table == whole.table
