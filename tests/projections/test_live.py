"""The tail in memory holds what the file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from projections.answers import Matcher, Selection
from projections.duck import DuckProjection
from projections.live import LiveTail, Tail
from projections.series import SeriesTable, new_series
from streams.events.batch import STALE
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from tests.projections.making import collect, everything, text

A, B, C = (text("m", host=host) for host in "abc")
ALWAYS = Selection("m", (), 0, 2**62)


def rows(tail: Tail) -> list[tuple[str, int, float]]:
    return [
        (tail.texts[series], at_ms, value)
        for series, at_ms, value in zip(
            tail.series.tolist(), tail.at_ms.tolist(), tail.value.tolist(), strict=True
        )
    ]


def test_the_newest_sample_of_each_series_is_at_hand(
    log: SqliteLog, projection: DuckProjection
) -> None:
    collect(log, [(B, 5, 1.0), (A, 9, 2.0), (A, 7, 3.0), (A, 9, 4.0), (C, 3, 5.0)])
    everything(log, projection)
    live = projection.live
    assert rows(live.latest(ALWAYS)) == [(A, 9, 2.0), (B, 5, 1.0), (C, 3, 5.0)]
    assert rows(live.latest(Selection("m", (), 4, 6))) == [(B, 5, 1.0)]
    not_b = Selection("m", (Matcher("host", "!=", "b"),), 0, 100)
    assert rows(live.latest(not_b)) == [(A, 9, 2.0), (C, 3, 5.0)]


def test_recent_samples_are_those_of_the_file_also_after_a_restart(
    log: SqliteLog, projection: DuckProjection, path: Path
) -> None:
    now = wall_clock_ms()
    told = [(A, now - 1000, 1.0), (B, now - 500, 2.0), (A, now - 1000, 9.0), (A, now, STALE)]
    collect(log, [*told, (C, now - 3_600_000, 4.0)])
    everything(log, projection)
    collect(log, [(B, now - 500, 7.0), (B, now - 200, 8.0)])
    everything(log, projection)
    before = projection.live.recent(ALWAYS)
    assert [row[:2] for row in rows(before)] == [
        (A, now - 1000),
        (A, now),
        (B, now - 500),
        (B, now - 200),
    ]
    projection.close()
    again = DuckProjection.open(path, log)
    after = again.live.recent(ALWAYS)
    assert after.texts == before.texts
    assert after.value.view(np.uint64).tolist() == before.value.view(np.uint64).tolist()
    again.close()


def absorb(tail: LiveTail, appended_ms: int, count: int) -> None:
    at_ms = np.arange(appended_ms - count, appended_ms, dtype=np.int64)
    tail.absorb(appended_ms, np.zeros(count, dtype=np.int32), at_ms, np.zeros(count))


def test_the_tail_is_bounded_by_samples_and_by_time() -> None:
    known = SeriesTable()
    known.add([new_series(A, "gauge", "")])
    tail = LiveTail(known, span_ms=1_000, points_max=100)
    absorb(tail, 10_000, 60)
    absorb(tail, 10_500, 60)
    assert len(tail) == 60, "whole transactions go"
    absorb(tail, 10_600, 500)
    assert len(tail) == 100
    absorb(tail, 20_000, 0)
    assert len(tail) == 0
    assert len(tail.recent(ALWAYS)) == 0
