"""What only the embedded log promises: steps, threads, closing, idempotency keys' horizon."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from streams.errors import InputError, LogDamaged, LogUnavailable, TooLarge
from streams.events.topics import DEADLETTER, POINTS, WINDOWS
from streams.log.protocol import Append, DuplicateRequest, Entry, Message, RequestKey
from streams.log.sqlite_log import SqliteLog
from tests.effort import examples

HOUR_MS = 3_600_000


@dataclass
class Clock:
    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path, clock: Clock) -> Iterator[SqliteLog]:
    made = SqliteLog.open(path, clock=clock)
    yield made
    made.close()


def entry(body: bytes, topic: str = POINTS) -> Entry:
    return Entry(topic, 0, Message({}, body))


def unit(body: bytes, *keys: str) -> Append:
    return Append((entry(body),), tuple(RequestKey(key, b"digest") for key in keys))


def bodies(log: SqliteLog, topic: str = POINTS) -> list[bytes]:
    return [record.body for record in log.read_now(topic, 0, 0)]


def stored_keys(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM request_keys").fetchone()
        return int(count)


def test_a_step_stores_its_table_and_its_outputs_together(log: SqliteLog, path: Path) -> None:
    assert log.table("p", 0) == {}
    receipt = log.commit_step("p", 0, {"a": b"1", "b": b""}, [entry(b"out", WINDOWS)]).result()
    assert [(p.topic, p.offset) for p in receipt.positions] == [(WINDOWS, 0)]
    log.commit_step("p", 0, {"a": None, "b": b"2", "gone": None}, []).result()
    log.commit_step("p", 1, {"a": b"other partition"}, []).result()
    log.commit_step("q", 0, {"a": b"other processor"}, []).result()
    log.close()
    log = SqliteLog.open(path)
    assert log.table("p", 0) == {"b": b"2"}
    assert log.table("p", 1) == {"a": b"other partition"}
    assert log.table("q", 0) == {"a": b"other processor"}
    assert bodies(log, WINDOWS) == [b"out"]
    log.close()


def test_a_step_that_cannot_be_written_changes_nothing(log: SqliteLog) -> None:
    log.commit_step("p", 0, {"a": b"1"}, []).result()
    with pytest.raises(InputError, match="no topic 'nope'"):
        log.commit_step("p", 0, {"a": b"2"}, [entry(b"x"), entry(b"y", "nope")])
    assert log.table("p", 0) == {"a": b"1"}
    assert bodies(log) == []


def test_a_unit_larger_than_the_queue_is_too_large_and_not_merely_too_early(path: Path) -> None:
    log = SqliteLog.open(path, queue_bytes_max=10_000)
    with pytest.raises(TooLarge, match="at most 10000 can wait"):
        log.submit(unit(b"x" * 20_000))
    log.commit_step("p", 0, {"a": b"x" * 20_000}, []).result()
    log.close()


def test_a_key_is_forgotten_after_its_horizon_and_not_before(
    log: SqliteLog, clock: Clock, path: Path
) -> None:
    for hour in range(30):
        log.submit(unit(b"%d" % hour, f"key-{hour}")).result()
        clock.now_ms += HOUR_MS
    assert stored_keys(path) <= 26
    with pytest.raises(DuplicateRequest):
        log.submit(unit(b"again", "key-6")).result()
    log.submit(unit(b"again", "key-5")).result()
    assert bodies(log)[-1] == b"again"


def test_an_expired_key_can_be_used_again_even_where_it_was_not_pruned_yet(
    log: SqliteLog, clock: Clock
) -> None:
    for i in range(300):
        log.submit(unit(b"%d" % i, f"key-{i}"))
    log.submit(unit(b"last")).result()
    clock.now_ms += 24 * HOUR_MS + 1
    again = [log.submit(unit(b"again %d" % i, f"key-{i}")) for i in range(300)]
    assert [future.result().positions[0].offset for future in again] == list(range(301, 601))


def test_waiting_ends_when_any_of_the_ends_has_passed(log: SqliteLog) -> None:
    assert not log.wait_for({(POINTS, 0): 0, (DEADLETTER, 0): 0}, 0.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.wait_for, {(POINTS, 0): 0, (WINDOWS, 0): 0}, 60.0)
        log.submit(Append((entry(b"x", WINDOWS),))).result()
        assert waiting.result()
    assert log.wait_for({(WINDOWS, 0): 0}, 0.0)
    assert not log.wait_for({(WINDOWS, 0): 1}, 0.0)


def test_closing_wakes_those_who_wait(log: SqliteLog) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.wait_for, {(POINTS, 0): 0}, 60.0)
        log.close()
        assert not waiting.result()


def test_closing_writes_what_waits_and_empties_the_write_ahead_log(
    log: SqliteLog, path: Path
) -> None:
    futures = [log.submit(unit(b"%d" % i)) for i in range(500)]
    log.close()
    assert [future.result(timeout=0).positions[0].offset for future in futures] == list(range(500))
    assert not Path(f"{path}-wal").exists()
    log.close()
    with pytest.raises(LogUnavailable, match="is closed"):
        log.submit(unit(b"late"))
    with pytest.raises(LogUnavailable, match="is closed"):
        log.read_now(POINTS, 0, 0)


def test_a_cancelled_unit_is_written_as_a_whole_or_not_at_all(log: SqliteLog) -> None:
    futures = [log.submit(unit(b"%d" % i, f"key-{i}")) for i in range(200)]
    cancelled = [future.cancel() for future in futures]
    log.submit(unit(b"last")).result()
    written = [b"%d" % i for i in range(200) if not cancelled[i]]
    assert bodies(log) == [*written, b"last"]
    stats = log.stats()
    assert stats is not None
    assert stats.waiting_bytes == 0


def test_threads_read_what_is_written_meanwhile(log: SqliteLog) -> None:
    def read() -> int:
        seen = 0
        while seen < 300 and log.wait_for({(POINTS, 0): seen}, 60):
            for record in log.read_now(POINTS, 0, seen):
                assert (record.offset, record.body) == (seen, b"%d" % seen)
                seen += 1
        return seen

    with ThreadPoolExecutor(12) as pool:
        readers = [pool.submit(read) for _ in range(12)]
        for i in range(300):
            log.submit(unit(b"%d" % i)).result()
        assert [reader.result() for reader in readers] == [300] * 12


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE records SET body = 'other' WHERE id & 0xff = 3", "@3 fails its checksum"),
        ("UPDATE records SET at_ms = at_ms + 1 WHERE id & 0xff = 3", "@3 fails its checksum"),
        ("DELETE FROM records WHERE id & 0xff = 3", "@3 is missing"),
        ("DELETE FROM records WHERE id & 0xff > 3", "@4 is missing"),
        ("UPDATE records SET id = id + 100 WHERE id & 0xff = 3", "@3 is missing"),
        ("UPDATE records SET crc = 'text' WHERE id & 0xff = 3", "@3 fails its checksum"),
        ("DROP TABLE records", "no such table"),
    ],
)
def test_a_record_that_another_program_changed_is_never_read_as_ours(
    log: SqliteLog, path: Path, change: str, found: str
) -> None:
    for i in range(6):
        log.submit(unit(b"%d" % i)).result()
    with closing(sqlite3.connect(path)) as db:
        db.execute(change)
        db.commit()
    with pytest.raises(LogDamaged, match=found):
        log.read_now(POINTS, 0, 0)
    with pytest.raises(LogDamaged):
        SqliteLog.open(path, read_only=True)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM table_rows WHERE key = 'a'",
        "UPDATE table_rows SET value = 'other'",
        "DELETE FROM tables",
        "UPDATE tables SET rows = 1",
    ],
)
def test_a_table_that_another_program_changed_is_never_read_as_ours(
    log: SqliteLog, path: Path, change: str
) -> None:
    log.commit_step("p", 0, {"a": b"1", "b": b"2"}, []).result()
    with closing(sqlite3.connect(path)) as db:
        db.execute(change)
        db.commit()
    with pytest.raises(LogDamaged, match="table"):
        log.table("p", 0)


class Model(RuleBasedStateMachine):
    """Appends, steps and reopenings in any order, against plain lists and dicts."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        for old in self.directory.iterdir():
            old.unlink()
        self.log = SqliteLog.open(self.directory / "log.db")
        self.points: list[bytes] = []
        self.windows: list[bytes] = []
        self.tables: dict[str, dict[str, bytes]] = {"p": {}, "q": {}}
        self.keys: set[str] = set()

    @rule(batch=st.lists(st.binary(max_size=5_000), max_size=4), key=st.sampled_from("abcdefgh"))
    def append(self, batch: list[bytes], key: str) -> None:
        request = RequestKey(key, b"digest")
        future = self.log.submit(Append(tuple(map(entry, batch)), (request,)))
        if key in self.keys:
            assert isinstance(future.exception(), DuplicateRequest)
            return
        future.result()
        self.keys.add(key)
        self.points += batch

    @rule(
        processor=st.sampled_from("pq"),
        changes=st.dictionaries(
            st.sampled_from("xyz"), st.none() | st.binary(max_size=5_000), max_size=3
        ),
        outputs=st.lists(st.binary(max_size=100), max_size=2),
    )
    def step(self, processor: str, changes: dict[str, bytes | None], outputs: list[bytes]) -> None:
        entries = [entry(output, WINDOWS) for output in outputs]
        self.log.commit_step(processor, 0, changes, entries).result()
        self.windows += outputs
        merged = {**self.tables[processor], **changes}
        self.tables[processor] = {k: v for k, v in merged.items() if v is not None}

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = SqliteLog.open(self.directory / "log.db")

    @invariant()
    def holds_what_was_written(self) -> None:
        assert bodies(self.log) == self.points
        assert bodies(self.log, WINDOWS) == self.windows
        assert {name: self.log.table(name, 0) for name in self.tables} == self.tables

    def teardown(self) -> None:
        self.log.close()


def test_any_order_of_writes_and_reopenings_agrees_with_lists_and_dicts(tmp_path: Path) -> None:
    machine = type("InDirectory", (Model,), {"directory": tmp_path})
    few = settings(max_examples=examples(15), stateful_step_count=15, deadline=None)
    run_state_machine_as_test(machine, settings=few)
