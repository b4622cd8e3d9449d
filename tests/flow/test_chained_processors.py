"""Processors that read what others made: numbers by place, repeats left out, ticks of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from streams.errors import LogDamaged
from streams.events.catalogue import Ticked
from streams.events.codec import decode
from streams.events.rules import ExpireSilence, SilenceExpired
from streams.events.topics import ALERTS, COMMANDS, RULE_INPUTS
from streams.log.protocol import Append, Entry, Message, Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.outputs import PREVIOUS_HEADER
from streams.processors.seam import Out, ReadBack, Step, advance, restore
from streams.runners.local import LocalRunner
from tests.flow.schedules import BEGIN_MS, record_of
from tests.flow.test_local_runner import ManualClock, wait_for_record

PARTITIONS = 3
WAIT_MS = 7_000


@dataclass(frozen=True)
class Deals:
    """Tells command i to partition i modulo 3 of the rules' inputs."""

    name: str = field(default="deals", init=False)
    topic: str = field(default=COMMANDS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> int:
        return int(table.get("dealt", b"0"))

    def step(self, state: int, records: Sequence[Record]) -> Step[int]:
        out = []
        for record in records:
            data = decode(record.headers, record.body).data
            assert isinstance(data, ExpireSilence)
            fact = SilenceExpired(data.silence_id)
            out.append(Out(RULE_INPUTS, fact, record, partition=state % PARTITIONS))
            state += 1
        return Step(state, {"dealt": b"%d" % state}, tuple(out))

    def newest_tick_ms(self, state: int) -> int | None:
        return None

    def due_ms(self, state: int) -> int | None:
        return None


@dataclass(frozen=True)
class Wakes:
    """Wants a tick `WAIT_MS` after each record but ticks, and remembers those it got."""

    name: str = field(default="wakes", init=False)
    topic: str = field(default=ALERTS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(
        self, table: Mapping[str, bytes], end: int, read_back: ReadBack
    ) -> tuple[int | None, tuple[int, ...]]:
        stored: tuple[int | None, tuple[int, ...]] = (None, ())
        if "state" in table:
            stored = msgspec.json.decode(table["state"], type=tuple[int | None, tuple[int, ...]])
        return stored

    def step(
        self, state: tuple[int | None, tuple[int, ...]], records: Sequence[Record]
    ) -> Step[tuple[int | None, tuple[int, ...]]]:
        due_ms, ticks = state
        for record in records:
            match decode(record.headers, record.body).data:
                case Ticked(at_ms):
                    due_ms, ticks = None, (*ticks, at_ms)
                case _:
                    due_ms = record.at_ms + WAIT_MS
        return Step((due_ms, ticks), {"state": msgspec.json.encode((due_ms, ticks))})

    def newest_tick_ms(self, state: tuple[int | None, tuple[int, ...]]) -> int | None:
        return state[1][-1] if state[1] else None

    def due_ms(self, state: tuple[int | None, tuple[int, ...]]) -> int | None:
        return state[0]


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteLog]:
    opened = SqliteLog.open(tmp_path / "log.db", clock=clock, partitions=PARTITIONS)
    with closing(opened):
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def commands(count: int) -> list[Record]:
    return [record_of(i, ExpireSilence(f"s{i}"), BEGIN_MS, topic=COMMANDS) for i in range(count)]


def dealt(count: int) -> tuple[Entry, ...]:
    processor = Deals()
    return advance(processor, 0, restore(processor, {}, lambda _b, _e: []), commands(count))[2]


def inbox(entries: Sequence[Entry], partition: int) -> list[Record]:
    """The entries of a partition as it holds them, one after another."""
    messages = [entry.message for entry in entries if entry.partition == partition]
    return [
        Record(RULE_INPUTS, partition, offset, BEGIN_MS, message.headers, message.body)
        for offset, message in enumerate(messages)
    ]


@dataclass(frozen=True)
class Collects:
    """Remembers the silences that it was told of."""

    name: str = field(default="collects", init=False)
    topic: str = field(default=RULE_INPUTS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(table.get("told", b"[]")))

    def step(self, state: tuple[str, ...], records: Sequence[Record]) -> Step[tuple[str, ...]]:
        told = [decode(record.headers, record.body).data for record in records]
        state = (*state, *(fact.silence_id for fact in told if isinstance(fact, SilenceExpired)))
        return Step(state, {"told": msgspec.json.encode(state)})

    def newest_tick_ms(self, state: tuple[str, ...]) -> int | None:
        return None

    def due_ms(self, state: tuple[str, ...]) -> int | None:
        return None


def test_an_output_names_the_one_before_it_in_the_partition_that_it_goes_to() -> None:
    entries = dealt(7)
    assert [entry.partition for entry in entries] == [0, 1, 2, 0, 1, 2, 0]
    previous = [entry.message.headers.get(PREVIOUS_HEADER) for entry in entries]
    assert previous == [None, None, None, "0", "1", "2", "3"]
    assert [entry.message.headers["ce_id"] for entry in entries][:2] == ["deals/0/0", "deals/0/1"]


def test_outputs_appended_again_after_a_crash_reach_a_processor_once() -> None:
    entries = dealt(9)
    again = inbox([*entries[:5], *entries[3:]], 1)
    processor = Collects()
    fresh = restore(processor, {}, lambda _b, _e: [])
    at_once, table, _ = advance(processor, 1, fresh, again)
    assert at_once.state == ("s1", "s4", "s7")
    assert at_once.position == len(again)
    one_by_one, stored = fresh, dict[str, bytes | None]()
    for record in again:
        one_by_one, changes, _ = advance(processor, 1, one_by_one, [record])
        stored |= changes
        kept = {key: value for key, value in stored.items() if value is not None}
        one_by_one = restore(processor, kept, lambda _b, _e: [])
    assert one_by_one == at_once
    assert stored == table


def test_a_lost_output_of_another_processor_is_loud() -> None:
    lost = [record for record in inbox(dealt(9), 1) if record.offset != 1]
    processor = Collects()
    with pytest.raises(LogDamaged, match="comes after 4, but the newest that was read is 1"):
        advance(processor, 1, restore(processor, {}, lambda _b, _e: []), lost)


def test_a_topic_without_a_clock_is_ticked_when_its_processor_wants_it(
    log: SqliteLog, clock: ManualClock
) -> None:
    runner = LocalRunner(log, [Wakes()], tick_ms=5_000, clock=clock, step_interval_ms=1)
    runner.start()
    try:
        told = record_of(0, SilenceExpired("s"), clock.now_ms)
        log.submit(Append((Entry(ALERTS, 0, Message(told.headers, told.body)),))).result(10)
        clock.now_ms += WAIT_MS
        record = wait_for_record(log, ALERTS, 1)
    finally:
        assert runner.stop()
    assert decode(record.headers, record.body).data == Ticked(clock.now_ms)
    assert log.ends()[ALERTS, 0] == 2
    assert log.ends()[COMMANDS, 0] == 0
