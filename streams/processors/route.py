"""Points to what rules see: the samples that some rule selects go to the partition of
``rules.inputs`` where it is evaluated, and at each tick a marker to all of them.

A version of a rule is routed for from its fact on, and its past is read back from the partition's
own log over the rule's look-back: a bounded part of it at each tick, the versions that wait in one
pass. With the tick at which that is done the home is told of them. What cannot be decoded is left
out: `windows`, which reads the same records, tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streams.errors import PoisonError
from streams.events.alerting import SamplesRouted, TickRouted
from streams.events.catalogue import MetricsCollected, Ticked
from streams.events.codec import decode
from streams.events.rules import Rule, RuleCreated, RuleDeleted, RuleUpdated
from streams.events.topics import POINTS, RULE_INPUTS
from streams.log.protocol import Record
from streams.processors import packed
from streams.processors.packed import Edit, PackedMap
from streams.processors.pending import AHEAD_MS_MAX, in_time
from streams.processors.routing import (
    ARRIVAL_SLACK_MS,
    OLD_MS,
    Homes,
    Key,
    Marks,
    Pass,
    Routed,
    Version,
    first_since,
    home_of,
    kept_from,
    roomy,
)
from streams.processors.rule_needs import needs_of
from streams.processors.seam import Out, ReadBack, Step
from streams.processors.selected_series import SelectedSeries, pieces

MARKS: Final = "marks"
RULES: Final = "rules"
READ_BACK_RECORDS: Final = 64
RULE_BYTES_MAX: Final = 262_144
"""Of the versions in one pass, so that a marker that tells of them stays small."""
DELETED_MAX: Final = 2_000
"""Deletions that one tick tells of."""
DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True)
class RouteState:
    """What one partition has absorbed. ``series``, ``homes``: caches that only grow; None where the
    rules have changed since."""

    marks: Marks
    rules: PackedMap[Routed]
    series: SelectedSeries
    homes: Homes | None
    read_back: ReadBack


@dataclass(frozen=True, slots=True)
class RouteProcessor:
    """Routes each partition of the points to ``partitions`` homes.

    ``tick_ms``: the clock's interval; a gap of more than two is told as an outage. At each tick at
    most ``backfill_records`` records with ``backfill_points`` points of the past are read (and the
    rest of a read of 64 records).
    """

    partitions: int
    tick_ms: int
    backfill_records: int = 4_096
    backfill_points: int = 2_000_000
    name: str = field(default="route", init=False)
    topic: str = field(default=POINTS, init=False)
    prompt: bool = field(default=False, init=False)

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> RouteState:  # noqa: ARG002
        """All of the state is in the table."""
        marks = msgspec.json.decode(table[MARKS], type=Marks) if MARKS in table else Marks()
        rules = packed.stored(table, RULES, Routed)
        return RouteState(marks, rules, SelectedSeries(), None, read_back)

    def step(self, state: RouteState, records: Sequence[Record]) -> Step[RouteState]:
        """Routes the records; table values change at ticks and with facts about rules."""
        fold = _Fold(self, state)
        for record in records:
            fold.take(record)
        return fold.result()

    def newest_tick_ms(self, state: RouteState) -> int | None:
        """The time of the newest tick absorbed."""
        return state.marks.tick_ms

    def due_ms(self, state: RouteState) -> int | None:  # noqa: ARG002
        """None: the clock ticks in the points."""
        return None


class _Fold:
    """One step in progress."""

    def __init__(self, processor: RouteProcessor, state: RouteState) -> None:
        self._processor = processor
        self._before = state
        self._marks = state.marks
        self._rules = Edit(state.rules)
        self._series = state.series
        self._homes = state.homes
        self._out: list[Out] = []

    def take(self, record: Record) -> None:
        """Absorbs one record."""
        try:
            data = decode(record.headers, record.body).data
        except PoisonError:
            return
        match data:
            case MetricsCollected():
                self._samples(record, record, data, self._to_homes())
            case Ticked(at_ms) if in_time(at_ms, record):
                if self._marks.tick_ms is None or at_ms > self._marks.tick_ms:
                    self._tick(record, at_ms)
            case RuleCreated(rule) | RuleUpdated(rule):
                if self._is_new(record):
                    self._version(record, rule)
            case RuleDeleted(rule):
                if self._is_new(record):
                    self._delete(rule.id)
            case _:
                pass

    def result(self) -> Step[RouteState]:
        """The next state and the table values of what was touched."""
        changes = self._rules.changes(RULES)
        if self._marks is not self._before.marks:
            changes[MARKS] = msgspec.json.encode(self._marks)
        rules = self._rules.after()
        state = RouteState(self._marks, rules, self._series, self._homes, self._before.read_back)
        return Step(state, changes, tuple(self._out))

    def _to_homes(self) -> Homes:
        if self._homes is None or len(self._series) != len(roomy(self._series)):
            self._series = roomy(self._series)
            rules = [each.rule for _, routed in self._rules.items() for each in routed.versions]
            self._homes = Homes(self._processor.partitions, rules, self._series)
        return self._homes

    def _samples(self, record: Record, cause: Record, data: MetricsCollected, homes: Homes) -> None:
        """What of a record, read now or again, goes to its homes."""
        until_ms = record.at_ms + AHEAD_MS_MAX
        for home, batch in homes.split(data.batch, until_ms):
            for piece in pieces(batch):
                routed = SamplesRouted(piece, record.partition, record.offset + 1)
                self._out.append(Out(RULE_INPUTS, routed, cause, home))

    def _is_new(self, record: Record) -> bool:
        """Whether a fact was not absorbed before: its maker may append it again after a crash."""
        _, _, number = record.headers.get("ce_id", "").rpartition("/")
        made = record.headers.get("ce_source", "").startswith("processor/")
        if not (made and number.isascii() and number.isdigit() and len(number) <= DIGITS_MAX):
            return True
        if int(number) <= self._marks.fact:
            return False
        self._mark(fact=int(number))
        return True

    def _version(self, record: Record, rule: Rule) -> None:
        known = self._rules.get(rule.id)
        versions = known.versions if known else ()
        needed, begin = needs_of(rule), record.offset
        # what the version before it needs is there, or comes before it
        if needed.lookback_ms and not (versions and needs_of(versions[-1].rule) == needed):
            since_ms = record.at_ms - needed.lookback_ms - ARRIVAL_SLACK_MS
            begin = first_since(self._before.read_back, record.offset, since_ms)
        version = Version(rule, begin, record.offset)
        self._rules.put(rule.id, Routed((*versions, version)))
        self._mark(waiting=(*self._marks.waiting, (rule.id, rule.version)))
        self._homes = None

    def _delete(self, rule_id: str) -> None:
        self._rules.delete(rule_id)
        self._mark(deleted=(*self._marks.deleted, rule_id))
        self._homes = None

    def _tick(self, record: Record, at_ms: int) -> None:
        last_ms = self._marks.tick_ms
        gap_ms = 0 if last_ms is None else at_ms - last_ms
        self._mark(tick_ms=at_ms)
        self._retire(at_ms)
        begun = self._marks.reading is None and self._begin_pass()
        told = self._read_past(record) if self._marks.reading else ()
        coming = self._marks.reading.versions if begun and self._marks.reading else ()
        rules = tuple(self._told(version, at_ms) for version in self._known(told))
        deleted = self._marks.deleted[:DELETED_MAX]
        if deleted:
            self._mark(deleted=self._marks.deleted[DELETED_MAX:])
        marker = TickRouted(
            source=record.partition,
            at_ms=at_ms,
            position=record.offset + 1,
            rules=rules,
            deleted=deleted,
            outage_ms=gap_ms if gap_ms > 2 * self._processor.tick_ms else 0,
            coming=tuple(version.rule for version in self._known(coming)),
        )
        for home in range(self._processor.partitions):
            self._out.append(Out(RULE_INPUTS, self._for_home(marker, home), record, home))

    def _for_home(self, marker: TickRouted, home: int) -> TickRouted:
        homes = self._processor.partitions
        return msgspec.structs.replace(
            marker,
            rules=tuple(rule for rule in marker.rules if home_of(rule.id, homes) == home),
            deleted=tuple(each for each in marker.deleted if home_of(each, homes) == home),
            coming=tuple(rule for rule in marker.coming if home_of(rule.id, homes) == home),
        )

    def _known(self, keys: tuple[Key, ...]) -> list[Version]:
        """The versions of these that were not deleted meanwhile."""
        return [version for key in keys if (version := self._find(key)) is not None]

    def _find(self, key: Key) -> Version | None:
        routed = self._rules.get(key[0])
        versions = routed.versions if routed else ()
        return next((each for each in versions if each.rule.version == key[1]), None)

    def _told(self, version: Version, at_ms: int) -> Rule:
        """The rule, of which older versions are routed for a while longer."""
        rule = version.rule
        routed = self._rules.get(rule.id)
        if routed is not None and routed.versions[0].rule.version < rule.version:
            self._mark(retiring=(*self._marks.retiring, (at_ms + OLD_MS, rule.id, rule.version)))
        return rule

    def _retire(self, at_ms: int) -> None:
        due = [each for each in self._marks.retiring if each[0] <= at_ms]
        if not due:
            return
        self._mark(retiring=self._marks.retiring[len(due) :])
        for _, rule_id, number in due:
            routed = self._rules.get(rule_id)
            if routed is not None:
                kept = tuple(each for each in routed.versions if each.rule.version >= number)
                self._rules.put(rule_id, Routed(kept))
                self._homes = None

    def _mark(self, **changes: Any) -> None:
        self._marks = msgspec.structs.replace(self._marks, **changes)

    def _begin_pass(self) -> bool:
        """Takes the versions that wait, as far as a marker may hold them."""
        taken = size = 0
        for version in map(self._find, self._marks.waiting):
            size += len(msgspec.json.encode(version.rule)) if version else 0
            if taken and size > RULE_BYTES_MAX:
                break
            taken += 1
        if not taken:
            return False
        keys = self._marks.waiting[:taken]
        pasts = [(each.begin, each.end) for each in self._known(keys) if each.begin < each.end]
        begin = min((begin for begin, _ in pasts), default=0)
        end = max((end for _, end in pasts), default=0)
        self._mark(waiting=self._marks.waiting[taken:], reading=Pass(begin, end, keys))
        return True

    def _read_past(self, cause: Record) -> tuple[Key, ...]:
        """Reads on; the versions of the pass once it is done."""
        reading = self._marks.reading
        assert reading is not None
        rules = [version.rule for version in self._known(reading.versions)]
        homes = Homes(self._processor.partitions, rules, self._series)
        cursor = kept_from(self._before.read_back, reading.cursor, reading.end)
        records = points = 0
        while (
            cursor < reading.end
            and records < self._processor.backfill_records
            and points < self._processor.backfill_points
        ):
            to = min(cursor + READ_BACK_RECORDS, reading.end)
            for record in self._before.read_back(cursor, to):
                points += self._again(record, cause, homes)
            records += to - cursor
            cursor = to
        if cursor < reading.end:
            self._mark(reading=msgspec.structs.replace(reading, cursor=cursor))
            return ()
        self._mark(reading=None)
        return reading.versions

    def _again(self, record: Record, cause: Record, homes: Homes) -> int:
        """How many points a record of the past holds; its samples go to the homes."""
        try:
            data = decode(record.headers, record.body).data
        except PoisonError:
            return 0
        if not isinstance(data, MetricsCollected):
            return 0
        self._samples(record, cause, data, homes)
        return len(data.batch)
