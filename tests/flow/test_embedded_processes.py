"""The embedded log among processes: owner and readers, held locks, a full disk, kill -9."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.errors import LogLocked, LogUnavailable, Overloaded
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Append, Entry, Message, Record, RequestKey
from streams.log.sqlite_log import SqliteLog

CHILD = Path(__file__).with_name("log_child.py")
ROOT = CHILD.parent.parent.parent
KILLS = 6

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the program beside; whatever still runs at the end is killed."""
    children: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(CHILD), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().rstrip("\n")


def finish(child: subprocess.Popen[str]) -> None:
    """Ends its input and waits for it to end in order."""
    child.communicate(timeout=30)
    assert child.returncode == 0


def unit(body: bytes, *keys: str) -> Append:
    entry = Entry(POINTS, 0, Message({}, body))
    return Append((entry,), tuple(RequestKey(key, b"digest") for key in keys))


def message(number: int) -> Message:
    """As the program beside makes it."""
    return Message({"ce_id": str(number)}, b"%d" % number + b"." * (number * 37 % 3_000))


def read_all(log: SqliteLog, topic: str) -> list[Record]:
    records: list[Record] = []
    while more := log.read_now(topic, 0, len(records)):
        records += more
    return records


def test_a_second_server_is_told_who_has_the_log(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    owner = start("own", path)
    assert line(owner) == "open"
    with pytest.raises(LogLocked, match=f"in use by another server .pid {owner.pid}."):
        SqliteLog.open(path)
    finish(owner)
    SqliteLog.open(path).close()


def test_a_killed_server_leaves_no_lock_behind(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    owner = start("own", path)
    assert line(owner) == "open"
    owner.kill()
    owner.wait()
    log = SqliteLog.open(path)
    refused = start("try", path)
    assert line(refused).startswith(
        f"LogLocked {path} is in use by another server (pid {os.getpid()})"
    )
    log.close()


def test_another_process_follows_the_log_while_it_is_written(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog.open(path)
    log.submit(unit(b"before")).result()
    reader = start("follow", path)
    assert line(reader) == "0 before"
    for number in range(1, 4):
        log.submit(unit(b"while %d" % number)).result()
        assert line(reader) == f"{number} while {number}"
    log.close()
    log = SqliteLog.open(path)
    log.submit(unit(b"after a restart")).result()
    assert line(reader) == "4 after a restart"
    log.close()


def test_a_reader_needs_no_server_and_changes_nothing(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    writer = start("write", path)
    assert [line(writer) for _ in range(6)][-1] == "5"
    writer.kill()
    writer.wait()
    before = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    log = SqliteLog.open(path, read_only=True)
    assert [record.body for record in read_all(log, POINTS)][:5] == [
        message(number).body for number in range(5)
    ]
    with pytest.raises(LogUnavailable, match="opened for reading only"):
        log.submit(unit(b"x"))
    log.close()
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == before


def test_a_held_write_lock_is_a_slow_disk(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog.open(path, queue_bytes_max=100_000)
    holder = start("hold", path)
    assert line(holder) == "held"
    futures = []
    with pytest.raises(Overloaded) as refused:  # noqa: PT012  it is refused at some point
        while True:
            futures.append(log.submit(unit(b"x" * 1_000)))
    assert refused.value.status == 429
    assert refused.value.retry_after_s >= 1
    stats = log.stats()
    assert stats is not None
    assert stats.waiting_bytes <= 100_000
    assert len(futures) > 10
    assert not any(future.done() for future in futures)
    finish(holder)
    offsets = [future.result(timeout=30).positions[0].offset for future in futures]
    assert offsets == list(range(len(futures)))
    assert log.submit(unit(b"y")).result().positions[0].offset == len(futures)
    log.close()


def test_what_waits_together_is_committed_together(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog.open(path)
    holder = start("hold", path)
    assert line(holder) == "held"
    futures = [log.submit(unit(b"%d" % i, f"key-{i % 50}")) for i in range(100)]
    finish(holder)
    errors = [future.exception(timeout=30) for future in futures]
    assert errors[:50] == [None] * 50
    assert all("already in the log" in str(error) for error in errors[50:])
    stats = log.stats()
    assert stats is not None
    assert (stats.units, stats.groups) in {(100, 1), (100, 2)}
    assert log.ends()[POINTS, 0] == 50
    log.close()


def test_closing_under_a_held_lock_fails_what_waits_instead_of_hanging(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "log.db"
    log = SqliteLog.open(path)
    holder = start("hold", path)
    assert line(holder) == "held"
    futures = [log.submit(unit(b"x")) for _ in range(3)]
    log.close()
    assert all(isinstance(future.exception(timeout=0), LogUnavailable) for future in futures)
    finish(holder)
    log = SqliteLog.open(path)
    assert log.ends()[POINTS, 0] == 0
    log.close()


@pytest.mark.parametrize("limit", [150_000, 200_001, 1_000_000])
def test_a_full_disk_refuses_writes_and_room_lets_them_in_again(
    tmp_path: Path, start: Start, limit: int
) -> None:
    path = tmp_path / "log.db"
    child = start("fill", path, limit)
    full, written, end, *why = line(child).split()
    assert full == "full"
    assert written == end
    assert "nothing of this is stored" in " ".join(why)
    assert line(child) == f"room {int(end) + 50} {int(end) + 50}"
    finish(child)
    log = SqliteLog.open(path)
    assert [record.body for record in read_all(log, POINTS)] == [
        message(number).body for number in range(int(end) + 50)
    ]
    log.close()


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "log.db"
    rng = random.Random(9)
    acknowledged = 0
    for _ in range(KILLS):
        child = start("write", path)
        assert line(child) == "open"
        for _ in range(rng.randrange(1, 150)):
            acknowledged = int(line(child))
        child.kill()
        rest, _ = child.communicate()
        acknowledged = int(rest.split("\n")[-2]) if rest.count("\n") else acknowledged
        log = SqliteLog.open(path, read_only=True)
        inputs, outputs = read_all(log, POINTS), read_all(log, WINDOWS)
        assert len(outputs) >= acknowledged
        assert 0 <= len(inputs) - len(outputs) <= 1
        for records in (inputs, outputs):
            assert [(r.headers, r.body) for r in records] == [
                (message(n).headers, message(n).body) for n in range(len(records))
            ]
        assert log.table("p", 0) == {"head": b"%d" % len(outputs)}
        log.close()
