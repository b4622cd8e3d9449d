"""A log whose offsets have gaps, also where a partition's end holds no records."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.projector import Projector
from projections.reading import reading
from projections.rebuild import rebuild_file
from projections.verify import refold_hashes, verify
from streams.errors import ProjectionError
from streams.events.topics import ALERTS, HEALTH_RESULTS, POINTS, WINDOWS
from streams.log.sqlite_log import SqliteLog
from tests.effort import examples
from tests.projections.gapped import Gapped
from tests.projections.making import (
    BEGIN_MS,
    collect,
    everything,
    hashes,
    open_log,
    text,
    tick,
)
from tests.projections.test_same_fold import entries, write

A = text("a")
PLACE = (POINTS, 0)

gaps = st.lists(st.sampled_from([0, 0, 0, 1, 2, 100]), max_size=20)


def window_rows(projection: DuckProjection) -> list[str]:
    """Without the positions of the events that told them; NaN equals NaN here."""
    with reading(projection, 60.0) as reader:
        rows = reader.rows("SELECT * EXCLUDE (segment) FROM windows ORDER BY segment, series_id")
    return [repr(row) for row in rows]


@settings(max_examples=examples(30), deadline=None)
@given(entries, gaps, gaps, st.integers(0, 200))
def test_a_fold_of_a_log_with_gaps_is_the_fold_of_the_same_records_without(
    made: list[tuple[str, object, str]], points: list[int], windows: list[int], tail: int
) -> None:
    with tempfile.TemporaryDirectory() as name, closing(open_log(Path(name))) as log:
        write(log, made)
        gapped = Gapped(log, {PLACE: points, (WINDOWS, 0): windows}, {PLACE: tail})
        with (
            closing(DuckProjection.open(Path(name) / "plain.duckdb", log)) as plain,
            closing(DuckProjection.open(Path(name) / "gapped.duckdb", gapped)) as other,
        ):
            everything(log, plain)
            everything(gapped, other)
            expected, got = hashes(plain).tables, hashes(other).tables
            for table in expected.keys() - {"windows"}:
                assert got[table] == expected[table], table
            assert window_rows(other) == window_rows(plain)
            report = verify(gapped, hashes(other))
            assert report.differences == ()


def test_a_rebuild_ends_where_the_last_offsets_hold_no_records(log: SqliteLog, path: Path) -> None:
    for at_ms in range(5):
        collect(log, [(A, at_ms, 1.0)])
    gapped = Gapped(log, {PLACE: [3, 0, 1]}, {PLACE: 1_000, (WINDOWS, 0): 1_000})
    assert rebuild_file(path, gapped).records == 5
    with closing(DuckProjection.open(path, gapped)) as projection:
        others = {(WINDOWS, 0): 0, (ALERTS, 0): 0, (HEALTH_RESULTS, 0): 0}
        assert projection.positions() == {PLACE: 9, **others}
        assert verify(gapped, hashes(projection)).equal


async def test_the_projector_follows_over_gaps_and_rests_where_there_is_nothing(
    log: SqliteLog, path: Path
) -> None:
    gapped = Gapped(log, {PLACE: [0, 7, 7]}, {(WINDOWS, 0): 50})
    projector = Projector(gapped, path)
    projector.start()
    try:
        for i, offset in enumerate((0, 8, 16)):
            collect(log, [(A, i, 1.0)])
            await projector.wait_for({PLACE: offset}, 20.0)
        assert projector.failure() is None
        assert projector.lag()["duckdb"].records == 50, "as far as offsets tell"
        assert await asyncio.to_thread(projector.rebuild) is not None
    finally:
        projector.stop(20.0)


def test_a_refold_stops_at_its_positions_though_records_lie_beyond_a_gap(log: SqliteLog) -> None:
    for at_ms in range(3):
        collect(log, [(A, at_ms, 1.0)])
    gapped = Gapped(log, {PLACE: [0, 5, 5]})
    assert refold_hashes(gapped, {PLACE: 1}).tables["points"].rows == 1
    with pytest.raises(ProjectionError, match=r"metrics.points/0 end at 7 in the log, not at 8"):
        refold_hashes(gapped, {PLACE: 8})


def test_a_jump_is_a_loss_where_the_log_has_no_gaps(log: SqliteLog, path: Path) -> None:
    tick(log, BEGIN_MS)
    tick(log, BEGIN_MS + 1)
    gapped = Gapped(log, {PLACE: [0, 1]}, gapless=True)
    with (
        closing(DuckProjection.open(path, gapped)) as projection,
        pytest.raises(ProjectionError, match="got offset 2, expected 1"),
    ):
        projection.apply(gapped.read_now(*PLACE, 0))
