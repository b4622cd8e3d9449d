"""The buffer between who is told of records and who reads them: bounded, and never with a gap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.log.protocol import Record
from streams.log.recent import RECORD_BYTES, RecentRecords

TOPIC = "t"


def record(offset: int, *, partition: int = 0, size: int = 8) -> Record:
    return Record(TOPIC, partition, offset, 0, {}, bytes(size))


def buffer(records: int = 4, *, partitions: int = 1) -> RecentRecords:
    """With room for so many records of 8 bytes in each partition."""
    size = records * partitions * (8 + RECORD_BYTES)
    return RecentRecords({TOPIC: partitions}, bytes_max=size)


def read(recent: RecentRecords, offset: int, *, most: int = 100) -> list[int] | None:
    found = recent.read(TOPIC, 0, offset, records_max=most, bytes_max=1 << 20)
    return None if found is None else [one.offset for one in found]


def test_a_reader_that_keeps_up_gets_everything_from_memory() -> None:
    recent = buffer()
    for offset in range(100):
        assert recent.offer(record(offset))
        assert read(recent, offset) == [offset]
    assert recent.dropped == 0
    assert recent.ends() == {(TOPIC, 0): 100}


def test_a_full_share_drops_its_oldest_and_counts_them() -> None:
    recent = buffer(4)
    for offset in range(10):
        recent.offer(record(offset))
    assert read(recent, 0) is None
    assert read(recent, 5) is None
    assert read(recent, 6) == [6, 7, 8, 9]
    assert recent.dropped == 6


def test_one_busy_partition_leaves_the_others_their_room() -> None:
    recent = buffer(2, partitions=2)
    recent.offer(record(0, partition=1))
    for offset in range(50):
        recent.offer(record(offset))
    assert recent.read(TOPIC, 1, 0, records_max=1, bytes_max=1) == [record(0, partition=1)]


def test_what_was_read_is_let_go_and_not_taken_again() -> None:
    recent = buffer()
    for offset in range(3):
        recent.offer(record(offset))
    assert read(recent, 2) == [2]
    assert read(recent, 0) is None
    recent = buffer()
    assert read(recent, 100) is None
    assert not recent.offer(record(99)), "the reader has it from the log"
    assert recent.offer(record(100))
    assert recent.dropped == 0


def test_a_record_too_large_for_the_share_is_left_to_the_log() -> None:
    recent = buffer(2)
    recent.offer(record(0))
    recent.offer(record(1, size=10_000))
    assert read(recent, 0) is None
    assert recent.ends() == {(TOPIC, 0): 2}, "it is there to be read"
    recent.offer(record(2))
    assert read(recent, 2) == [2]


def test_an_answer_is_bounded_but_never_empty() -> None:
    recent = buffer(4)
    for offset in range(4):
        recent.offer(record(offset))
    assert read(recent, 0, most=2) == [0, 1]
    found = recent.read(TOPIC, 0, 0, records_max=9, bytes_max=1)
    assert found is not None
    assert [one.offset for one in found] == [0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80))
def test_whatever_is_told_in_whatever_order_an_answer_has_no_gap(
    steps: list[tuple[bool, int]],
) -> None:
    recent = buffer(3)
    told: set[int] = set()
    for reads, offset in steps:
        if not reads:
            recent.offer(record(offset))
            told.add(offset)
            continue
        found = read(recent, offset)
        if found is not None:
            assert found == list(range(offset, offset + len(found)))
            assert found
            assert told.issuperset(found)
            assert recent.held_bytes <= 3 * (8 + RECORD_BYTES)
