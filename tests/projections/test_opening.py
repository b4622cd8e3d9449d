"""Which files are refused, and what happens to a file whose disk fails."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from projections.duck import DuckProjection
from projections.projector import Projector
from projections.rebuild import rebuild_file, set_aside
from projections.verify import verify
from streams.errors import LogDamaged, ProjectionDamaged, ProjectionError
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import collect, everything, hashes, open_log, text

A = text("a")


def test_a_file_that_is_not_duckdbs_is_damaged(log: SqliteLog, path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(ProjectionDamaged, match=r"metrics\.duckdb cannot be opened"):
        DuckProjection.open(path, log)


def test_a_truncated_file_is_damaged(log: SqliteLog, path: Path) -> None:
    projection = DuckProjection.open(path, log)
    collect(log, [(A, at_ms, 1.0) for at_ms in range(1000)])
    everything(log, projection)
    projection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ProjectionDamaged):
        DuckProjection.open(path, log)


def test_another_logs_file_is_refused(log: SqliteLog, path: Path, tmp_path: Path) -> None:
    DuckProjection.open(path, log).close()
    (tmp_path / "other").mkdir()
    other = open_log(tmp_path / "other")
    with pytest.raises(ProjectionDamaged, match="belongs to log"):
        DuckProjection.open(path, other)
    other.close()


def test_another_schema_version_is_refused(log: SqliteLog, path: Path) -> None:
    DuckProjection.open(path, log).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE meta SET version = 99")
    with pytest.raises(ProjectionDamaged, match="version 99"):
        DuckProjection.open(path, log)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE meta (something INTEGER)",
        "CREATE TABLE sales (amount INTEGER)",
        "CREATE VIEW one AS SELECT 1 AS n",
        "CREATE SCHEMA shop; CREATE TABLE shop.sales (amount INTEGER)",
    ],
)
@pytest.mark.parametrize("end", ["", "PRAGMA disable_checkpoint_on_shutdown"])
def test_a_file_that_a_query_tool_made_is_refused_and_left_as_it_is(
    log: SqliteLog, path: Path, made: str, end: str
) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"{made};{end}")

    def files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}

    before = files()
    for opening in (
        lambda: DuckProjection.open(path, log),
        lambda: Projector(log, path).start(),
        lambda: rebuild_file(path, log),
    ):
        with pytest.raises(ProjectionError, match="this program did not make") as caught:
            opening()
        assert not isinstance(caught.value, ProjectionDamaged)
    assert files() == before


def test_a_sqlite_file_is_never_set_aside(log: SqliteLog, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (n)")
        db.commit()
    before = path.read_bytes()
    for opening in (
        lambda: set_aside(path),
        lambda: Projector(log, path).start(),
        lambda: rebuild_file(path, log),
    ):
        with pytest.raises(ProjectionError, match="is a SQLite file"):
            opening()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.glob(f"{path.name}*")] == [path.name]


def test_a_file_that_cannot_be_compared_with_the_log_now_is_not_taken_for_damaged(
    log: SqliteLog, path: Path
) -> None:
    projection = DuckProjection.open(path, log)
    collect(log, [(A, 1, 1.0)])
    everything(log, projection)
    projection.close()
    before = path.read_bytes()
    log.close()
    with pytest.raises(ProjectionError, match="cannot be compared with the log now") as caught:
        Projector(log, path).start()
    assert not isinstance(caught.value, ProjectionDamaged)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_damaged_log_is_told_as_what_it_is_and_the_file_stays(log: SqliteLog, path: Path) -> None:
    projection = DuckProjection.open(path, log)
    collect(log, [(A, 1, 1.0)])
    everything(log, projection)
    projection.close()
    before = path.read_bytes()
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("UPDATE records SET body = 'other'")
        db.commit()
    with pytest.raises(LogDamaged, match="fails its checksum"):
        Projector(log, path).start()
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.damaged-*"))


def test_others_cannot_read_what_is_made(log: SqliteLog, path: Path) -> None:
    def modes() -> dict[str, int]:
        return {
            file.name.removeprefix(path.name): file.stat().st_mode & 0o777
            for file in path.parent.glob(f"{path.name}*")
        }

    projection = DuckProjection.open(path, log)
    assert modes() == {"": 0o600, ".wal": 0o600}
    projection.checkpoint()
    collect(log, [(A, 1, 1.0)])
    everything(log, projection)
    assert modes() == {"": 0o600, ".wal": 0o600}, "DuckDB has made its write-ahead log anew"
    projection.close()
    rebuild_file(path, log)
    assert modes() == {"": 0o600}


def test_positions_ahead_of_the_log_are_refused(path: Path, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    collect(log, [(A, 1, 1.0)])
    log.close()
    shutil.copy(tmp_path / "log.db", tmp_path / "older.db")
    log = open_log(tmp_path)
    collect(log, [(A, 2, 1.0)])
    projection = DuckProjection.open(path, log)
    everything(log, projection)
    projection.close()
    log.close()
    older = SqliteLog.open(tmp_path / "older.db")
    with pytest.raises(ProjectionDamaged, match="the log ends at 1"):
        DuckProjection.open(path, older)
    older.close()


def test_a_log_that_went_another_way_is_refused(path: Path, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    collect(log, [(A, 1, 1.0)])
    log.close()
    shutil.copy(tmp_path / "log.db", tmp_path / "restored.db")
    log = open_log(tmp_path)
    collect(log, [(A, 2, 1.0)])
    projection = DuckProjection.open(path, log)
    everything(log, projection)
    projection.close()
    log.close()
    restored = SqliteLog.open(tmp_path / "restored.db")
    collect(restored, [(A, 2, 99.0)])
    with pytest.raises(ProjectionDamaged, match="is not the one that was absorbed"):
        DuckProjection.open(path, restored)
    restored.close()


def test_a_file_that_another_process_has_open_is_not_taken_for_damaged(
    log: SqliteLog, path: Path, projection: DuckProjection
) -> None:

    program = f"import duckdb; duckdb.connect({str(path)!r})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "Could not set lock" in found.stderr, "what open_file tells from damage"


def test_a_write_that_the_disk_refuses_stores_nothing_and_can_be_repeated(
    log: SqliteLog, path: Path
) -> None:
    projection = DuckProjection.open(path, log)
    collect(
        log,
        [(text("a", host=str(i)), at_ms, i + at_ms / 7) for i in range(50) for at_ms in range(500)],
    )
    everything(log, projection)
    size = max(path.stat().st_size, path.with_name(path.name + ".wal").stat().st_size)
    collect(
        log,
        [(text("b", host=str(i)), at_ms, i * at_ms / 7) for i in range(50) for at_ms in range(500)],
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, limits[1]))
    try:
        with pytest.raises(ProjectionError):
            everything(log, projection)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    projection.close()
    again = DuckProjection.open(path, log)
    assert verify(log, hashes(again)).equal
    everything(log, again)
    assert len(again.series) == 100
    assert verify(log, hashes(again)).equal
    again.close()
