"""Requests that lie in the log twice count once, in the points as in the windows."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.answers import Selection
from projections.duck import DuckProjection
from projections.duck_requests import StoredRequests
from projections.rebuild import rebuild_file
from projections.schema import TABLES
from projections.source import SourceLog
from projections.verify import verify
from streams.domain import repeats
from streams.domain.repeats import Limits, Seen
from streams.events.batch import STALE
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.slices import SLICES_HEADER, Slice, encode_slices, numbered_key
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Message
from streams.log.sqlite_log import SqliteLog
from streams.processors.windows import WindowsProcessor
from tests.domain.test_repeats import LIMITS, histories
from tests.effort import examples
from tests.flow.schedules import run_interrupted, told
from tests.projections.gapped import Gapped
from tests.projections.making import (
    BEGIN_MS,
    Sample,
    append_message,
    batch,
    everything,
    hashes,
    stored,
    text,
    tick,
)

SERIES = [text("m", host=host) for host in "abc"] + [text("n")]
KEYS = [None, *(f"me/{i}" for i in range(4)), *(numbered_key("in", i) for i in range(4))]
PARTITIONS = 2
REQUEST_TABLES = ("requests", "request_streams", "request_clocks")
Piece = tuple[int, int, int]
"""A request's number, and which of its rows: first and how many."""


@dataclass
class Sender:
    """Writes rows of requests into a log whose clock it moves; each row with a time of its own, as
    of points that state none."""

    log: SqliteLog
    clock: list[int]
    last_ms: int = 0
    rows: int = 0

    def send(self, partition: int, pieces: Sequence[Piece], *, readable: bool = True) -> None:
        samples: list[Sample] = []
        slices: list[Slice] = []
        for request, start, count in pieces:
            key = KEYS[request]
            if key is not None:
                slices.append(Slice(key, len(samples), count, start))
            samples += [self._row(request, row) for row in range(start, start + count)]
        event = Event(Envelope("id", "test", self.clock[0]), MetricsCollected(batch(samples)))
        message = encode(event)
        header = encode_slices(slices) if readable else "[["
        headers = {**message.headers, SLICES_HEADER: header} if slices else message.headers
        append_message(self.log, Message(headers, message.body), partition=partition)
        self.rows += len(samples)

    def close(self) -> None:
        self.log.close()

    def _row(self, request: int, row: int) -> Sample:
        self.last_ms = max(self.last_ms + 1, self.clock[0])
        number = request * 100 + row
        stale = number % 7 == 3
        return SERIES[number % len(SERIES)], self.last_ms, STALE if stale else float(number)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    with closing(open_sender(tmp_path)) as opened:
        yield opened


def open_sender(folder: Path) -> Sender:
    clock = [BEGIN_MS]
    log = SqliteLog.open(
        folder / "log.db", partitions=PARTITIONS, linger_ms=0, clock=lambda: clock[0]
    )
    return Sender(log, clock)


pieces = st.tuples(st.integers(0, len(KEYS) - 1), st.integers(0, 6), st.integers(1, 6))
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"),
            st.integers(0, PARTITIONS - 1),
            st.lists(pieces, min_size=1, max_size=3),
            st.sampled_from([True] * 9 + [False]),
        ),
        st.tuples(st.just("wait"), st.sampled_from([1_000, 40_000, 1_200_000, 4_000_000])),
        st.tuples(st.just("tick"), st.integers(0, PARTITIONS - 1)),
    ),
    min_size=1,
    max_size=30,
)


def write(sender: Sender, made: Sequence[tuple[object, ...]]) -> None:
    for step in made:
        match step:
            case ("record", int(partition), list(sent), bool(readable)):
                sender.send(partition, sent, readable=readable)
            case ("wait", int(more)):
                sender.clock[0] += more
            case (_, int(partition)):
                tick(sender.log, sender.clock[0], partition=partition)
    sender.clock[0] += 600_000
    for partition in range(PARTITIONS):
        tick(sender.log, sender.clock[0], partition=partition)


def of_windows(log: SourceLog, chance: random.Random) -> tuple[dict[str, list[float]], int]:
    """Of each series how many samples the windows count and their sum; and the duplicates."""
    total: dict[str, list[float]] = {}
    duplicates = 0
    for partition in range(PARTITIONS):
        records = tuple(log.read_now(POINTS, partition, 0, records_max=10_000))
        run = run_interrupted(WindowsProcessor(deduplicates=True), records, chance)
        rows, said = told(run.entries)
        duplicates += said + run.restored().state.marks.duplicates
        for one in rows:
            counted = total.setdefault(one.labels, [0, 0.0])
            counted[0] += one.row.count
            counted[1] += one.row.sum
    return total, duplicates


