"""Commands of every kind in random histories, and the ways to run their processor over them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from streams.events import rules as events
from streams.events.catalogue import Envelope, Event, EventData, Ticked
from streams.events.codec import encode
from streams.events.rules import (
    AcknowledgeAlert,
    CreateAlert,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Rule,
    Silence,
    UpdateAlert,
)
from streams.events.topics import COMMANDS
from streams.log.protocol import Entry, Record
from streams.processors.commands import CommandsProcessor
from streams.processors.commands_state import CommandsState
from streams.processors.seam import Tracked, advance, restore

BEGIN_MS = 1_700_000_000_000
PROCESSOR = CommandsProcessor(points_partitions=3)
RULE = Rule(id="cpu", version=1, name="High CPU", condition="cpu > 80")
RECORDING = Rule(id="sum", version=1, name="sum", condition="sum(cpu)", record="cpu:sum")
SILENCE = Silence(
    id="s1", matchers=("host=a",), starts_ms=BEGIN_MS, ends_ms=BEGIN_MS + 60_000, comment="quiet"
)


def record_of(offset: int, data: EventData, command_id: str = "") -> Record:
    """A second after the one before it."""
    at_ms = BEGIN_MS + offset * 1_000
    envelope = Envelope(command_id or f"c{offset}", "test", at_ms, actor="ann")
    message = encode(Event(envelope, data))
    return Record(COMMANDS, 0, offset, at_ms, message.headers, message.body)


class Run:
    """What was stored and appended."""

    def __init__(
        self, records: Sequence[Record] = (), processor: CommandsProcessor = PROCESSOR
    ) -> None:
        self.records = tuple(records)
        self.processor = processor
        self.table: dict[str, bytes] = {}
        self.entries: list[Entry] = []

    def restored(self) -> Tracked[CommandsState]:
        return restore(self.processor, self.table, lambda a, b: self.records[a:b])

    def feed(
        self, tracked: Tracked[CommandsState], records: Sequence[Record]
    ) -> Tracked[CommandsState]:
        after, changes, entries = advance(self.processor, 0, tracked, records)
        self._store(changes)
        self.entries += entries
        return after

    def _store(self, changes: Mapping[str, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value


def run(*data: EventData, processor: CommandsProcessor = PROCESSOR) -> Run:
    records = [record_of(i, each) for i, each in enumerate(data)]
    done = Run(records, processor)
    done.feed(done.restored(), records)
    return done


IDS = st.sampled_from(["cpu", "mem", "sum"])
RULES = st.builds(
    Rule,
    id=IDS,
    version=st.integers(1, 4),
    name=st.sampled_from(["High CPU", "High memory", ""]),
    condition=st.sampled_from(["cpu > 80", "mem >"]),
    enabled=st.booleans(),
    record=st.sampled_from(["", "", "r"]),
)
SILENCES = st.builds(
    Silence,
    id=st.sampled_from(["s1", "s2"]),
    matchers=st.sampled_from([("a=b",), ()]),
    starts_ms=st.just(BEGIN_MS),
    ends_ms=st.integers(BEGIN_MS, BEGIN_MS + 20_000),
)
COMMAND_DATA = st.one_of(
    st.builds(CreateAlert, RULES),
    st.builds(UpdateAlert, RULES),
    *(st.builds(kind, IDS) for kind in (EnableAlert, DisableAlert, DeleteAlert, events.TestAlert)),
    st.builds(AcknowledgeAlert, IDS, st.just("f"), st.just("")),
    st.builds(CreateSilence, SILENCES),
    st.builds(ExpireSilence, st.sampled_from(["s1", "s2"])),
    st.just(Ticked(BEGIN_MS)),
)
"""Every command, and one event that is none."""


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    asked = draw(st.lists(st.tuples(COMMAND_DATA, st.booleans()), max_size=40))
    records: list[Record] = []
    for offset, (data, again) in enumerate(asked):
        command_id = f"c{draw(st.integers(0, offset))}" if again else f"c{offset}"
        record = record_of(offset, data, command_id)
        records.append(replace(record, body=b"") if draw(st.integers(0, 19)) == 0 else record)
    return records


def in_steps(records: Sequence[Record], size: int) -> Run:
    done = Run(records)
    tracked = done.restored()
    for first in range(0, len(records), size):
        tracked = done.feed(tracked, records[first : first + size])
        assert tracked.state == done.restored().state
    return done


def interrupted(records: Sequence[Record], dice: random.Random) -> Run:
    """Steps of random size; some are computed and lost, some kill, some deliver records again."""
    done = Run(records)
    tracked = done.restored()
    while tracked.position < len(records):
        first = max(0, tracked.position - dice.choice([0, 0, 1, 3]))
        step = records[first : tracked.position + dice.randint(1, 5)]
        fate = dice.random()
        if fate < 0.25:
            advance(PROCESSOR, 0, tracked, step)  # the commit fails: the old state goes on
            continue
        tracked = done.feed(tracked, step)
        if fate > 0.6:
            tracked = done.restored()
    return done
