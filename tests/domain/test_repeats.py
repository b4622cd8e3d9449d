"""Which rows came before: compared with sets of single rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.repeats import (
    SHARD_KEYS_MAX,
    SPANS_A_KEY_MAX,
    Limits,
    Seen,
    Spans,
    absorb,
    joined,
    overlap,
    remembered,
)
from streams.events.slices import Slice, numbered, numbered_key
from tests.effort import examples

MINUTE = 60_000


def rows_in(spans: Spans) -> set[int]:
    return {
        row for begin, end in zip(spans[::2], spans[1::2], strict=True) for row in range(begin, end)
    }


def runs(rows: set[int]) -> int:
    return sum(row - 1 not in rows for row in rows)


@dataclass
class Plain:
    """The same with single rows; keys and streams in the order in which they are forgotten."""

    limits: Limits
    now_ms: int = -(2**62)
    keys: dict[str, tuple[int, set[int]]] = field(default_factory=dict)
    streams: dict[str, tuple[int, set[int]]] = field(default_factory=dict)

    def absorb(self, slices: list[Slice], at_ms: int) -> set[int]:
        if not slices:
            return set()
        self.now_ms = max(self.now_ms, at_ms)
        begin_ms = self.now_ms - self.limits.horizon_ms
        self.keys = {
            key: (minute, rows)
            for key, (minute, rows) in self.keys.items()
            if (minute + 1) * MINUTE > begin_ms
        }
        repeated: set[int] = set()
        for one in slices:
            rows = set(range(one.start, one.start + one.count))
            known = self._key(one.key, rows)
            repeated |= {one.first + row - one.start for row in known}
        while sum(runs(rows) for _, rows in self.keys.values()) > self.limits.spans_max:
            del self.keys[next(iter(self.keys))]
        while len(self.streams) > self.limits.streams_max:
            del self.streams[next(iter(self.streams))]
        return repeated

    def _key(self, key: str, rows: set[int]) -> set[int]:
        stream = numbered(key)
        if stream is not None:
            return self._number(*stream, rows)
        minute, known = self.keys.get(key, (self.now_ms // MINUTE, set()))
        if rows and runs(known | rows) <= SPANS_A_KEY_MAX:
            self.keys[key] = minute, known | rows
        return known & rows

    def _number(self, stream: str, number: int, rows: set[int]) -> set[int]:
        newest, known = self.streams.get(stream, (-1, set()))
        if number < newest:
            return rows
        if number > newest:
            known = set()
        if rows - known and runs(known | rows) <= SPANS_A_KEY_MAX:
            self.streams.pop(stream, None)
            self.streams[stream] = number, known | rows
        return known & rows


KEYS = st.one_of(
    st.sampled_from("abcdefgh"),
    st.builds(numbered_key, st.sampled_from("xyz"), st.integers(0, 4)),
)
LIMITS = st.builds(
    Limits,
    horizon_ms=st.sampled_from([0, 90_000, 3_600_000]),
    spans_max=st.sampled_from([1, 3, 6, 200_000]),
    streams_max=st.sampled_from([1, 2, 2_048]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, list[Slice]]]:
    """Records as (time, slices); times mostly rise."""
    records = []
    at_ms = 0
    for _ in range(draw(st.integers(1, 25))):
        at_ms = max(0, at_ms + draw(st.sampled_from([0, 1_000, 40_000, 600_000, -50_000])))
        slices: list[Slice] = []
        place = 0
        for _ in range(draw(st.integers(0, 4))):
            place += draw(st.integers(0, 2))
            count = draw(st.integers(0, 6))
            slices.append(Slice(draw(KEYS), place, count, draw(st.integers(0, 12))))
            place += count
        records.append((at_ms, slices))
    return records


def assert_well_formed(spans: Spans) -> None:
    assert all(a < b for a, b in pairwise(spans))
    assert len(spans) % 2 == 0


@settings(max_examples=examples(400), deadline=None)
@given(histories(), LIMITS)
def test_the_repeats_are_those_that_sets_of_rows_find(
    history: list[tuple[int, list[Slice]]], limits: Limits
) -> None:
    plain, seen = Plain(limits), Seen()
    for at_ms, slices in history:
        expected = plain.absorb(slices, at_ms)
        seen, repeated = absorb(seen, slices, at_ms, limits)
        assert_well_formed(repeated)
        assert rows_in(repeated) == expected
        stored = [rows for rows_of in seen.keys.values() for rows in rows_of.values()]
        assert [rows_in(rows) for rows in stored] == [rows for _, rows in plain.keys.values()]
        assert seen.spans == sum(len(rows) for rows in stored) // 2 <= limits.spans_max
        streams = [(one.number, rows_in(one.rows)) for one in seen.streams.values()]
        assert streams == list(plain.streams.values())


@settings(max_examples=examples(200), deadline=None)
@given(histories(), LIMITS, st.data())
def test_what_was_stored_goes_on_as_what_was_not(
    history: list[tuple[int, list[Slice]]], limits: Limits, data: st.DataObject
) -> None:
    seen = Seen()
    for at_ms, slices in history:
        before = seen
        seen, _ = absorb(seen, slices, at_ms, limits)
        assert before == remembered(before.newest_ms, before.moves, before.keys, before.streams)
        if data.draw(st.booleans()):
            keys = data.draw(st.permutations(list(seen.keys.items())))
            streams = data.draw(st.permutations(list(seen.streams.items())))
            again = remembered(seen.newest_ms, seen.moves, dict(keys), dict(streams))
            assert (list(again.keys), list(again.streams)) == (list(seen.keys), list(seen.streams))
            assert again == seen
            seen = again


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.integers(0, 30))
def test_spans_hold_what_was_put_in(pieces: list[tuple[int, int]], place: int) -> None:
    spans: Spans = ()
    rows: set[int] = set()
    for begin, end in pieces:
        spans = joined(spans, begin, end)
        rows |= set(range(begin, end))
        assert_well_formed(spans)
        assert rows_in(spans) == rows
        assert rows_in(overlap(spans, place, place + 7)) == rows & set(range(place, place + 7))


def test_a_key_is_known_for_an_hour_and_not_much_longer() -> None:
    once, _ = absorb(Seen(), [Slice("k", 0, 5)], 0)
    assert absorb(once, [Slice("k", 0, 5)], 3_600_000)[1] == (0, 5)
    assert absorb(once, [Slice("k", 0, 5)], 3_660_000)[1] == ()


def test_a_clock_that_goes_back_forgets_nothing_and_remembers_nothing_longer() -> None:
    seen, _ = absorb(Seen(), [Slice("k", 0, 5)], 10 * MINUTE)
    seen, repeated = absorb(seen, [Slice("k", 0, 5), Slice("l", 5, 1)], 0)
    assert repeated == (0, 5)
    assert list(seen.keys) == [(10, 0)], "first seen by the newest time"


def test_a_numbered_stream_is_known_for_ever_by_its_highest_number() -> None:
    seen, _ = absorb(Seen(), [Slice("@x/7", 0, 5)], 0)
    for number, repeated in ((6, (0, 5)), (7, (0, 5)), (8, ())):
        assert absorb(seen, [Slice(f"@x/{number}", 0, 5)], 10**12)[1] == repeated


def test_many_keys_of_a_minute_lie_in_several_shards_and_the_oldest_are_forgotten_first() -> None:
    limits = Limits(spans_max=2_500)
    seen = Seen()
    for i in range(3_000):
        seen, _ = absorb(seen, [Slice(f"k{i}", 0, 5)], 0, limits)
    assert [len(keys) for keys in seen.keys.values()] == [
        3 * SHARD_KEYS_MAX - 500 - 2 * SHARD_KEYS_MAX,
        SHARD_KEYS_MAX,
        3_000 - 2 * SHARD_KEYS_MAX,
    ]
    assert absorb(seen, [Slice("k500", 0, 5)], 0, limits)[1] == (0, 5)
    assert absorb(seen, [Slice("k499", 0, 5)], 0, limits)[1] == ()


def test_a_step_shares_what_it_does_not_change() -> None:
    seen, _ = absorb(Seen(), [Slice("a", 0, 1), Slice("@x/1", 1, 1)], 0)
    after, _ = absorb(seen, [Slice("b", 0, 1)], MINUTE)
    repeated, _ = absorb(after, [Slice("a", 0, 1), Slice("b", 1, 1), Slice("@x/1", 2, 1)], MINUTE)
    assert after.keys[0, 0] is seen.keys[0, 0]
    assert after.streams is seen.streams is repeated.streams
    assert all(repeated.keys[shard] is after.keys[shard] for shard in after.keys)