def of_points(projection: DuckProjection) -> dict[str, list[float]]:
    """The same of the points stored."""
    total: dict[str, list[float]] = {}
    for series, _, value in stored(projection):
        if value is not None:
            counted = total.setdefault(series, [0, 0.0])
            counted[0] += 1
            counted[1] += value
    return total


@settings(max_examples=examples(20), deadline=None)
@given(steps, st.integers(0, 2**32))
def test_points_and_windows_leave_out_the_same_rows_however_they_are_cut_and_killed(
    made: list[tuple[object, ...]], seed: int
) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, closing(open_sender(Path(name))) as sender:
        folder = Path(name)
        write(sender, made)
        log = Gapped(sender.log, {})
        projection = DuckProjection.open(folder / "cut.duckdb", log)
        ends = log.ends()
        while left := [p for p, end in ends.items() if projection.positions().get(p, end) < end]:
            place = chance.choice(left)
            records = log.read_now(*place, projection.positions()[place])
            again = log.read_now(*place, 0)[: projection.positions()[place]]
            projection.apply([*again[-2:], *records[: chance.randint(1, 6)]])
            if chance.random() < 0.15:
                projection.close()
                projection = DuckProjection.open(folder / "cut.duckdb", log)
        counted, duplicates = of_windows(sender.log, chance)
        points = of_points(projection)
        assert points == counted
        stale = sum(value is None for _, _, value in stored(projection))
        assert projection.duplicates() == sender.rows - sum(n for n, _ in points.values()) - stale
        assert duplicates <= projection.duplicates(), "which count staleness markers too"
        assert verify(log, hashes(projection)).differences == ()
        projection.close()


@settings(max_examples=examples(20), deadline=None)
@given(histories(), histories(), LIMITS, st.data())
def test_what_is_known_of_requests_is_the_same_after_any_writes_and_loads(
    first: list[tuple[int, list[Slice]]],
    second: list[tuple[int, list[Slice]]],
    limits: Limits,
    data: st.DataObject,
) -> None:
    with duckdb.connect() as connection:
        for statement in TABLES:
            connection.execute(statement)
        file = StoredRequests(connection)
        now: dict[int, Seen] = {}
        both = [(0, one) for one in first] + [(1, one) for one in second]
        for partition, (at_ms, slices) in data.draw(st.permutations(both)):
            now[partition], _ = repeats.absorb(now.get(partition, Seen()), slices, at_ms, limits)
            if data.draw(st.booleans()):
                continue
            connection.begin()
            file.write(now)
            connection.commit()
            file.known = dict(now)
            if data.draw(st.booleans()):
                continue
            loaded = StoredRequests(connection)
            assert in_order(loaded.known) == in_order(now)
            file, now = loaded, dict(loaded.known)


def in_order(requests: object) -> str:
    """Equal texts: equal also in the order of shards, keys and streams."""
    assert isinstance(requests, dict)
    return repr(sorted(requests.items()))


EVERYTHING = Selection(None, (), 0, 2**62)
A_REQUEST: list[Piece] = [(1, 0, 5)]


@pytest.fixture
def kafka_like(sender: Sender) -> Gapped:
    return Gapped(sender.log, {})


def test_a_request_written_twice_at_two_times_counts_once(
    sender: Sender, kafka_like: Gapped, path: Path
) -> None:
    sender.send(0, A_REQUEST)
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        before = stored(projection)
    sender.clock[0] += 60_000
    sender.send(0, A_REQUEST)
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        assert stored(projection) == before
        assert projection.duplicates() == len(before) == 5
        newest = projection.live.latest(EVERYTHING)
        assert int(newest.at_ms.max()) < BEGIN_MS + 60_000, "the live tail knows nothing of it"
        assert len(projection.live.recent(EVERYTHING)) == 5
        assert projection.absorbed_points == 0
        rebuild_file(path.with_name("rebuilt.duckdb"), kafka_like)
        with closing(DuckProjection.open(path.with_name("rebuilt.duckdb"), kafka_like)) as rebuilt:
            assert hashes(rebuilt) == hashes(projection)


