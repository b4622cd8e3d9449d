"""The embedded runner on a real log: exactly once through stops, refusals and repeats."""

from __future__ import annotations

import logging
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.events.catalogue import EventData, Ticked
from streams.events.codec import TICKED, decode
from streams.events.topics import DEADLETTER, POINTS, WINDOWS
from streams.log.protocol import Append, Entry, Message, Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.seam import HEAD, ReadBack, Step
from streams.processors.windows import WindowsProcessor
from streams.runners.local import LocalRunner
from tests.flow.schedules import BEGIN_MS, Run, points, record_of, run_in_steps

MINUTE = 60_000
T0 = BEGIN_MS // MINUTE * MINUTE
PATIENCE_S = 20.0


@dataclass
class ManualClock:
    now_ms: int = T0

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteLog]:
    with closing(SqliteLog.open(tmp_path / "log.db", clock=clock)) as opened:
        yield opened


def runner_of(
    log: SqliteLog, clock: Callable[[], int], processor: WindowsProcessor | None = None
) -> LocalRunner:
    return LocalRunner(
        log, [processor or WindowsProcessor()], tick_ms=5_000, clock=clock, step_interval_ms=1
    )


@contextmanager
def running(runner: LocalRunner) -> Iterator[LocalRunner]:
    runner.start()
    try:
        yield runner
    finally:
        assert runner.stop()


def append(log: SqliteLog, *events: EventData, partition: int = 0) -> None:
    messages = [record_of(0, data, T0) for data in events]
    entries = [Entry(POINTS, partition, Message(m.headers, m.body)) for m in messages]
    log.submit(Append(tuple(entries))).result(PATIENCE_S)


def wait_for_record(log: SqliteLog, topic: str, offset: int, partition: int = 0) -> Record:
    assert log.wait_for({(topic, partition): offset}, PATIENCE_S), f"no {topic}@{offset}"
    return log.read_now(topic, partition, offset)[0]


def everything(log: SqliteLog, topic: str, partition: int = 0) -> list[Record]:
    records: list[Record] = []
    while part := log.read_now(topic, partition, len(records)):
        records += part
    return records


def cpu(at_s: float, value: float, name: str = "cpu") -> EventData:
    return points([(name, "gauge", T0 + round(at_s * 1_000), value)])


def poison() -> Entry:
    return Entry(POINTS, 0, Message({"ce_type": "unknown.v1"}, b"?"))


def expect_exactly_once(log: SqliteLog, processor: WindowsProcessor) -> Run:
    """Table and outputs are those of one pure run over the log's records."""
    expected = run_in_steps(processor, tuple(everything(log, POINTS)), 5)
    assert log.table("windows", 0) == expected.table
    for topic in (WINDOWS, DEADLETTER):
        stored = [(record.headers, record.body) for record in everything(log, topic)]
        made = [(e.message.headers, e.message.body) for e in expected.entries if e.topic == topic]
        assert stored == made
    return expected


def test_samples_become_windows_when_the_clock_passes_them(
    log: SqliteLog, clock: ManualClock
) -> None:
    with running(runner_of(log, clock)) as runner:
        wait_for_record(log, POINTS, 0)  # the first tick, at once
        append(log, cpu(1, 5.0))
        clock.now_ms = T0 + 90_000
        record = wait_for_record(log, WINDOWS, 0)
    assert record.headers["ce_id"] == "windows/0/0"
    assert runner.failure() is None
    absorb_all(log, WindowsProcessor())
    expect_exactly_once(log, WindowsProcessor())


def test_every_partition_gets_its_ticks_with_ids_that_follow_from_their_time(
    tmp_path: Path, clock: ManualClock
) -> None:
    with (
        closing(SqliteLog.open(tmp_path / "log.db", partitions=3, clock=clock)) as log,
        running(runner_of(log, clock)),
    ):
        for partition in range(3):
            wait_for_record(log, POINTS, 0, partition)
        clock.now_ms = T0 + 61_500
        for partition in range(3):
            record = wait_for_record(log, POINTS, 1, partition)
            assert decode(record.headers, record.body).data == Ticked(T0 + 60_000)
            assert record.headers["ce_id"] == f"clock/{partition}/{T0 + 60_000}"


def test_each_partition_is_folded_on_its_own(tmp_path: Path, clock: ManualClock) -> None:
    with (
        closing(SqliteLog.open(tmp_path / "log.db", partitions=2, clock=clock)) as log,
        running(runner_of(log, clock)),
    ):
        append(log, cpu(1, 1.0, "a"), partition=0)
        append(log, cpu(1, 1.0, "b"), partition=1)
        clock.now_ms = T0 + 90_000
        ids = [wait_for_record(log, WINDOWS, 0, p).headers["ce_id"] for p in (0, 1)]
    assert ids == ["windows/0/0", "windows/1/0"]


def test_what_was_appended_while_nothing_ran_is_folded_at_the_start(
    log: SqliteLog, clock: ManualClock
) -> None:
    append(log, *(cpu(i / 10, i) for i in range(200)), Ticked(T0 + 5_000))
    clock.now_ms = T0 + 95_000
    with running(runner_of(log, clock)):
        wait_for_record(log, WINDOWS, 0)
    absorb_all(log, WindowsProcessor())
    expect_exactly_once(log, WindowsProcessor())


