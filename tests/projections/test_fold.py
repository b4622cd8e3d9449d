"""Which samples can be duplicates, and what each record moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.samples import sort_out
from projections.series import NEVER
from streams.errors import ProjectionError
from streams.events.batch import STALE
from streams.events.topics import POINTS
from streams.log.protocol import Message
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import (
    BEGIN_MS,
    append_message,
    collect,
    everything,
    stored,
    text,
    tick,
)

A, B = text("a"), text("b")


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=60),
    st.lists(st.sampled_from([NEVER, 0, 3, 8]), min_size=5, max_size=5),
)
def test_a_sample_is_sure_when_it_is_newer_than_all_before_it(
    samples: list[tuple[int, int]], before: list[int]
) -> None:
    newest = list(before)
    expected, rows = [], {}
    for row, (series, at_ms) in enumerate(samples):
        expected.append(at_ms > newest[series])
        if expected[-1]:
            newest[series] = at_ms
            rows[series] = row
    series_column = np.array([sample[0] for sample in samples], dtype=np.int32)
    at_ms_column = np.array([sample[1] for sample in samples], dtype=np.int64)
    sure, last = sort_out(series_column, at_ms_column, np.array(before, dtype=np.int64))
    assert sure.tolist() == expected
    assert sorted(last.tolist()) == sorted(rows.values())


def test_times_at_the_ends_of_int64_are_told_apart() -> None:
    series = np.zeros(4, dtype=np.int32)
    times = np.array([-(2**63), 2**63 - 1, 0, 2**63 - 1], dtype=np.int64)
    sure, last = sort_out(series, times, np.array([NEVER]))
    assert sure.tolist() == [False, True, False, False]
    assert last.tolist() == [1]


def test_of_two_samples_with_one_time_the_first_in_log_order_wins(
    log: SqliteLog, projection: DuckProjection
) -> None:
    collect(log, [(A, 10, 1.0), (A, 10, 2.0), (A, 30, 3.0)])
    collect(log, [(A, 30, 4.0), (A, 20, 5.0), (A, 20, 6.0), (B, 10, 7.0)])
    everything(log, projection)
    assert stored(projection) == [(A, 10, 1.0), (A, 20, 5.0), (A, 30, 3.0), (B, 10, 7.0)]
    assert projection.duplicates() == 3


def test_a_staleness_marker_is_a_sample_that_can_be_first_too(
    log: SqliteLog, projection: DuckProjection
) -> None:
    collect(log, [(A, 10, STALE)])
    collect(log, [(A, 10, 2.0)])
    everything(log, projection)
    assert stored(projection) == [(A, 10, None)]


def test_a_redelivered_record_is_skipped(log: SqliteLog, projection: DuckProjection) -> None:
    collect(log, [(A, 10, 1.0)])
    collect(log, [(A, 20, 2.0)])
    records = log.read_now(POINTS, 0, 0)
    assert projection.apply(records) == 2
    assert projection.apply(records) == 0
    assert projection.apply(records[1:]) == 0
    assert projection.duplicates() == 0
    assert len(stored(projection)) == 2


def test_a_gap_in_the_offsets_is_refused_loudly(log: SqliteLog, projection: DuckProjection) -> None:
    for at_ms in (10, 20, 30):
        collect(log, [(A, at_ms, 1.0)])
    records = log.read_now(POINTS, 0, 0)
    with pytest.raises(ProjectionError, match="got offset 2, expected 1"):
        projection.apply([records[0], records[2]])
    assert projection.positions()[POINTS, 0] == 0, "nothing of it is stored"
    assert projection.apply(records) == 3


def test_a_poison_record_is_counted_and_the_next_one_is_absorbed(
    log: SqliteLog, projection: DuckProjection
) -> None:
    append_message(log, Message({"ce_type": "metrics.collected.v1"}, b"not arrow"))
    collect(log, [('{"__name__":"b","a":""}', 10, 1.0)])  # its text is not canonical
    collect(log, [("{not json", 10, 1.0)])
    collect(log, [(A, 10, 1.0)])
    everything(log, projection)
    assert stored(projection) == [(A, 10, 1.0)]
    assert projection.poison() == 3
    assert projection.positions()[POINTS, 0] == 4


def test_ticks_move_the_position_only(log: SqliteLog, projection: DuckProjection) -> None:
    tick(log, BEGIN_MS)
    everything(log, projection)
    assert projection.positions()[POINTS, 0] == 1
    assert stored(projection) == []


def test_the_last_statement_of_type_and_unit_holds(
    log: SqliteLog, projection: DuckProjection
) -> None:
    collect(log, [(A, 10, 1.0), (B, 10, 1.0)], kind="gauge", unit="s")
    collect(log, [(A, 20, 1.0)], kind="counter", unit="ms")
    everything(log, projection)
    collect(log, [(B, 20, 1.0)], kind="summary", unit="h")
    collect(log, [(B, 30, 1.0)], kind="gauge", unit="d")
    everything(log, projection)
    told = dict(
        zip(
            projection.series.texts,
            zip(projection.series.types, projection.series.units, strict=True),
            strict=True,
        )
    )
    assert told == {A: ("counter", "ms"), B: ("gauge", "d")}
