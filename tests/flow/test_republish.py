"""Messages of ingest topics become records of the log: the good points once, the bad ones told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import LogUnavailable
from streams.events.catalogue import MetricsCollected, WindowClosed
from streams.events.codec import decode
from streams.events.labels import parse_series, series_partition
from streams.events.topics import POINTS
from streams.ingest.foreign import understand
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.pseudonyms import Pseudonyms
from streams.ingest.republish import Republisher
from streams.ingest.series_limits import SeriesLimits
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.opening import ServerLog
from streams.log.protocol import Append, Receipt, Record
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from streams.processors.clock import tick_entries
from streams.processors.seam import Tracked, advance, restore
from streams.processors.windows import WindowsProcessor, WindowsState
from tests.effort import examples
from tests.flow.ingesting import dead, records, samples

PARTITIONS = 3
NOW_MS = wall_clock_ms()
SHOP = IngestTopic("shop", "json")
TELEGRAF = IngestTopic("telegraf", "influx")

Sample = tuple[str, str, int, float]
"""Name, source, time, value."""


@pytest.fixture(params=["embedded", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerLog]:
    made: ServerLog
    if request.param == "embedded":
        made = SqliteLog.open(tmp_path / "log.db", partitions=PARTITIONS)
    else:
        broker, prefix = (request.getfixturevalue(name) for name in ("kafka", "kafka_prefix"))
        made = KafkaLog.open(KafkaConfig((broker,), prefix=prefix, partitions=PARTITIONS))
    yield made
    made.close()


def message(body: str | bytes, offset: int, *, partition: int = 0, **headers: str) -> Record:
    raw = body.encode() if isinstance(body, str) else body
    return Record("shop", partition, offset, NOW_MS + offset, headers, raw)


def point(name: str, value: float, **more: object) -> dict[str, object]:
    return {"name": name, "value": value, "metric_type": "gauge", **more}


def shop(*points: object, **more: object) -> str:
    return json.dumps({"source": "till", "metrics": points, **more})


def republisher(log: ServerLog, topic: IngestTopic = SHOP) -> Republisher:
    return Republisher(log, topic, SeriesLimits(), clock=lambda: NOW_MS)


def collected(log: ServerLog) -> list[Sample]:
    """Every sample in the log, repeats included; each in its series' partition."""
    for record in records(log, POINTS):
        data = decode(record.headers, record.body).data
        assert isinstance(data, MetricsCollected)
        for text in data.batch.labels:
            assert series_partition(text, PARTITIONS) == record.partition
    return sorted((*key, value) for key, values in samples(log).items() for value in values)


def counted(log: ServerLog) -> int:
    """How many samples the windows of all partitions have."""
    processor = WindowsProcessor(sizes_ms=(60_000,), deduplicates=True)
    total = 0
    for partition in range(PARTITIONS):
        its = [record for record in records(log, POINTS) if record.partition == partition]
        tracked: Tracked[WindowsState] = restore(processor, {}, lambda _begin, _end: [])
        end_ms = NOW_MS + 3_600_000
        (entry,) = tick_entries(1, end_ms)
        last = its[-1].offset if its else -1
        tick = Record(POINTS, 0, last + 1, end_ms, entry.message.headers, entry.message.body)
        _, _, outputs = advance(processor, 0, tracked, [*its, tick])
        for output in outputs:
            data = decode(output.message.headers, output.message.body).data
            if isinstance(data, WindowClosed):
                total += int(data.batch.count.sum())
    return total


async def test_a_message_of_either_format_is_samples_with_its_source(log: ServerLog) -> None:
    lines = f"cpu,host=a user=1.5 {NOW_MS * 1_000_000}\ncpu,source=till user=2\n"
    await republisher(log).republish([message(shop(point("sales", 3, timestamp=NOW_MS)), 0)])
    await republisher(log, TELEGRAF).republish([message(lines, 7)])
    assert collected(log) == [
        ("cpu_user", "telegraf", NOW_MS, 1.5),
        ("cpu_user", "till", NOW_MS + 7, 2.0),
        ("sales", "till", NOW_MS, 3.0),
    ]
    assert dead(log) == []


