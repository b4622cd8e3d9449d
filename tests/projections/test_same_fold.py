"""However the log is cut into transactions, and whatever is killed when: the same rows."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.verify import refold_hashes, verify
from streams.events.batch import STALE, STALE_BITS
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Message
from streams.log.sqlite_log import SqliteLog
from tests.effort import examples
from tests.projections.making import (
    BEGIN_MS,
    Sample,
    append_message,
    close_windows,
    collect,
    everything,
    hashes,
    open_log,
    stored,
    text,
    tick,
)

SERIES = [text("m", host=host) for host in "abc"] + [text("n")]
NAN_BITS = 0x7FF8000000000000
PLACES = [(POINTS, 0), (WINDOWS, 0)]

samples = st.lists(
    st.tuples(
        st.sampled_from(SERIES),
        st.integers(-3, 40).map(lambda n: BEGIN_MS + n * 5_000),
        st.one_of(st.floats(allow_nan=True), st.just(STALE), st.integers(0, 9).map(float)),
    ),
    max_size=12,
)
entries = st.lists(
    st.one_of(
        st.tuples(st.just("samples"), samples, st.sampled_from(["gauge", "counter", "summary"])),
        st.tuples(st.just("tick"), st.integers(0, 60), st.just("")),
        st.tuples(st.just("poison"), st.just(0), st.just("")),
    ),
    min_size=1,
    max_size=14,
)


def write(log: SqliteLog, made: list[tuple[str, object, str]]) -> list[Sample]:
    """Appends the entries and the windows that they make; returns all samples in log order."""
    told: list[Sample] = []
    for kind, what, metric_type in made:
        if kind == "samples":
            assert isinstance(what, list)
            collect(log, what, kind=metric_type, unit=metric_type)
            told += what
        elif kind == "tick":
            assert isinstance(what, int)
            tick(log, BEGIN_MS + what * 5_000)
        else:
            append_message(log, Message({"ce_type": "nonsense.v1"}, b""))
    close_windows(log)
    return told


def first_wins(told: list[Sample]) -> dict[tuple[str, int], float]:
    kept: dict[tuple[str, int], float] = {}
    for series, at_ms, value in told:
        kept.setdefault((series, at_ms), value)
    return kept


def bits(value: float | None) -> int:
    """The file knows one NaN beside the staleness marker."""
    word = STALE_BITS if value is None else int(np.array([value]).view(np.uint64)[0])
    other_nan = value is not None and np.isnan(value) and word != STALE_BITS
    return NAN_BITS if other_nan else word


@settings(max_examples=examples(40), deadline=None)
@given(entries, st.randoms(use_true_random=False))
def test_any_cutting_and_any_restarts_give_the_rows_of_a_plain_fold(
    made: list[tuple[str, object, str]], chance: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = open_log(folder)
        told = write(log, made)
        projection = DuckProjection.open(folder / "cut.duckdb", log)
        ends = log.ends()
        while left := [p for p in PLACES if projection.positions()[p] < ends[p]]:
            place = chance.choice(left)
            records = log.read_now(*place, projection.positions()[place])
            again = log.read_now(*place, 0)[: projection.positions()[place]]
            projection.apply([*again[-2:], *records[: chance.randint(1, 4)]])
            if chance.random() < 0.2:
                projection.close()
                projection = DuckProjection.open(folder / "cut.duckdb", log)

        kept = first_wins(told)
        found = {(series, at_ms): bits(value) for series, at_ms, value in stored(projection)}
        assert found == {key: bits(value) for key, value in kept.items()}
        newest = {series: max(t for s, t in kept if s == series) for series, _ in kept}
        known = projection.series
        assert {
            known.texts[i]: (at_ms, bits(value))
            for i, (at_ms, value) in enumerate(
                zip(known.newest(len(known)).tolist(), known.values().tolist(), strict=True)
            )
        } == {s: (t, bits(kept[s, t])) for s, t in newest.items()}
        assert projection.duplicates() == len(told) - len(kept)
        assert verify(log, hashes(projection)).differences == ()
        projection.close()
        log.close()


def test_a_refold_to_older_positions_gives_what_was_stored_then(
    log: SqliteLog, projection: DuckProjection
) -> None:
    collect(log, [(SERIES[0], BEGIN_MS, 1.0)])
    everything(log, projection)
    then = hashes(projection)
    collect(log, [(SERIES[0], BEGIN_MS + 1, 1.0)])
    everything(log, projection)
    assert hashes(projection) != then
    assert refold_hashes(log, then.positions) == then


APPLY = """
import sys
from pathlib import Path
from projections.duck import DuckProjection
from streams.log.sqlite_log import SqliteLog
folder = Path(sys.argv[1])
log = SqliteLog.open(folder / "log.db", read_only=True)
projection = DuckProjection.open(folder / "metrics.duckdb", log)
print("open", flush=True)
while True:
    for place, offset in projection.positions().items():
        records = log.read_now(*place, offset, records_max=3)
        if records:
            projection.apply(records)
            print(len(records), flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_prefix_of_the_log(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = open_log(tmp_path)
    for i in range(400):
        collect(log, [(s, BEGIN_MS + i * 5_000 - chance.randint(0, 3) * 5_000, i) for s in SERIES])
    tick(log, BEGIN_MS + 3_000_000)
    close_windows(log)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", APPLY, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 20)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        projection = DuckProjection.open(tmp_path / "metrics.duckdb", log)
        report = verify(log, hashes(projection))
        assert report.equal, report.differences
        projection.close()
    projection = DuckProjection.open(tmp_path / "metrics.duckdb", log)
    everything(log, projection)
    assert verify(log, hashes(projection)).equal
    projection.close()
    log.close()


def test_minus_zero_is_kept_and_nans_become_one(
    log: SqliteLog, projection: DuckProjection, path: Path
) -> None:
    patterns = [0x8000000000000000, 0, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000000]
    values = np.array(patterns, dtype=np.uint64).view(np.float64).tolist()
    collect(log, [(SERIES[0], BEGIN_MS + i, value) for i, value in enumerate(values)])
    everything(log, projection)
    projection.checkpoint()
    projection.close()
    again = DuckProjection.open(path, log)
    nan = bits(np.nan)
    assert [bits(row[2]) for row in stored(again)] == [*patterns[:2], nan, nan, patterns[4]]
    again.close()


def test_a_newest_value_that_changes_by_its_sign_only_is_written(
    log: SqliteLog, projection: DuckProjection
) -> None:
    for i, value in enumerate((-0.0, 0.0, -0.0)):
        collect(log, [(SERIES[0], BEGIN_MS + i, value)])
        everything(log, projection)
        assert verify(log, hashes(projection)).differences == ()
