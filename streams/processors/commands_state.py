"""What the deciding of commands remembers: rules, silences, targets, which commands were answered.

All of it is bounded by count and lies in packed table values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.domain.rules import Identity, identity
from streams.events.health import Target
from streams.events.rules import Rule
from streams.processors import packed
from streams.processors.packed import Edit, PackedMap

DELETED_MAX: Final = 10_000
"""Deleted rules whose versions are remembered, the newest."""
CHUNK: Final = 128
CHUNKS: Final = 64
"""Of the ids of answered commands: the newest 8,064 at least are remembered. Never changed."""


class Deleted(msgspec.Struct, frozen=True, array_like=True):
    """Of a deleted rule: its last version, and the offset of the command that deleted it."""

    version: int
    offset: int


class _Chunk(msgspec.Struct, frozen=True, array_like=True):
    first: int
    ids: tuple[bytes, ...]


@dataclass(frozen=True)
class Answered:
    """Digests of the ids of answered commands with their numbers, oldest first."""

    numbers: Mapping[bytes, int] = field(default_factory=dict)
    count: int = 0

    def knows(self, command_id: str) -> bool:
        """Whether a command with this id was answered, as far back as is remembered."""
        return _digest(command_id) in self.numbers


@dataclass(frozen=True)
class CommandsState:
    """``taken``: the rule of each `identity`. ``rule_bytes``: of all rules as JSON."""

    rules: PackedMap[Rule] = field(default_factory=PackedMap)
    deleted: PackedMap[Deleted] = field(default_factory=PackedMap)
    silences: PackedMap[int] = field(default_factory=PackedMap)
    """When each ends."""
    targets: PackedMap[Target] = field(default_factory=PackedMap)
    answered: Answered = field(default_factory=Answered)
    taken: Mapping[Identity, str] = field(default_factory=dict)
    rule_bytes: int = 0


def restored(table: Mapping[str, bytes]) -> CommandsState:
    """The state that `Memory.changes` wrote."""
    rules = packed.stored(table, "rules", Rule)
    chunks = [
        msgspec.msgpack.decode(table[f"answered/{number}"], type=_Chunk)
        for number in range(CHUNKS)
        if f"answered/{number}" in table
    ]
    chunks.sort(key=lambda chunk: chunk.first)
    numbers = {id_: chunk.first + i for chunk in chunks for i, id_ in enumerate(chunk.ids)}
    return CommandsState(
        rules=rules,
        deleted=packed.stored(table, "deleted", Deleted),
        silences=packed.stored(table, "silences", int),
        targets=packed.stored(table, "targets", Target),
        answered=Answered(numbers, chunks[-1].first + len(chunks[-1].ids) if chunks else 0),
        taken={identity(rule): rule.id for rule in rules.values()},
        rule_bytes=sum(map(rule_size, rules.values())),
    )


class Memory:
    """A state in change, for one step."""

    def __init__(self, before: CommandsState) -> None:
        self._before = before
        self.rules = Edit(before.rules)
        self.silences = Edit(before.silences)
        self.targets = Edit(before.targets)
        self._deleted = Edit(before.deleted)
        self.taken = dict(before.taken)
        self.rule_bytes = before.rule_bytes
        self._numbers = dict(before.answered.numbers)
        self._count = before.answered.count

    def knows(self, command_id: str) -> bool:
        """As `Answered.knows`."""
        return _digest(command_id) in self._numbers

    def answer(self, command_id: str) -> None:
        """From now on it is known; with each `CHUNK` the oldest one is forgotten."""
        if self._count % CHUNK == 0:
            oldest = self._count - (CHUNKS - 1) * CHUNK
            self._numbers = {id_: n for id_, n in self._numbers.items() if n >= oldest}
        self._numbers[_digest(command_id)] = self._count
        self._count += 1

    def version_of_deleted(self, rule_id: str) -> int:
        """The last version of a rule that was deleted; 0 where none is remembered."""
        deleted = self._deleted.get(rule_id)
        return 0 if deleted is None else deleted.version

    def put(self, rule: Rule) -> None:
        """The rule as it is now."""
        self._drop(rule.id)
        self._deleted.delete(rule.id)
        self.rules.put(rule.id, rule)
        self.taken[identity(rule)] = rule.id
        self.rule_bytes += rule_size(rule)

    def delete(self, rule: Rule, offset: int) -> None:
        """``rule``: as it last stood, its version one higher."""
        self._drop(rule.id)
        self._deleted.put(rule.id, Deleted(rule.version, offset))
        if len(self._deleted) > DELETED_MAX:
            oldest = min(self._deleted.items(), key=lambda item: item[1].offset)
            self._deleted.delete(oldest[0])

    def forget_silences(self, now_ms: int) -> None:
        """Those that have ended."""
        for silence_id, ends_ms in self.silences.items():
            if ends_ms <= now_ms:
                self.silences.delete(silence_id)

    def after(self) -> CommandsState:
        """The next state."""
        return CommandsState(
            rules=self.rules.after(),
            deleted=self._deleted.after(),
            silences=self.silences.after(),
            targets=self.targets.after(),
            answered=Answered(self._numbers, self._count),
            taken=self.taken,
            rule_bytes=self.rule_bytes,
        )

    def changes(self) -> dict[str, bytes | None]:
        """The table values of what was touched."""
        values = {
            **self.rules.changes("rules"),
            **self._deleted.changes("deleted"),
            **self.silences.changes("silences"),
            **self.targets.changes("targets"),
        }
        begin = self._before.answered.count // CHUNK * CHUNK
        begin = max(begin, next(iter(self._numbers.values()), 0))  # the oldest, first of its chunk
        ids = [id_ for id_, number in self._numbers.items() if number >= begin]
        for place in range(0, len(ids), CHUNK):
            chunk = _Chunk(begin + place, tuple(ids[place : place + CHUNK]))
            number = chunk.first // CHUNK % CHUNKS
            values[f"answered/{number}"] = msgspec.msgpack.encode(chunk)
        return values

    def _drop(self, rule_id: str) -> None:
        before = self.rules.get(rule_id)
        if before is None:
            return
        self.rules.delete(rule_id)
        if self.taken.get(identity(before)) == rule_id:
            del self.taken[identity(before)]
        self.rule_bytes -= rule_size(before)


def rule_size(rule: Rule) -> int:
    """Bytes as JSON."""
    return len(msgspec.json.encode(rule))


def _digest(command_id: str) -> bytes:
    return hashlib.blake2b(command_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