async def test_a_thousand_poison_messages_are_dead_letters_and_nothing_else(
    log: ServerLog,
) -> None:
    kinds = ["", "{", "[]", '{"source": "x"}', '{"source": "", "metrics": []}', "\x00\x01"]
    poison = [message(kinds[i % len(kinds)], i, partition=i % 2) for i in range(1_000)]
    good = message(shop(point("sales", 1)), 1_000)
    to = republisher(log)
    for start in range(0, 1_000, 100):
        await to.republish(poison[start : start + 100])
    await to.republish([good])
    letters = dead(log)
    assert sorted(letter.offset for letter in letters) == list(range(1_000))
    for letter in letters:
        sent = poison[letter.offset]
        assert (letter.topic, letter.partition, letter.body) == ("shop", sent.partition, sent.body)
        assert letter.reason
    assert len(collected(log)) == 1
    assert (to.counts.messages, to.counts.points, to.counts.dead_letters) == (1_001, 1, 1_000)


async def test_of_a_partly_bad_message_the_good_points_are_kept(log: ServerLog) -> None:
    points = [point("a", 1), point("b", "x"), point("", 2), point("c", 3), 5]
    await republisher(log).republish([message(shop(*points, request_id="r1"), 4)])
    assert [name for name, *_ in collected(log)] == ["a", "c"]
    (letter,) = dead(log)
    assert letter.reason.startswith("3 refused, the others were taken: point 1: value is ")
    assert "point 4: the point is 5" in letter.reason
    assert json.loads(letter.body) == {"source": "till", "metrics": [points[1], points[2], 5]}
    lines = 'm value=1\n# no\nm value=x\nm text="fine"\nm,a value=2\nm f="open'
    await republisher(log, TELEGRAF).republish([message(lines, 5)])
    assert dead(log)[-1].body == b'm value=x\nm,a value=2\nm f="open'
    assert [name for name, *_ in collected(log)] == ["a", "c", "m"]


async def test_points_of_a_series_too_many_are_dead_letters(log: ServerLog) -> None:
    to = Republisher(log, SHOP, SeriesLimits(total_max=1), clock=lambda: NOW_MS)
    await to.republish([message(shop(point("a", 1), point("b", 2), point("a", 3)), 0)])
    assert [(name, value) for name, _, _, value in collected(log)] == [("a", 1.0), ("a", 3.0)]
    (letter,) = dead(log)
    assert "LOGFIRE_MCP_SERIES_MAX" in letter.reason
    assert json.loads(letter.body)["metrics"] == [point("b", 2)]


async def test_what_is_sent_again_keeps_the_time_at_which_it_was_sent_first(log: ServerLog) -> None:
    await republisher(log).republish(
        [
            message(shop(point("a", 1)), 0, ce_time="2020-01-01T00:00:00Z"),
            message(shop(point("b", 1)), 1, ce_time="soon"),
            message(shop(point("c", 1)), 2, ce_time="2999-01-01T00:00:00Z"),
        ]
    )
    assert [at_ms for _, _, at_ms, _ in collected(log)] == [
        1_577_836_800_000,
        NOW_MS + 1,
        NOW_MS + 2,
    ]


async def test_a_message_that_is_read_again_counts_once(log: ServerLog) -> None:
    sent = [
        message(shop(*(point(f"m{i % 7}", i, timestamp=NOW_MS + i + j) for j in range(i % 5))), i)
        for i in range(100)
    ]
    points = sum(i % 5 for i in range(100))
    to = republisher(log)
    await to.republish(sent[:60])
    await republisher(log).republish(sent[:10])  # another owner, who began where the group was
    await republisher(log).republish(sent[10:75])
    await to.republish(sent[60:61])  # the former one, late
    await republisher(log).republish(sent[61:])
    assert len(collected(log)) > points
    assert counted(log) == points
    assert len(set(collected(log))) == points