def test_stops_and_starts_at_any_place_leave_what_one_pure_run_leaves(
    log: SqliteLog, clock: ManualClock
) -> None:
    processor = WindowsProcessor(sizes_ms=(MINUTE, 2 * MINUTE), pending_points_max=40)
    dead = 0
    for turn in range(8):
        with running(runner_of(log, clock, processor)):
            append(log, *(cpu(turn * 20 + i / 7, i, f"m{i % 3}") for i in range(10)))
            clock.now_ms += 20_000
            if turn % 2:
                log.submit(Append((poison(),))).result(PATIENCE_S)
                wait_for_record(log, DEADLETTER, dead)
                dead += 1
    with running(runner_of(log, clock, processor)):
        clock.now_ms += 600_000
        log.submit(Append((poison(),))).result(PATIENCE_S)
        wait_for_record(log, DEADLETTER, dead)
    absorb_all(log, processor)
    run = expect_exactly_once(log, processor)
    assert any(entry.topic == WINDOWS for entry in run.entries)


def absorb_all(log: SqliteLog, processor: WindowsProcessor) -> None:
    """Runs until a last poison record was absorbed; the clock stands at 0, so no tick follows."""
    dead = len(everything(log, DEADLETTER))
    log.submit(Append((poison(),))).result(PATIENCE_S)
    with running(runner_of(log, lambda: 0, processor)):
        wait_for_record(log, DEADLETTER, dead)


class Heard(logging.Handler):
    """Set when the runner logs a message that holds the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.event.set()


@contextmanager
def heard(text: str) -> Iterator[threading.Event]:
    handler = Heard(text)
    logger = logging.getLogger("streams.runners.local")
    logger.addHandler(handler)
    try:
        yield handler.event
    finally:
        logger.removeHandler(handler)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow: what a full disk looks like to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_nothing_for_good_and_loses_and_doubles_nothing(
    log: SqliteLog, clock: ManualClock
) -> None:
    append(log, cpu(1, 5.0), Ticked(T0 + 90_000), cpu(2, 6.0))
    runner = runner_of(log, clock)
    with running(runner), heard("refused a write") as refused:
        wait_for_record(log, WINDOWS, 0)
        with full_disk():
            clock.now_ms = T0 + 200_000  # its tick cannot be written
            assert refused.wait(PATIENCE_S)
        wait_for_record(log, WINDOWS, 1)
        assert runner.failure() is None
    absorb_all(log, WindowsProcessor())
    expect_exactly_once(log, WindowsProcessor())


def test_it_stops_in_time_while_the_log_cannot_commit(
    log: SqliteLog, clock: ManualClock, tmp_path: Path
) -> None:
    runner = runner_of(log, clock)
    runner.start()
    wait_for_record(log, POINTS, 0)
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # whoever writes now waits
        clock.now_ms = T0 + 5_000
        began = time.monotonic()
        assert runner.stop(2.0)
        assert time.monotonic() - began < 2.0
        other.execute("ROLLBACK")
    assert runner.failure() is None


@dataclass(frozen=True)
class Breaks:
    """A processor with a bug: it divides by zero."""

    name: str = "breaks"
    topic: str = POINTS

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> int:
        return 0

    def step(self, state: int, records: Sequence[Record]) -> Step[int]:
        return Step(len(records) // state)

    def newest_tick_ms(self, state: int) -> None:
        return None

    def due_ms(self, state: int) -> None:
        return None


def test_a_bug_ends_the_thread_and_is_kept_and_the_records_stay_unabsorbed(
    log: SqliteLog, clock: ManualClock
) -> None:
    append(log, cpu(1, 5.0))
    runner = LocalRunner(log, [Breaks()], tick_ms=5_000, clock=clock)
    with heard("the runner stopped") as stopped:
        runner.start()
        assert stopped.wait(PATIENCE_S)
    assert isinstance(runner.failure(), ZeroDivisionError)
    assert runner.lag()["breaks", 0] > 0
    assert runner.stalled_for_s() > 0
    assert HEAD not in log.table("breaks", 0)
    assert runner.stop()


def test_a_runner_that_has_absorbed_everything_is_neither_behind_nor_stalled(
    log: SqliteLog, clock: ManualClock
) -> None:
    runner = runner_of(log, clock)
    with running(runner):
        wait_for_record(log, POINTS, 0)
        log.submit(Append((poison(),))).result(PATIENCE_S)
        wait_for_record(log, DEADLETTER, 0)
    assert runner.lag() == {("windows", 0): 0}
    assert runner.stalled_for_s() == 0.0


def test_a_clock_that_was_set_back_is_told_also_after_a_restart(
    log: SqliteLog, clock: ManualClock
) -> None:
    runner = runner_of(log, clock)
    with running(runner):
        wait_for_record(log, POINTS, 0)
        log.submit(Append((poison(),))).result(PATIENCE_S)
        wait_for_record(log, DEADLETTER, 0)  # so the tick before it is absorbed
        assert runner.tick_ahead_s() == 0.0
        clock.now_ms = T0 - 3_600_000
        assert runner.tick_ahead_s() == 3_600.0
    again = runner_of(log, clock)
    with running(again):
        assert again.tick_ahead_s() == 3_600.0
        append(log, cpu(1, 5.0))
        clock.now_ms = T0 + 90_000
        wait_for_record(log, WINDOWS, 0)
        assert again.tick_ahead_s() == 0.0
    ticks = [record.headers["ce_id"] for record in everything(log, POINTS) if is_tick(record)]
    assert ticks == [f"clock/0/{T0}", f"clock/0/{T0 + 90_000}"], "none while it was behind"


def is_tick(record: Record) -> bool:
    return record.headers["ce_type"] == TICKED


def test_a_runner_that_was_never_started_stops(log: SqliteLog, clock: ManualClock) -> None:
    assert runner_of(log, clock).stop()
