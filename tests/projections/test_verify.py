"""What `verify` finds, and the views that people read."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.hashing import TableHash, hash_rows, list_words, text_words, words
from projections.rebuild import Rebuilt
from projections.verify import refold_hashes, verify
from streams.errors import ProjectionError
from streams.events.batch import STALE
from streams.events.topics import POINTS
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import (
    BEGIN_MS,
    close_windows,
    collect,
    everything,
    hashes,
    text,
    tick,
)

A, B = text("a", host="x", source="s"), text("b")


@pytest.fixture
def told(log: SqliteLog) -> SqliteLog:
    collect(log, [(A, BEGIN_MS, 1.0), (A, BEGIN_MS + 1, 2.0), (B, BEGIN_MS, -0.0)], kind="summary")
    collect(log, [(B, BEGIN_MS + 5, STALE), (B, BEGIN_MS, 3.0)], kind="counter", unit="By")
    tick(log, BEGIN_MS + 120_000)
    collect(log, [(A, BEGIN_MS + 2, 1.0)], kind="summary")
    tick(log, BEGIN_MS + 180_000)
    close_windows(log)
    return log


@pytest.mark.parametrize(
    ("tamper", "table"),
    [
        ("UPDATE points SET value = nextafter(value, 9.0) WHERE value = 0", "points"),
        ("UPDATE points SET value = 'nan' WHERE value IS NULL", "points"),
        ("INSERT INTO points SELECT * FROM points LIMIT 1", "points"),
        ("DELETE FROM points WHERE at_ms = (SELECT max(at_ms) FROM points)", "points"),
        ("UPDATE points SET series_id = 1 - series_id", "points"),
        ("UPDATE latest SET at_ms = at_ms + 1", "latest"),
        ("UPDATE series SET unit = 'x' WHERE name = 'a'", "series"),
        ("UPDATE counters SET value = value + 1 WHERE name = 'poison'", "counters"),
        ("UPDATE windows SET segment = segment + 1", "windows"),
        ("UPDATE windows SET increase = increase + 1", "windows"),
        ("UPDATE windows SET bin_counts = list_transform(bin_counts, lambda n: n + 1)", "windows"),
        ("UPDATE windows SET bins = list_transform(bins, lambda b: b + 1)", "windows"),
    ],
)
def test_any_row_changed_by_hand_is_found(
    told: SqliteLog, path: Path, tamper: str, table: str
) -> None:
    projection = DuckProjection.open(path, told)
    everything(told, projection)
    assert verify(told, hashes(projection)).equal
    projection.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(tamper)
    projection = DuckProjection.open(path, told)
    report = verify(told, hashes(projection))
    assert not report.equal
    assert [line.split(":")[0] for line in report.differences] == [table]
    projection.close()


def test_a_refold_tells_its_progress_and_stops_at_the_positions(told: SqliteLog) -> None:
    progress: list[Rebuilt] = []
    assert refold_hashes(told, {(POINTS, 0): 2}, progress.append).positions == {(POINTS, 0): 2}
    assert (progress[-1].records, progress[-1].records_total) == (2, 2)


def test_positions_that_the_log_does_not_reach_cannot_be_verified(told: SqliteLog) -> None:
    with pytest.raises(ProjectionError, match="nothing can be read"):
        refold_hashes(told, {(POINTS, 0): 100})


cells = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 3), st.floats()))


def hashed(rows: list[tuple[str, int, float]]) -> TableHash:
    if not rows:
        return TableHash()
    texts, numbers, values = zip(*rows, strict=True)
    return hash_rows([words(np.array(numbers)), words(np.array(values))], [text_words(texts)])


@given(cells, cells, st.randoms(use_true_random=False))
def test_a_hash_is_that_of_the_multiset_however_it_is_cut(
    left: list[tuple[str, int, float]], right: list[tuple[str, int, float]], chance: object
) -> None:
    mixed = [*right, *left]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert hashed(left) + hashed(right) == hashed(mixed)
    if right:
        assert hashed(left) != hashed(mixed), "rows more"


def test_lists_are_hashed_by_their_elements_in_order() -> None:
    offsets = np.array([0, 2, 2, 4])
    one = list_words(offsets, np.array([1, 2, 1, 2]), np.array([3, 4, 4, 3]))
    assert one[1] == 0
    assert one[0] != one[2]
    assert list_words(np.array([0, 2]), np.array([2, 1]))[0] != one[0]


def test_the_views_join_samples_with_their_series_and_windows_with_their_amendments(
    told: SqliteLog, projection: DuckProjection
) -> None:
    everything(told, projection)
    cursor = projection.cursor()
    samples = cursor.execute(
        "SELECT name, labels['host'], source, type, unit, epoch_ms(sampled_at), value FROM samples "
        "WHERE name = 'a' ORDER BY sampled_at"
    ).fetchall()
    assert samples == [
        ("a", "x", "s", "summary", "", BEGIN_MS, 1.0),
        ("a", "x", "s", "summary", "", BEGIN_MS + 1, 2.0),
        ("a", "x", "s", "summary", "", BEGIN_MS + 2, 1.0),
    ]
    latest = cursor.execute("SELECT name, at_ms, value FROM latest_samples ORDER BY 1").fetchall()
    assert latest == [("a", BEGIN_MS + 2, 1.0), ("b", BEGIN_MS + 5, None)]
    merged = cursor.execute(
        "SELECT segments, count, sum, min, max, first, last, increase FROM windows_merged "
        "JOIN series USING (series_id) WHERE name = 'a'"
    ).fetchall()
    # 1, 2, then a fall to 1: a reset, at the seam of the two segments.
    assert merged == [(2, 3, 4.0, 1.0, 2.0, 1.0, 1.0, 2.0)]
    cursor.close()
