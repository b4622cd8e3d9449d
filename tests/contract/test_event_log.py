"""The contract of every `EventLog`: order, durability, reading, following, keys, limits."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import InputError, OffsetOutOfRange, TooLarge
from streams.events.topics import DEADLETTER, POINTS, WINDOWS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    Append,
    DuplicateRequest,
    Entry,
    EventLog,
    LocalLog,
    Message,
    Position,
    Record,
    RequestKey,
)
from streams.log.sqlite_log import SqliteLog
from tests.effort import examples

PARTITIONS = 2


@dataclass
class Harness:
    """One implementation: a log that can be closed and opened again, and its clock.

    On Kafka the time is the broker's, so what a test sets here it does not find in the records.
    """

    open_log: Callable[[], LocalLog]
    now_ms: int = 1_700_000_000_000
    logs: list[LocalLog] = field(default_factory=list)

    def open(self) -> LocalLog:
        self.logs.append(self.open_log())
        return self.logs[-1]

    def reopen(self) -> LocalLog:
        self.close()
        return self.open()

    def close(self) -> None:
        for log in self.logs:
            log.close()
        self.logs.clear()


def embedded(directory: Path) -> Harness:
    harness = Harness(lambda: SqliteLog.open(
        directory / "log.db", partitions=PARTITIONS, clock=lambda: harness.now_ms
    ))  # fmt: skip
    return harness


def on_kafka(bootstrap: str, prefix: str) -> Harness:
    config = KafkaConfig((bootstrap,), prefix=prefix, partitions=PARTITIONS)
    return Harness(lambda: KafkaLog.open(config))


@pytest.fixture(params=["embedded", "kafka"])
def new_harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Harness]]:
    """Each call makes one whose log is new."""
    numbers = itertools.count()
    made: list[Harness] = []

    def make() -> Harness:
        number = next(numbers)
        if request.param == "embedded":
            made.append(embedded(tmp_path / str(number)))
        else:
            made.append(on_kafka(bootstrap, f"{prefix}{number}."))
        return made[-1]

    if request.param == "kafka":
        bootstrap = request.getfixturevalue("kafka")
        prefix = request.getfixturevalue("kafka_prefix")
    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def harness(new_harness: Callable[[], Harness]) -> Harness:
    return new_harness()


@pytest.fixture
def event_log(harness: Harness) -> EventLog:
    return harness.open()


def entry(body: bytes = b"x", *, topic: str = POINTS, partition: int = 0, **headers: str) -> Entry:
    return Entry(topic, partition, Message(headers or {"ce_id": "1"}, body))


def unit(*bodies: bytes, keys: tuple[RequestKey, ...] = (), partition: int = 0) -> Append:
    return Append(tuple(entry(body, partition=partition) for body in bodies), keys)


def key(name: str, digest: bytes = b"digest") -> RequestKey:
    return RequestKey(name, digest)


async def bodies(log: EventLog, topic: str = POINTS, partition: int = 0) -> list[bytes]:
    return [record.body for record in await read_all(log, topic, partition)]


async def read_all(log: EventLog, topic: str = POINTS, partition: int = 0) -> list[Record]:
    records: list[Record] = []
    while more := await log.read(topic, partition, records[-1].offset + 1 if records else 0):
        records += more
    return records


async def test_a_new_log_is_empty_and_knows_its_partitions(event_log: EventLog) -> None:
    assert event_log.log_id
    assert event_log.partitions(POINTS) == PARTITIONS
    assert await event_log.start_positions(POINTS) == {0: 0, 1: 0}
    assert await event_log.end_positions(POINTS) == {0: 0, 1: 0}
    assert list(await event_log.read(POINTS, 0, 0)) == []


async def test_records_are_numbered_from_zero_in_the_order_of_their_unit(
    event_log: EventLog,
) -> None:
    receipt = await event_log.append(
        Append((entry(b"a"), entry(b"b", partition=1), entry(b"c"), entry(b"d", topic=WINDOWS)))
    )
    assert receipt.positions == (
        Position(POINTS, 0, 0),
        Position(POINTS, 1, 0),
        Position(POINTS, 0, 1),
        Position(WINDOWS, 0, 0),
    )
    assert await bodies(event_log) == [b"a", b"c"]
    assert await event_log.end_positions(POINTS) == {0: 2, 1: 1}


async def test_a_record_comes_back_as_it_was_written(event_log: EventLog, harness: Harness) -> None:
    headers = {"ce_id": "ä/☃\x00\n", "empty": ""}
    await event_log.append(Append((Entry(POINTS, 1, Message(headers, b"\x00\xff")),)))
    (record,) = await event_log.read(POINTS, 1, 0)
    assert record == Record(POINTS, 1, 0, record.at_ms, headers, b"\x00\xff")
    assert record.at_ms >= harness.now_ms


async def test_what_was_acknowledged_is_there_after_reopening(harness: Harness) -> None:
    log = harness.open()
    log_id = log.log_id
    await log.append(unit(b"a", b"b", keys=(key("k"),)))
    log = harness.reopen()
    assert log.log_id == log_id
    assert await bodies(log) == [b"a", b"b"]
    with pytest.raises(DuplicateRequest):
        await log.append(unit(b"c", keys=(key("k"),)))
    assert (await log.append(unit(b"c"))).positions == (Position(POINTS, 0, 2),)


async def test_an_append_time_never_falls_within_a_partition(harness: Harness) -> None:
    log = harness.open()
    for step in (0, 5, -60_000, 7):
        harness.now_ms += step
        await log.append(unit(b"x"))
        log = harness.reopen()
    times = [record.at_ms for record in await read_all(log)]
    assert times == sorted(times)


async def test_a_read_is_bounded_by_records_and_by_bytes_but_makes_progress(
    event_log: EventLog,
) -> None:
    await event_log.append(unit(*(bytes([i]) * 1000 for i in range(10))))
    assert [r.offset for r in await event_log.read(POINTS, 0, 3, records_max=4)] == [3, 4, 5, 6]
    assert len(await event_log.read(POINTS, 0, 0, bytes_max=3500)) == 3
    assert len(await event_log.read(POINTS, 0, 0, bytes_max=1)) == 1
    assert list(await event_log.read(POINTS, 0, 10)) == []


@pytest.mark.parametrize("offset", [-1, 3, 2**40, 2**70])
async def test_reading_outside_the_log_is_refused(event_log: EventLog, offset: int) -> None:
    await event_log.append(unit(b"a", b"b"))
    with pytest.raises(OffsetOutOfRange, match="it holds 0 to 2"):
        await event_log.read(POINTS, 0, offset)


async def test_an_unknown_topic_or_partition_is_named(event_log: EventLog) -> None:
    for wrong in (entry(topic="nope"), entry(partition=PARTITIONS), entry(partition=-1)):
        with pytest.raises(InputError, match=r"no topic 'nope'|no partition"):
            await event_log.append(Append((entry(b"good"), wrong)))
        with pytest.raises(InputError):
            await event_log.read(wrong.topic, wrong.partition, 0)
    with pytest.raises(InputError):
        event_log.partitions("nope")
    assert await bodies(event_log) == []


async def test_following_gives_what_is_there_and_then_what_comes(event_log: EventLog) -> None:
    await event_log.append(unit(b"0", b"1"))
    follower = event_log.follow(POINTS, 0, 1)
    assert (await anext(follower)).body == b"1"
    for body in (b"2", b"3"):
        waiting = asyncio.ensure_future(anext(follower))
        await event_log.append(unit(b"elsewhere", partition=1))
        await event_log.append(unit(body))
        assert (await asyncio.wait_for(waiting, 10)).body == body
    assert isinstance(follower, AsyncIterator)


async def test_a_follower_can_be_cancelled_and_the_log_goes_on(event_log: EventLog) -> None:
    async def follow() -> None:
        async for _ in event_log.follow(POINTS, 0, 0):
            reached.set()

    reached = asyncio.Event()
    task = asyncio.create_task(follow())
    await event_log.append(unit(b"a"))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await event_log.append(unit(b"b"))
    assert await bodies(event_log) == [b"a", b"b"]


async def test_following_ends_when_the_log_is_closed(harness: Harness) -> None:
    log = harness.open()
    await log.append(unit(b"a"))
    follower = log.follow(POINTS, 0, 0)
    assert (await anext(follower)).body == b"a"
    waiting = asyncio.ensure_future(anext(follower, None))
    await log.append(unit(b"elsewhere", partition=1))
    harness.close()
    assert await asyncio.wait_for(waiting, 10) is None


async def test_a_follower_that_starts_outside_the_log_is_refused(event_log: EventLog) -> None:
    with pytest.raises(OffsetOutOfRange):
        await anext(event_log.follow(POINTS, 0, 1))
    with pytest.raises(InputError):
        await anext(event_log.follow("nope", 0, 0))


async def test_the_offset_for_a_time_is_the_first_one_appended_then_or_later(
    harness: Harness,
) -> None:
    log = harness.open()
    for delay in (0, 0, 10, 0, 0, 20):
        harness.now_ms += delay
        await log.append(unit(b"x"))
    times = [record.at_ms for record in await read_all(log)]
    for at_ms in {time + later for time in times for later in (-1, 0, 1)}:
        expected = bisect.bisect_left(times, at_ms)
        assert await log.offsets_for_time(POINTS, at_ms) == {0: expected, 1: 0}


async def test_a_known_key_refuses_the_whole_unit_and_tells_what_is_known(
    event_log: EventLog,
) -> None:
    first = await event_log.append(unit(b"a", keys=(key("k", b"one"),)))
    with pytest.raises(DuplicateRequest, match="already in the log: k") as refused:
        await event_log.append(unit(b"b", keys=(key("new"), key("k", b"two"))))
    assert refused.value.known.keys() == {"k"}
    assert refused.value.known["k"].digest == b"one"
    assert refused.value.known["k"].receipt == first
    assert await bodies(event_log) == [b"a"]
    await event_log.append(unit(b"c", keys=(key("new"),)))
    assert await bodies(event_log) == [b"a", b"c"]


async def test_of_many_units_with_one_key_at_once_one_is_written(event_log: EventLog) -> None:
    attempts = [event_log.append(unit(b"%d" % i, keys=(key("k"),))) for i in range(50)]
    others = [event_log.append(unit(b"other", partition=1)) for _ in range(50)]
    results = await asyncio.gather(*attempts, *others, return_exceptions=True)
    taken = [result for result in results[:50] if not isinstance(result, BaseException)]
    refused = [result for result in results[:50] if isinstance(result, DuplicateRequest)]
    assert (len(taken), len(refused)) == (1, 49)
    assert all(result.known["k"].receipt == taken[0] for result in refused)
    assert len(await bodies(event_log)) == 1
    assert len(await bodies(event_log, partition=1)) == 50


async def test_a_unit_that_is_refused_leaves_no_entry_in_any_partition(event_log: EventLog) -> None:
    too_large = entry(b"x" * (BODY_BYTES_MAX + 1), topic=DEADLETTER)
    with pytest.raises(TooLarge):
        await event_log.append(Append((entry(b"a"), entry(b"b", partition=1), too_large)))
    assert await event_log.end_positions(POINTS) == {0: 0, 1: 0}


async def test_many_writers_get_distinct_offsets_and_keep_their_own_order(
    event_log: EventLog,
) -> None:
    async def write(writer: int) -> list[int]:
        offsets = []
        for sequence in range(20):
            receipt = await event_log.append(unit(b"%d/%d" % (writer, sequence)))
            offsets.append(receipt.positions[0].offset)
        return offsets

    offsets = await asyncio.gather(*(write(writer) for writer in range(20)))
    assert sorted(offset for each in offsets for offset in each) == list(range(400))
    stored = await bodies(event_log)
    for writer, each in enumerate(offsets):
        assert each == sorted(each)
        assert [stored[offset] for offset in each] == [b"%d/%d" % (writer, i) for i in range(20)]


async def test_bodies_and_headers_up_to_their_limits_are_taken(event_log: EventLog) -> None:
    headers = {"a": "ä" * (HEADER_BYTES_MAX // 2 - 1), "b": ""}
    body = b"x" * BODY_BYTES_MAX
    await event_log.append(Append((Entry(POINTS, 0, Message(headers, body)),)))
    (record,) = await event_log.read(POINTS, 0, 0)
    assert (record.headers, record.body) == (headers, body)


async def test_bodies_and_headers_over_their_limits_are_refused(event_log: EventLog) -> None:
    with pytest.raises(TooLarge, match=f"at most {BODY_BYTES_MAX}"):
        await event_log.append(unit(b"x" * (BODY_BYTES_MAX + 1)))
    with pytest.raises(TooLarge, match=f"at most {HEADER_BYTES_MAX}"):
        await event_log.append(Append((entry(a="x" * HEADER_BYTES_MAX),)))
    with pytest.raises(InputError, match="UTF-8"):
        await event_log.append(Append((entry(a="\ud800"),)))
    with pytest.raises(InputError, match="idempotency key"):
        await event_log.append(unit(b"x", keys=(key(""),)))
    with pytest.raises(InputError, match="twice"):
        await event_log.append(unit(b"x", keys=(key("k"), key("k"))))


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, PARTITIONS - 1),
                st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4),
                st.binary(max_size=9_000),
            ),
            max_size=5,
        ),
        max_size=6,
    )
)
def test_any_units_come_back_in_order(
    new_harness: Callable[[], Harness],
    units: list[list[tuple[int, dict[str, str], bytes]]],
) -> None:
    async def write_and_read() -> None:
        harness = new_harness()
        log = harness.open()
        for each in units:
            await log.append(Append(tuple(Entry(POINTS, p, Message(h, b)) for p, h, b in each)))
        log = harness.reopen()
        for partition in range(PARTITIONS):
            written = [(h, b) for each in units for p, h, b in each if p == partition]
            stored = [(r.headers, r.body) for r in await read_all(log, POINTS, partition)]
            assert stored == written
        harness.close()

    asyncio.run(write_and_read())
