"""Following the log, waiting for positions, damage and rebuilds."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.projector import NAME, Projector
from projections.queries import Queries, Selection
from projections.rebuild import Rebuilt, rebuild_file
from projections.verify import projection_hashes, verify
from streams.errors import InputError, LogUnavailable, NotCaughtUp, ProjectionError
from streams.events.topics import DEADLETTER, POINTS
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import BEGIN_MS, collect, open_log, text

A = text("a")
ALWAYS = Selection(None, (), 0, 2 * BEGIN_MS)


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
    await projector.wait_for({(POINTS, position.partition): position.offset})


async def test_a_reader_that_waits_for_its_write_sees_it(
    log: SqliteLog, projector: Projector
) -> None:
    for i in range(20):
        await write(log, projector, BEGIN_MS + i)
        assert count(projector) == i + 1
    assert list(projector.series_texts()) == [A]
    assert projector.lag()[NAME].records == 0
    assert projector.stalled_for_s() == 0.0
    assert projector.failure() is None


async def test_all_partitions_are_followed(tmp_path: Path) -> None:
    log = open_log(tmp_path, partitions=3)
    projector = Projector(log, tmp_path / "metrics.duckdb")
    projector.start()
    for partition in range(3):
        collect(log, [(text("a", p=str(partition)), BEGIN_MS, 1.0)], partition=partition)
    await projector.wait_for({(POINTS, 0): 0, (POINTS, 1): 0, (POINTS, 2): 0})
    assert count(projector) == 3
    projector.stop()
    log.close()


async def test_a_position_that_does_not_come_is_not_caught_up(
    log: SqliteLog, projector: Projector
) -> None:
    with pytest.raises(NotCaughtUp, match="not reached within"):
        await projector.wait_for({(POINTS, 0): 1_000}, timeout_s=0.01)
    for place in ((POINTS, 7), (DEADLETTER, 0), ("nothing", 0)):
        with pytest.raises(InputError, match="not projected"):
            await projector.wait_for({place: 0})


async def test_many_waiters_are_told(log: SqliteLog, projector: Projector) -> None:
    waiting = [
        asyncio.create_task(projector.wait_for({(POINTS, 0): offset})) for offset in range(10)
    ]
    for i in range(10):
        collect(log, [(A, BEGIN_MS + i, 1.0)])
    await asyncio.gather(*waiting)
    assert count(projector) == 10


async def test_a_restart_goes_on_where_it_stopped(log: SqliteLog, path: Path) -> None:
    for i in range(3):
        projector = Projector(log, path)
        projector.start()
        await write(log, projector, BEGIN_MS + i)
        assert count(projector) == i + 1
        projector.stop()


async def test_a_damaged_file_is_set_aside_and_rebuilt(log: SqliteLog, path: Path) -> None:
    collect(log, [(A, BEGIN_MS, 1.0)])
    path.write_bytes(b"damaged" * 10_000)
    path.with_name(path.name + ".wal").write_bytes(b"also")
    told: list[Rebuilt] = []
    projector = Projector(log, path)
    projector.start(told.append)
    assert count(projector) == 1, "before start returns"
    assert told[-1].records == told[-1].records_total == 1
    (aside,) = path.parent.glob("metrics.duckdb.damaged-*Z")
    assert aside.read_bytes().startswith(b"damaged")
    assert aside.with_name(aside.name + ".wal").read_bytes() == b"also"
    projector.stop()


async def test_a_rebuild_gives_the_same_rows_while_the_log_grows(
    log: SqliteLog, projector: Projector, path: Path
) -> None:
    await write(log, projector, BEGIN_MS, samples=1_000)
    growing: list[int] = []

    def grow(rebuilt: Rebuilt) -> None:
        growing.append(rebuilt.records)
        collect(log, [(A, BEGIN_MS + 10_000 + len(growing), 1.0)])
        assert count(projector) >= 1_000, "the old file answers"

    inode = path.stat().st_ino
    await asyncio.to_thread(projector.rebuild, grow)
    assert path.stat().st_ino != inode
    await write(log, projector, BEGIN_MS + 20_000)
    assert count(projector) == 1_000 + len(growing) + 1
    with projector.reading(60.0) as reader:
        stored = projection_hashes(reader)
    assert verify(log, stored).equal
    assert not list(path.parent.glob("*.rebuild*"))


async def test_a_query_in_flight_ends_on_the_old_file(log: SqliteLog, projector: Projector) -> None:
    await write(log, projector, BEGIN_MS, samples=10)
    rebuilding = threading.Thread(target=projector.rebuild)
    with projector.reading(60.0) as reader:
        rebuilding.start()
        await write(log, projector, BEGIN_MS + 100, samples=5)
        assert reader.rows("SELECT count(*) AS n FROM points") == [{"n": 10}], "its snapshot"
    await asyncio.to_thread(rebuilding.join)
    assert count(projector) == 15


async def test_a_second_rebuild_at_once_is_refused(log: SqliteLog, projector: Projector) -> None:
    await write(log, projector, BEGIN_MS)
    refused: list[str] = []

    def again(_: Rebuilt) -> None:
        with pytest.raises(ProjectionError) as caught:
            projector.rebuild()
        refused.append(str(caught.value))

    projector.rebuild(again)
    assert set(refused) == {"a rebuild is running already"}


async def test_what_an_interrupted_rebuild_left_is_removed(log: SqliteLog, path: Path) -> None:
    path.with_name(path.name + ".rebuild").write_bytes(b"half")
    path.with_name(path.name + ".rebuild.wal").write_bytes(b"half")
    projector = Projector(log, path)
    projector.start()
    assert not list(path.parent.glob("*.rebuild*"))
    projector.stop()


async def test_a_file_is_rebuilt_without_a_server(log: SqliteLog, path: Path) -> None:
    collect(log, [(A, BEGIN_MS, 1.0)])
    collect(log, [(A, BEGIN_MS, 2.0), (A, BEGIN_MS + 1, 2.0)])
    told: list[Rebuilt] = []
    rebuilt = rebuild_file(path, log, told.append)
    assert (rebuilt.records, rebuilt.points) == (2, 2)
    assert told[-1].records_total == 2
    projector = Projector(log, path)
    projector.start()
    assert count(projector) == 2
    projector.stop()


async def test_a_full_disk_is_told_and_got_over(log: SqliteLog, path: Path) -> None:
    many = [
        (text("a", host=str(i)), BEGIN_MS + t, i / (t + 7)) for i in range(50) for t in range(900)
    ]
    position = collect(log, many)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, limits[1]))
    projector = Projector(log, path)
    try:
        projector.start()
        with pytest.raises(NotCaughtUp):
            await projector.wait_for({(POINTS, 0): position.offset}, timeout_s=0.5)
        assert isinstance(projector.failure(), ProjectionError)
        assert projector.lag()[NAME].records == 1
        assert projector.stalled_for_s() > 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await projector.wait_for({(POINTS, 0): position.offset}, timeout_s=20.0)
    assert count(projector) == len(many)
    assert projector.failure() is None
    projector.stop()


async def test_a_log_that_cannot_be_read_leaves_the_file_and_its_answers(
    log: SqliteLog, path: Path
) -> None:
    projector = Projector(log, path)
    projector.start()
    await write(log, projector, BEGIN_MS)
    inode = path.stat().st_ino
    late = collect(log, [(A, BEGIN_MS + 1, 1.0)])  # the next transaction waits for half a second
    log.close()
    for _ in range(2):  # the second time after another attempt
        with pytest.raises(NotCaughtUp):
            await projector.wait_for({(POINTS, 0): late.offset}, timeout_s=1.5)
        assert isinstance(projector.failure(), LogUnavailable)
        assert count(projector) == 1
    projector.stop()
    assert path.stat().st_ino == inode
    assert not list(path.parent.glob("*.damaged-*"))


async def test_a_file_that_cannot_be_opened_again_is_tried_until_it_can(
    log: SqliteLog, path: Path
) -> None:
    many = [
        (text("a", host=str(i)), BEGIN_MS + t, i / (t + 7)) for i in range(50) for t in range(900)
    ]
    position = collect(log, many)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, limits[1]))
    projector = Projector(log, path)
    away = path.with_name("away")
    try:
        projector.start()
        with pytest.raises(NotCaughtUp):
            await projector.wait_for({(POINTS, 0): position.offset}, timeout_s=0.5)
        path.rename(away)
        path.mkdir()  # opening it fails, as does setting it aside and making a file
        with pytest.raises(NotCaughtUp):
            await projector.wait_for({(POINTS, 0): position.offset}, timeout_s=1.5)
        assert isinstance(projector.failure(), ProjectionError)
        with pytest.raises(ProjectionError):
            count(projector)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    path.rmdir()
    away.rename(path)
    await projector.wait_for({(POINTS, 0): position.offset}, timeout_s=20.0)
    assert count(projector) == len(many)
    projector.stop()


def test_a_projector_that_is_not_started_says_so(log: SqliteLog, path: Path) -> None:
    with pytest.raises(ProjectionError, match="not started"):
        Projector(log, path).positions()
