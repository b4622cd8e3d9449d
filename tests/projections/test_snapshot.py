"""Copies of a database that is being written, what begins with one, and a deleted file."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from projections.duck import DuckProjection
from projections.projector import Projector
from projections.queries import Queries
from projections.snapshot import HeldFile, check_snapshot
from projections.verify import projection_hashes, verify
from streams.errors import ProjectionDamaged, ProjectionError
from streams.events.topics import POINTS
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import BEGIN_MS, collect, hashes, open_log, text

A = text("a")
WAIT_S = 30.0


@pytest.fixture
def projector(log: SqliteLog, path: Path) -> Iterator[Projector]:
    projector = Projector(log, path)
    projector.start()
    yield projector
    projector.stop()


def count(projector: Projector) -> int:
    return Queries(projector).totals().points


async def write(log: SqliteLog, projector: Projector, at_ms: int, *, samples: int = 1) -> None:
    position = collect(log, [(A, at_ms + i, 1.0) for i in range(samples)])
    await projector.wait_for({(POINTS, position.partition): position.offset}, timeout_s=WAIT_S)


async def until_back(path: Path) -> None:
    async with asyncio.timeout(WAIT_S):
        while not path.exists():
            await asyncio.sleep(0)


async def test_a_copy_is_the_fold_of_the_log_at_its_positions_while_the_writing_goes_on(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    await write(log, projector, BEGIN_MS, samples=50_000)
    copies = 5
    more = threading.Semaphore(0)

    def grow() -> None:
        for number in range(8 * copies):
            more.acquire()
            at_ms = 2 * BEGIN_MS + number * 20_000
            collect(log, [(text("b", n=str(i % 50)), at_ms + i, 1.0) for i in range(20_000)])

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        for number in range(copies):
            more.release(8)
            copied = path.with_name(f"copy-{number}.duckdb")
            positions = await asyncio.to_thread(projector.copy, copied)
            assert check_snapshot(copied, log) == positions
            projection = DuckProjection.open(copied, log)
            assert verify(log, hashes(projection)).equal
            projection.close()
    finally:
        more.release(8 * copies)
        growing.join()
    assert positions[POINTS, 0] > 1
    end = log.ends()[POINTS, 0]
    await projector.wait_for({(POINTS, 0): end - 1}, timeout_s=WAIT_S)
    with projector.reading(60.0) as reader:
        stored = projection_hashes(reader)
    assert verify(log, stored).equal, "the copied one went on"


async def test_a_copy_leaves_the_file_locked_against_other_processes(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    projector.copy(path.with_name("copy.duckdb"))
    script = f"import duckdb; duckdb.connect({str(path)!r}, read_only=True)"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert b"lock" in other.stderr


async def test_a_copy_breaks_off_where_the_file_is_to_be_closed(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    held = HeldFile(path)
    held.end_copies()
    with pytest.raises(ProjectionError, match="ask again"):
        held.copy_to(path.with_name("copy.duckdb"))
    assert not path.with_name("copy.duckdb").exists()
    held.close()
    projector.stop()
    with pytest.raises(ProjectionError):
        projector.copy(path.with_name("copy.duckdb"))


async def test_a_copy_is_never_written_over_something(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    path.with_name("there").write_bytes(b"something")
    with pytest.raises(ProjectionError, match="File exists"):
        projector.copy(path.with_name("there"))
    assert path.with_name("there").read_bytes() == b"something"


async def test_a_deleted_file_comes_back_and_nobody_notices(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    await write(log, projector, BEGIN_MS, samples=1_000)
    for i in range(3):
        path.unlink()
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        await write(log, projector, BEGIN_MS + 10_000 + i)
        await until_back(path)
        assert count(projector) == 1_001 + i
    assert projector.failure() is None
    await write(log, projector, BEGIN_MS + 20_000)
    projector.stop()
    again = Projector(log, path)
    again.start()
    assert count(again) == 1_004
    with again.reading(60.0) as reader:
        stored = projection_hashes(reader)
    again.stop()
    assert verify(log, stored).equal


async def test_a_deleted_directory_is_told(
    log: SqliteLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    projector = Projector(log, folder / "metrics.duckdb")
    projector.start()
    await write(log, projector, BEGIN_MS)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    async with asyncio.timeout(WAIT_S):
        while projector.failure() is None:
            await asyncio.sleep(0)
    assert count(projector) == 1, "what is open answers"
    folder.mkdir()
    await until_back(folder / "metrics.duckdb")
    await write(log, projector, BEGIN_MS + 1)
    assert count(projector) == 2
    projector.stop()


async def test_a_new_node_begins_with_a_snapshot_and_follows_from_there(
    log: SqliteLog, projector: Projector, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await write(log, projector, BEGIN_MS, samples=1_000)
    other = Projector(log, path.with_name("other.duckdb"), fetch=projector.copy)
    other.start()
    assert other.positions()[POINTS, 0] == 1, "it has it before it follows the log"
    await write(log, other, BEGIN_MS + 10_000)
    assert count(other) == 1_001
    with other.reading(60.0) as reader:
        stored = projection_hashes(reader)
    other.stop()
    assert verify(log, stored).equal
    assert "took a snapshot" in caplog.text


async def test_a_damaged_file_is_replaced_by_a_snapshot(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    await write(log, projector, BEGIN_MS)
    damaged = path.with_name("other.duckdb")
    damaged.write_bytes(b"damaged" * 10_000)
    other = Projector(log, damaged, fetch=projector.copy)
    other.start()
    assert other.positions()[POINTS, 0] == 1
    other.stop()
    (aside,) = path.parent.glob("other.duckdb.damaged-*Z")
    assert aside.read_bytes().startswith(b"damaged")


async def test_a_snapshot_that_cannot_be_had_or_is_not_of_this_log_is_told_and_done_without(
    log: SqliteLog, projector: Projector, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(target: Path) -> None:
        raise ProjectionError("the other node does not answer")

    def nonsense(target: Path) -> None:
        target.write_bytes(b"nonsense" * 10_000)

    folder = path.parent / "another"
    folder.mkdir()
    another_log = open_log(folder)
    position = collect(another_log, [(A, BEGIN_MS, 1.0)])
    for number, (fetch, reason) in enumerate(
        [
            (unreachable, "does not answer"),
            (nonsense, "cannot be opened"),
            (projector.copy, "belongs to log"),
        ]
    ):
        other = Projector(another_log, folder / f"{number}.duckdb", fetch=fetch)
        other.start()
        await other.wait_for({(POINTS, 0): position.offset}, timeout_s=WAIT_S)
        assert count(other) == 1
        other.stop()
        assert reason in caplog.text
    assert not list(folder.glob("*.rebuild*"))
    another_log.close()


async def test_a_snapshot_ahead_of_the_log_or_cut_short_is_refused(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    await write(log, projector, BEGIN_MS, samples=100_000)
    copied = path.with_name("copy.duckdb")
    projector.copy(copied)
    with duckdb.connect(str(copied)) as db:
        db.execute("UPDATE positions SET next_offset = 1000")
    with pytest.raises(ProjectionDamaged, match="log ends at"):
        check_snapshot(copied, log)
    cut = path.with_name("cut.duckdb")
    cut.write_bytes(copied.read_bytes()[: copied.stat().st_size // 2])
    with pytest.raises(ProjectionError):
        check_snapshot(cut, log)
