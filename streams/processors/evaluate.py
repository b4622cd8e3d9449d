"""Rules to transitions: tick by tick, over the samples that all partitions of the points sent.

A tick is run when every source has told a tick at or after it; what came before is taken in the
order of (source, offset), whatever order it came in. Rules take their versions from the markers; a
rule that fails is told of, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from streams.events.alerting import EvaluationStalled, SamplesRouted, TickRouted
from streams.events.topics import ALERTS, RULE_INPUTS
from streams.log.protocol import Record
from streams.processors import rule_homes
from streams.processors.deadletter import dead_letter
from streams.processors.hot_store import Need
from streams.processors.routing import kept_from
from streams.processors.rule_evaluation import Expressions, TickReader
from streams.processors.rule_homes import Editing, Home
from streams.processors.rule_inputs import Input, Inputs, input_of
from streams.processors.rule_needs import needs_of
from streams.processors.rule_tick import Moment, Tick
from streams.processors.rule_traces import Traces
from streams.processors.seam import Out, ReadBack, Step

MARKS: Final = "marks"
READ_BACK_RECORDS: Final = 256
STALLED_TICKS: Final = 3
"""A source is stalled when others have told more ticks than this since its last."""


class SourceMark(msgspec.Struct, frozen=True):
    """What was run of a source: its last tick, its position in the points, the offset here of the
    marker, and the first offset here of which samples are needed still."""

    tick_ms: int = 0
    position: int = 0
    taken: int = -1
    needed: int = 0


class Marks(msgspec.Struct, frozen=True):
    """Where the evaluation stands. ``stalled``: sources that were told to be."""

    sources: tuple[SourceMark, ...]
    tick_ms: int | None = None
    stalled: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluateState:
    """What one home has absorbed. ``inputs`` are those of this state only while they bear its
    ``stamp``; else they are made again from the log up to ``end``."""

    marks: Marks
    home: Home
    inputs: Inputs
    stamp: object
    expressions: Expressions
    end: int
    read_back: ReadBack


@dataclass(frozen=True, slots=True)
class EvaluateProcessor:
    """Evaluates the rules whose home a partition of ``rules.inputs`` is.

    ``sources``: the partitions of the points. ``evaluation_ms``: how far apart the evaluations of a
    rule without an interval of its own are; each is at the first tick of an aligned interval. Of
    inputs that wait for a tick ``waiting_bytes_max`` are held; more are read again when it comes.
    """

    sources: int
    evaluation_ms: int
    waiting_bytes_max: int = 64 << 20
    name: str = field(default="evaluate", init=False)
    topic: str = field(default=RULE_INPUTS, init=False)
    prompt: bool = field(default=True, init=False)

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> EvaluateState:
        """The state at offset ``end``: samples and waiting inputs are read again from the log."""
        marks = Marks((SourceMark(),) * self.sources)
        if MARKS in table:
            marks = msgspec.json.decode(table[MARKS], type=Marks)
        home = rule_homes.stored(table)
        inputs = _read_again(marks, home, end, read_back, self.waiting_bytes_max)
        return EvaluateState(marks, home, inputs, inputs.stamp, Expressions(), end, read_back)

    def step(self, state: EvaluateState, records: Sequence[Record]) -> Step[EvaluateState]:
        """Takes the records; table values change where one of them lets a tick run."""
        fold = _Fold(self, state)
        for record in records:
            fold.take(record)
        return fold.result()

    def newest_tick_ms(self, state: EvaluateState) -> int | None:
        """The time of the newest tick that was run."""
        return state.marks.tick_ms

    def due_ms(self, state: EvaluateState) -> int | None:  # noqa: ARG002
        """None: ticks come in with the samples."""
        return None


def _read_again(
    marks: Marks, home: Home, end: int, read_back: ReadBack, waiting_bytes_max: int
) -> Inputs:
    """Samples that were taken and are needed go into the store, what was not taken waits. What the
    log does not keep any more is missing."""
    inputs = Inputs(len(marks.sources), waiting_bytes_max)
    inputs.store.need(_needs(home))
    begin = min(min(each.needed, each.taken + 1) for each in marks.sources)
    for first in range(kept_from(read_back, begin, end), end, READ_BACK_RECORDS):
        for record in read_back(first, min(first + READ_BACK_RECORDS, end)):
            data = input_of(record)
            if data is None or data.source >= len(marks.sources):
                continue  # told as a dead letter when it was absorbed
            mark = marks.sources[data.source]
            if record.offset > mark.taken:
                _wait(inputs, mark, record, data)
            elif record.offset >= mark.needed and isinstance(data, SamplesRouted):
                assert marks.tick_ms is not None
                inputs.keep(record, data, marks.tick_ms)
    return inputs


def _wait(inputs: Inputs, mark: SourceMark, record: Record, data: Input) -> None:
    """Puts it into its queue; a marker that is not above the last of its source is ignored."""
    last_ms = inputs.newest_tick_ms(data.source) or mark.tick_ms
    if isinstance(data, SamplesRouted) or data.at_ms > last_ms:
        inputs.wait(record, data)


def _needs(home: Home) -> list[Need]:
    """Of all versions, also of those that are not in force yet."""
    rules = [rule for homed in home.rules.values() for rule in homed.versions]
    found = ((needs_of(rule).selectors, needs_of(rule).lookback_ms) for rule in rules)
    return [(matchers, keep_ms) for selectors, keep_ms in found for matchers in selectors]


class _Fold:
    """One step in progress."""

    def __init__(self, processor: EvaluateProcessor, state: EvaluateState) -> None:
        self._processor = processor
        self._state = state
        self._marks = state.marks
        self._home = Editing(state.home)
        self._inputs = state.inputs
        if self._inputs.stamp is not state.stamp:  # a step went on from here and was not committed
            self._inputs = self._again(state.marks, state.home, state.end)
        self._inputs.stamp = object()
        self._end = state.end
        self._out: list[Out] = []

    def take(self, record: Record) -> None:
        """Absorbs one record."""
        self._end = record.offset + 1
        data = input_of(record)
        if data is None or data.source >= self._processor.sources:
            kind = record.headers.get("ce_type", "")
            reason = f"{kind!r} cannot be read, or is not of {self._processor.sources} sources"
            self._out.append(dead_letter(record, reason))
            return
        _wait(self._inputs, self._marks.sources[data.source], record, data)
        if isinstance(data, TickRouted):
            while (at_ms := self._inputs.next_tick_ms()) is not None:
                self._run(at_ms)
            self._tell_stalled(record)

    def result(self) -> Step[EvaluateState]:
        """The next state and the table values of what was touched."""
        changes = self._home.changes
        if self._marks is not self._state.marks:
            changes[MARKS] = msgspec.json.encode(self._marks)
        marks, home, inputs = self._marks, self._home.result(), self._inputs
        self._state.expressions.forget(home.rules)
        if inputs.store.crowded():
            inputs = self._again(marks, home, self._end)
        state = replace(
            self._state, marks=marks, home=home, inputs=inputs, stamp=inputs.stamp, end=self._end
        )
        return Step(state, changes, tuple(self._out))

    def _again(self, marks: Marks, home: Home, end: int) -> Inputs:
        waiting_bytes_max = self._processor.waiting_bytes_max
        return _read_again(marks, home, end, self._state.read_back, waiting_bytes_max)

    def _run(self, at_ms: int) -> None:
        """One tick: the markers first, since they say what samples are needed."""
        taken = list(self._inputs.of_tick(at_ms, self._state.read_back))
        markers = [(record, data) for record, data in taken if isinstance(data, TickRouted)]
        cause = markers[0][0]
        outages = [marker.outage_ms for _, marker in markers]
        outage_ms = min(outages) if len(outages) == self._processor.sources else 0
        before_ms = self._marks.tick_ms
        self._pass(at_ms, markers)
        seen = tuple(mark.position for mark in self._marks.sources)
        moment = Moment(cause.partition, at_ms, before_ms, seen, outage_ms)
        tick = Tick(self._home, moment, self._processor.evaluation_ms)
        edits = self._home.edits
        tick.begin([marker for _, marker in markers])
        if self._home.edits > edits:
            self._inputs.store.need(_needs(self._home.result()))
        for record, data in taken:
            if isinstance(data, SamplesRouted):
                self._inputs.keep(record, data, at_ms)
        tick.run(self._state.expressions, TickReader(self._inputs.store, at_ms))
        if tick.told:
            traces = Traces(self._home, self._inputs, at_ms)
            told = tick.told
            self._out += [Out(topic, data, cause, to, traces.of(data)) for topic, data, to in told]
        self._forget(at_ms)

    def _pass(self, at_ms: int, markers: Sequence[tuple[Record, TickRouted]]) -> None:
        """The marks move to this tick."""
        sources = list(self._marks.sources)
        for record, marker in markers:
            sources[marker.source] = SourceMark(
                marker.at_ms, marker.position, record.offset, sources[marker.source].needed
            )
        self._marks = Marks(tuple(sources), at_ms, self._marks.stalled)

    def _forget(self, at_ms: int) -> None:
        """The marks move past records of which no sample is needed any more."""
        since_ms = at_ms - self._inputs.store.lookback_ms
        firsts = [self._inputs.first_needed(n, since_ms) for n in range(self._processor.sources)]
        sources = tuple(
            msgspec.structs.replace(mark, needed=mark.taken + 1 if first is None else first)
            for mark, first in zip(self._marks.sources, firsts, strict=True)
        )
        self._marks = msgspec.structs.replace(self._marks, sources=sources)

    def _tell_stalled(self, record: Record) -> None:
        """Once for each run of a source that rules wait for."""
        counts = [self._inputs.ticks_waiting(n) for n in range(self._processor.sources)]
        ahead = max(counts) > STALLED_TICKS and bool(self._home.rules)
        stalled = tuple(n for n, count in enumerate(counts) if ahead and not count)
        if stalled == self._marks.stalled:
            return
        newest_ms = max(self._inputs.newest_tick_ms(n) or 0 for n in range(len(counts)))
        for source in stalled:
            if source not in self._marks.stalled:
                since_ms = self._marks.sources[source].tick_ms
                told = EvaluationStalled(record.partition, source, since_ms, newest_ms)
                self._out.append(Out(ALERTS, told, record, 0))
        self._marks = msgspec.structs.replace(self._marks, stalled=stalled)