def test_rows_of_an_earlier_part_are_left_out_and_the_rest_of_the_request_is_taken(
    sender: Sender, kafka_like: Gapped, path: Path
) -> None:
    sender.send(0, [(1, 0, 2)])
    sender.clock[0] += 1_000
    sender.send(0, [(0, 0, 3), (1, 0, 5), (2, 0, 1)])
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        assert (len(stored(projection)), projection.duplicates()) == (9, 2)


def test_a_repeat_states_no_type_and_no_unit_anew(
    sender: Sender, kafka_like: Gapped, path: Path
) -> None:
    series = SERIES[0]
    for kind, key in (("gauge", "me/1"), ("counter", "me/2"), ("gauge", "me/1")):
        collected = MetricsCollected(batch([(series, BEGIN_MS, 1.0)], kind=kind))
        message = encode(Event(Envelope("id", "test", BEGIN_MS), collected))
        headers = {**message.headers, SLICES_HEADER: encode_slices([Slice(key, 0, 1)])}
        append_message(sender.log, Message(headers, message.body))
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        assert projection.series.types == ["counter"]


def test_what_fell_out_of_the_horizon_is_deleted_and_counts_again(
    sender: Sender, kafka_like: Gapped, path: Path
) -> None:
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        for request in range(1, len(KEYS)):
            sender.send(0, [(request, 0, 5)])
        everything(kafka_like, projection)
        assert [hashes(projection).tables[t].rows for t in REQUEST_TABLES] == [4, 1, 1]
        sender.clock[0] += 3_700_000
        sender.send(0, A_REQUEST)
        everything(kafka_like, projection)
        assert [hashes(projection).tables[t].rows for t in REQUEST_TABLES] == [1, 1, 1]
        assert projection.duplicates() == 0
        assert verify(kafka_like, hashes(projection)).equal


def test_where_the_log_refuses_repeats_itself_nothing_is_stored(sender: Sender, path: Path) -> None:
    sender.send(0, A_REQUEST)
    sender.clock[0] += 1_000
    sender.send(0, A_REQUEST)
    with closing(DuckProjection.open(path, sender.log)) as projection:
        everything(sender.log, projection)
        assert [hashes(projection).tables[table].rows for table in REQUEST_TABLES] == [0, 0, 0]
        assert (len(stored(projection)), projection.duplicates()) == (10, 0)


def test_slices_on_another_topic_are_nobodys(
    sender: Sender, kafka_like: Gapped, path: Path
) -> None:
    sender.send(0, A_REQUEST)
    record = sender.log.read_now(POINTS, 0, 0)[0]
    append_message(sender.log, Message(record.headers, record.body), topic=WINDOWS)
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        assert projection.duplicates() == 5, "their times are known"
        assert hashes(projection).tables["requests"].rows == 1


@pytest.mark.parametrize(
    ("tamper", "table"),
    [
        ("UPDATE requests SET rows = [0, 4]", "requests"),
        ("UPDATE requests SET minute = minute + 1", "requests"),
        ("DELETE FROM requests", "requests"),
        ("UPDATE request_streams SET number = number + 1", "request_streams"),
        ("UPDATE request_clocks SET newest_ms = newest_ms + 1", "request_clocks"),
    ],
)
def test_what_is_known_of_requests_changed_by_hand_is_found(
    sender: Sender, kafka_like: Gapped, path: Path, tamper: str, table: str
) -> None:
    sender.send(0, [(1, 0, 5), (5, 0, 5)])
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        everything(kafka_like, projection)
        assert verify(kafka_like, hashes(projection)).equal
    with duckdb.connect(str(path)) as connection:
        connection.execute(tamper)
    with closing(DuckProjection.open(path, kafka_like)) as projection:
        report = verify(kafka_like, hashes(projection))
        assert [line.split(":")[0] for line in report.differences] == [table]


def test_a_transaction_that_failed_leaves_what_is_known_as_it_was() -> None:
    with duckdb.connect() as connection:
        for statement in TABLES:
            connection.execute(statement)
        file = StoredRequests(connection)
        seen, _ = repeats.absorb(Seen(), [Slice("me/1", 0, 5)], BEGIN_MS)
        connection.begin()
        file.write({0: seen})
        connection.rollback()
        assert StoredRequests(connection).known == file.known == {}
        file.write({0: seen})
        assert StoredRequests(connection).known == {0: seen}
