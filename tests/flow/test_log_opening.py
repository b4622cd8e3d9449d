"""Opening the embedded log: what is made, what is refused, and with which words."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from streams.errors import ConfigError, LogDamaged, LogError, LogUnavailable
from streams.events.topics import DEADLETTER, POINTS, TOPICS, WINDOWS, partitions_of
from streams.log.protocol import Append, Entry, Message
from streams.log.sqlite_check import WHOLE_BYTES_MAX
from streams.log.sqlite_file import APPLICATION_ID, create
from streams.log.sqlite_log import SqliteLog
from streams.log.wal_check import check_wal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def append(log: SqliteLog, body: bytes, topic: str = POINTS) -> None:
    log.submit(Append((Entry(topic, 0, Message({}, body)),))).result()


def make(path: Path, *bodies: bytes) -> None:
    log = SqliteLog.open(path)
    for body in bodies:
        append(log, body)
    log.close()


def crashed_wal(path: Path, transactions: int) -> bytes:
    """The write-ahead log of a server that was killed after so many transactions."""
    log = SqliteLog.open(path)
    for i in range(transactions):
        append(log, b"%d" % i * 100)
    wal = Path(f"{path}-wal").read_bytes()
    main = path.read_bytes()
    log.close()
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(wal)
    return wal


def test_a_new_log_is_made_with_its_directories_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "log.db"
    make(path, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    log = SqliteLog.open(path, read_only=True)
    assert len(log.read_now(POINTS, 0, 0)) == 1
    log.close()


def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()
    make(path, b"x")


def test_two_logs_have_different_ids(tmp_path: Path) -> None:
    logs = [SqliteLog.open(tmp_path / name) for name in ("a.db", "b.db")]
    assert logs[0].log_id != logs[1].log_id
    for log in logs:
        log.close()


def test_a_crash_while_the_log_was_made_leaves_nothing_in_the_way(path: Path) -> None:
    Path(f"{path}.new").write_bytes(b"half a log")
    Path(f"{path}.new-wal").write_bytes(b"half a log")
    make(path, b"x")
    assert not Path(f"{path}.new").exists()


def test_a_log_of_an_older_version_gets_the_topics_that_are_new(path: Path) -> None:
    create(path, topics=(DEADLETTER, POINTS), partitions=3)
    log = SqliteLog.open(path, partitions=3)
    assert [log.partitions(topic) for topic in TOPICS] == [
        partitions_of(topic, 3) for topic in TOPICS
    ]
    append(log, b"x", WINDOWS)
    log.close()
    log = SqliteLog.open(path, partitions=3)
    assert log.read_now(WINDOWS, 0, 0)[0].body == b"x"
    log.close()


@pytest.mark.parametrize("partitions", [0, -1, 1_025])
def test_an_absurd_number_of_partitions_is_refused(path: Path, partitions: int) -> None:
    with pytest.raises(ConfigError, match=f"partitions is {partitions}; valid are 1 to 1024"):
        SqliteLog.open(path, partitions=partitions)
    assert not path.exists()


def test_the_number_of_partitions_is_fixed_when_the_log_is_made(path: Path) -> None:
    make(path)
    with pytest.raises(ConfigError, match="has 1 partitions a topic, not 2"):
        SqliteLog.open(path, partitions=2)
    SqliteLog.open(path).close()
    SqliteLog.open(path, partitions=2, read_only=True).close()


def test_reading_a_log_that_is_not_there_says_so_and_makes_nothing(path: Path) -> None:
    with pytest.raises(LogUnavailable, match="there is no log at"):
        SqliteLog.open(path, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file" / "log.db", tmp_path):
        with pytest.raises(LogError):
            SqliteLog.open(impossible)


def with_version(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE records(id INTEGER PRIMARY KEY)")


def extra_table(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other(id INTEGER PRIMARY KEY)")


def rolled_back_journal(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=DELETE")


def orphaned_wal(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(crashed_wal(path.with_name("other.db"), 2))


def mixed_up(path: Path) -> None:
    make(path, b"one", b"two")
    make(path.with_name("other.db"), b"one", b"two")
    with closing(sqlite3.connect(path)) as db:
        db.execute("ATTACH ? AS other", (str(path.with_name("other.db")),))
        db.execute("DELETE FROM partitions")
        db.execute("INSERT INTO partitions SELECT * FROM other.partitions")
        db.commit()


def schema_that_is_no_text(path: Path) -> None:
    make(path)
    path.write_bytes(path.read_bytes().replace(b"NOT NULL", b"NOT N\xd5LL"))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(b"no database" * 100), "it is no SQLite file"),
        (lambda path: path.write_bytes(b"SQLite"), "it is no SQLite file"),
        (foreign, "not one of this program's logs"),
        (with_version, "its format is 99; this program reads 1"),
        (extra_table, "its tables are not those"),
        (rolled_back_journal, "its header holds what this program never writes"),
        (orphaned_wal, "the file is missing or empty, but log.db-wal beside it is not"),
        (schema_that_is_no_text, "SQLite quotes bytes that are no text"),
        (mixed_up, "belongs to another log"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_sound_log_is_refused_with_what_was_found_and_left_alone(
    path: Path, damage: Callable[[Path], None], found: str, read_only: bool
) -> None:
    damage(path)
    before = {file.name: file.read_bytes() for file in path.parent.glob("log.db*")}
    with pytest.raises(LogDamaged, match=found) as refused:
        SqliteLog.open(path, read_only=read_only)
    assert str(path) in str(refused.value)
    assert "restore a backup" in str(refused.value)
    after = {file.name: file.read_bytes() for file in path.parent.glob("log.db*")}
    for name in ("log.db", "log.db-wal"):
        assert after.get(name, b"") == before.get(name, b"")


def test_an_application_id_is_in_every_log(path: Path) -> None:
    make(path)
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID


def test_damage_in_the_middle_of_the_write_ahead_log_is_told_with_its_place(path: Path) -> None:
    wal = bytearray(crashed_wal(path, 5))
    wal[32 + 4120 + 24 + 100] ^= 1
    Path(f"{path}-wal").write_bytes(wal)
    with pytest.raises(LogDamaged, match=r"frame 1 at byte 4152 .* 5 later transactions are there"):
        SqliteLog.open(path)


def test_a_torn_last_transaction_is_dropped_without_a_word(path: Path) -> None:
    wal = bytearray(crashed_wal(path, 5))
    wal[-100] ^= 1
    Path(f"{path}-wal").write_bytes(wal)
    log = SqliteLog.open(path)
    assert [record.body[:1] for record in log.read_now(POINTS, 0, 0)] == [b"0", b"1", b"2", b"3"]
    append(log, b"again")
    log.close()


def test_frames_left_over_from_an_earlier_write_ahead_log_are_not_damage(path: Path) -> None:
    log = SqliteLog.open(path)
    append(log, b"x" * 100_000)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    append(log, b"y")
    wal = bytearray(Path(f"{path}-wal").read_bytes())
    main = path.read_bytes()
    log.close()
    wal[-5_000] ^= 1
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(wal)
    state = check_wal(Path(f"{path}-wal"))
    assert 0 < state.frames < len(wal) // 4120 - 10
    log = SqliteLog.open(path)
    assert [len(record.body) for record in log.read_now(POINTS, 0, 0)] == [100_000, 1]
    log.close()


def test_a_large_log_is_checked_at_its_end_when_opened_and_elsewhere_when_read(path: Path) -> None:
    log = SqliteLog.open(path)
    count = WHOLE_BYTES_MAX // 1_000_000 + 2
    for i in range(count):
        append(log, b"record %03d." % i + bytes(1_000_000))
    log.close()
    sound = path.read_bytes()
    early, late = sound.index(b"record 002."), sound.index(b"record %03d." % (count - 1))
    for at in (early, late):
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"R")
        if at == late:
            with pytest.raises(LogDamaged, match=f"record metrics.points/0@{count - 1} fails"):
                SqliteLog.open(path)
            continue
        log = SqliteLog.open(path)
        assert len(log.read_now(POINTS, 0, 0, records_max=2)) == 2
        with pytest.raises(LogDamaged, match=r"record metrics.points/0@2 fails its checksum"):
            log.read_now(POINTS, 0, 2)
        log.close()
        path.write_bytes(sound)