async def test_a_retry_of_a_producer_with_a_request_id_counts_once(log: ServerLog) -> None:
    body = shop(point("a", 1), point("b", 2), request_id="order-17")
    await republisher(log).republish([message(body, 0), message(body, 1), message(body, 2)])
    assert counted(log) == 2


@settings(max_examples=examples(20))
@given(again=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=6))
def test_however_messages_are_read_again_each_counts_once(
    tmp_path_factory: pytest.TempPathFactory, again: list[tuple[int, int]]
) -> None:
    """Owners that each go on in order from a place that was reached before."""
    sent = [
        message(shop(*(point(f"m{(i + j) % 5}", i, timestamp=NOW_MS + i) for j in range(3))), i)
        for i in range(30)
    ]
    log = SqliteLog.open(tmp_path_factory.mktemp("log") / "log.db", partitions=PARTITIONS)
    try:
        reached = 0
        for start, count in [*again, (30, 0)]:
            begin = min(start, reached)
            end = 30 if count == 0 else min(30, begin + count)
            begin = reached if count == 0 else begin
            asyncio.run(republisher(log).republish(sent[begin:end]))
            reached = max(reached, end)
        assert counted(log) == len(sent) * 3
    finally:
        log.close()


class RefusingAtFirst:
    """A log that is not available for its first appends; then it is the one behind it."""

    def __init__(self, log: SqliteLog, refusals: int) -> None:
        self.behind = log
        self.refusals = refusals

    def __getattr__(self, name: str) -> object:
        return getattr(self.behind, name)

    async def append(self, unit: Append) -> Receipt:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("no broker answers")
        return await self.behind.append(unit)


async def test_what_the_log_refuses_is_written_once_it_can_be(tmp_path: Path) -> None:
    log = SqliteLog.open(tmp_path / "log.db", partitions=PARTITIONS)
    refusing = RefusingAtFirst(log, 3)
    to = Republisher(refusing, SHOP, SeriesLimits(), clock=lambda: NOW_MS)  # type: ignore[arg-type]
    await to.republish([message(shop(point(f"m{i}", i)), i) for i in range(20)])
    assert refusing.refusals == 0
    assert len(collected(log)) == 20
    log.close()


async def test_a_republisher_that_waits_for_the_log_can_be_cancelled(tmp_path: Path) -> None:
    log = SqliteLog.open(tmp_path / "log.db", partitions=PARTITIONS)
    to = republisher(log)
    log.close()
    waiting = asyncio.create_task(to.republish([message(shop(point("a", 1)), 0)]))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert to.counts.messages == 0


@settings(max_examples=examples(200))
@given(
    st.sampled_from([SHOP, TELEGRAF]),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["source", "metrics", "name", "value"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_no_message_breaks_the_reader(topic: IngestTopic, body: bytes) -> None:
    understood = understand(topic, message(body, 3), NOW_MS)
    assert understood.parsed is not None or understood.dead is not None
    if understood.dead is not None:
        assert (understood.dead.topic, understood.dead.offset) == (topic.name, 3)
        if understood.parsed is not None:
            again = understand(topic, message(understood.dead.body, 4), NOW_MS)
            assert again.parsed is None or not len(again.parsed.batch)


@pytest.mark.parametrize("topic", [SHOP, TELEGRAF])
def test_personal_tags_of_a_message_are_replaced(topic: IngestTopic) -> None:
    names = Pseudonyms(["email"], b"0123456789abcdef")
    bodies = {SHOP: shop(point("m", 1, tags={"email": "a@b"})), TELEGRAF: "m,email=a@b value=1"}
    understood = understand(topic, message(bodies[topic], 3), NOW_MS, names)
    assert understood.parsed is not None
    [text] = understood.parsed.batch.labels
    assert parse_series(text)[1]["email"] == names.value("email", "a@b")
