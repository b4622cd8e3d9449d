"""Tables of a processor in a store where any write may be the last: what `recover` finds again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.processors.seam import HEAD
from streams.runners.slots import INLINE_BYTES_MAX, Flush, Slots, recover, take_over
from tests.effort import examples

Values = dict[str, bytes]


def head(position: int) -> bytes:
    return json.dumps({"position": position, "out_seq": 0}).encode()


@dataclass
class Process:
    """An owner that folds a log, the same for everybody, and flushes now and then."""

    dice: random.Random
    truth: list[dict[str, bytes | None]]
    store: Values
    name: str
    slots: Slots = field(init=False)
    position: int = field(init=False)
    pending: dict[str, bytes | None] = field(init=False)
    acked: int = -1
    writing: Iterator[None] | None = None

    def __post_init__(self) -> None:
        recovered = recover(self.store)
        self.slots = take_over(self.store, self.name)
        self.position = recovered.position
        self.pending = dict(recovered.values)

    def move(self) -> None:
        """One write, or the start of a flush after some records."""
        if self.writing is None:
            ahead = min(len(self.truth), self.position + self.dice.randint(1, 3))
            for changes in self.truth[self.position : ahead]:
                self.pending.update(changes)
            self.position = ahead
            self.pending[HEAD] = head(ahead)
            self.writing = self.write(self.slots.flush(self.pending))
        elif next(self.writing, self) is self:
            self.writing = None

    def write(self, flush: Flush) -> Iterator[None]:
        for group in (flush.slots, flush.manifest, flush.spent):
            for key in self.dice.sample(list(group), len(group)):
                value = group[key]
                if value is None:
                    self.store.pop(key, None)
                else:
                    self.store[key] = value
                yield
                if self.dice.random() < 0.05:
                    return  # it was not acknowledged, so the flush is made again with more
            if group is flush.manifest:
                self.acked, self.slots, self.pending = self.position, flush.after, {}


def made(truth: list[dict[str, bytes | None]], position: int) -> Values:
    values: dict[str, bytes | None] = {}
    for changes in truth[:position]:
        values.update(changes)
    values[HEAD] = head(position)
    return {key: value for key, value in values.items() if value is not None}


def changes_of(dice: random.Random) -> dict[str, bytes | None]:
    sizes = [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 2_000]
    return {
        key: None if dice.random() < 0.3 else dice.randbytes(dice.choice(sizes))
        for key in dice.sample(["marks", "60000/0/0", "60000/0/1", "seen/7"], dice.randint(0, 3))
    }


@given(st.integers(0, 2**63))
@settings(max_examples=examples(300))
def test_a_table_is_found_again_as_it_was_flushed_whatever_was_cut_off(seed: int) -> None:
    dice = random.Random(seed)
    truth = [changes_of(dice) for _ in range(30)]
    store: Values = {}
    owner = Process(dice, truth, store, "0")
    zombies: list[Process] = []
    promised = 0
    for turn in range(1, 200):
        fate = dice.random()
        if fate < 0.05:
            if dice.random() < 0.6:
                zombies.append(owner)  # it goes on, and does not know that it was replaced
            owner = Process(dice, truth, store, str(turn))
        elif fate < 0.35 and zombies:
            dice.choice(zombies).move()
        else:
            owner.move()
            promised = max(promised, owner.acked)
        recovered = recover(store)
        assert recovered.position >= promised
        if recovered.owner:
            assert recovered.values == made(truth, recovered.position)


def test_a_flush_of_small_values_is_one_write() -> None:
    flush = Slots("a").flush({HEAD: head(7), "marks": b"x" * INLINE_BYTES_MAX})
    assert (len(flush.slots), len(flush.manifest), len(flush.spent)) == (0, 1, 0)


def test_a_new_owner_deletes_what_lay_there_once_its_own_is_complete() -> None:
    store: Values = {}
    apply(store, Slots("a").flush({HEAD: head(1), "big": b"x" * 1_000}))
    flush = take_over(store, "b").flush(dict(recover(store).values))
    assert set(flush.spent) == {"a/manifest/1", "a/0/big"}
    apply(store, flush)
    assert all(key.startswith("b/") for key in store)
    assert recover(store).values == {HEAD: head(1), "big": b"x" * 1_000}


def test_what_is_no_manifest_is_ignored() -> None:
    store = {"a/manifest/0": b"\xc1", "junk": b"x", "a/manifest/2": b""}
    assert recover(store).owner == ""
    apply(store, Slots("b").flush({HEAD: head(3)}))
    assert recover(store).position == 3


def apply(store: Values, flush: Flush) -> None:
    for group in (flush.slots, flush.manifest, flush.spent):
        write(store, group)


def write(store: Values, group: Mapping[str, bytes | None]) -> None:
    for key, value in group.items():
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value
