"""The edge: concurrent requests share records, each gets its answer, a retried one counts once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError, LogUnavailable, Overloaded, RequestConflict
from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode
from streams.events.labels import parse_series, series_partition
from streams.events.topics import POINTS
from streams.ingest.edge import Collected, Edge
from streams.ingest.json_points import parse_arguments
from streams.ingest.merging import Merger, Request
from streams.ingest.parsed import Parsed
from streams.ingest.samples import batch_request
from streams.ingest.series_limits import SeriesLimits, source_of
from streams.log.protocol import BODY_BYTES_MAX, Position, Record
from streams.log.sqlite_log import SqliteLog

NOW_MS = 1_795_000_000_000


@contextmanager
def open_log(directory: Path, partitions: int = 1, **options: int) -> Iterator[SqliteLog]:
    log = SqliteLog.open(directory / "log.db", partitions=partitions, linger_ms=0, **options)
    try:
        yield log
    finally:
        log.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with open_log(tmp_path) as opened:
        yield opened


def edge_of(log: SqliteLog, limits: SeriesLimits | None = None, **options: int) -> Edge:
    return Edge(log, limits or SeriesLimits(), clock=lambda: NOW_MS, **options)


def request(
    *values: float, name: str = "m", source: str = "agent", request_id: str | None = None
) -> Parsed:
    points = [
        {"name": f"{name}{i}", "value": value, "metric_type": "gauge"}
        for i, value in enumerate(values)
    ]
    arguments = {"source": source, "metrics": points, "request_id": request_id}
    return parse_arguments(arguments, NOW_MS)


def records(log: SqliteLog) -> list[Record]:
    found: list[Record] = []
    for partition in range(log.partitions(POINTS)):
        offset = 0
        while more := log.read_now(POINTS, partition, offset):
            found += more
            offset += len(more)
    return found


def points(found: Sequence[Record]) -> Counter[tuple[str, int, float]]:
    counted: Counter[tuple[str, int, float]] = Counter()
    for record in found:
        data = decode(record.headers, record.body).data
        assert isinstance(data, MetricsCollected)
        batch = data.batch
        counted.update(
            (batch.labels[s], t, v)
            for s, t, v in zip(
                batch.series.tolist(), batch.at_ms.tolist(), batch.value.tolist(), strict=True
            )
        )
    return counted


def slices(record: Record) -> list[tuple[str, int, int, int]]:
    return [tuple(one) for one in json.loads(record.headers.get("slices", "[]"))]


async def test_a_request_is_durable_when_it_is_answered(log: SqliteLog) -> None:
    answer = await edge_of(log).collect(request(1, 2), actor="me", traceparent="00-a-b-01")
    assert answer == Collected(2, "agent", NOW_MS, (Position(POINTS, 0, 0),), (), 0)
    (record,) = records(log)
    assert sum(points([record]).values()) == 2
    envelope = decode(record.headers, record.body).envelope
    assert (envelope.actor, envelope.source, envelope.time_ms) == ("me", "edge", NOW_MS)
    assert envelope.traceparent == "00-a-b-01"
    assert "slices" not in record.headers


async def test_requests_of_one_moment_share_a_record_of_their_actor(log: SqliteLog) -> None:
    edge = edge_of(log)
    answers = await asyncio.gather(
        *(
            edge.collect(
                request(i, i, name=f"m{i % 3}_"), actor=f"actor{i % 2}", traceparent=f"t{i}"
            )
            for i in range(20)
        )
    )
    found = records(log)
    assert [decode(r.headers, r.body).envelope.actor for r in found] == ["actor0", "actor1"]
    assert [record.headers["traceparent"] for record in found] == ["t0", "t1"]  # of the first
    assert sum(points(found).values()) == 40
    assert [answer.positions[0].offset for answer in answers] == [0, 1] * 10
    assert {answer.collected_count for answer in answers} == {2}


async def test_requests_that_come_during_an_append_make_the_next_one(log: SqliteLog) -> None:
    edge = edge_of(log)
    first = asyncio.create_task(edge.collect(request(0), actor="a"))
    while not edge.points_in_flight:
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first is handed to the log now
    rest = await asyncio.gather(*(edge.collect(request(i), actor="a") for i in range(1, 9)))
    assert (await first).positions[0].offset == 0
    assert {answer.positions[0].offset for answer in rest} == {1}


async def test_heavy_load_is_gathered_and_all_of_it_answered(log: SqliteLog) -> None:
    edge = edge_of(log)

    async def client(number: int) -> None:
        for turn in range(4):
            values = range(turn, turn + 3_000)
            await edge.collect(request(*values, source=f"s{number}"), actor="a")

    await asyncio.gather(*(client(number) for number in range(8)))
    await edge.close()
    assert sum(points(records(log)).values()) == 8 * 4 * 3_000
    assert edge.points_in_flight == 0


async def test_what_is_refused_alone_is_not_written(log: SqliteLog) -> None:
    parsed = parse_arguments({"source": "a", "metrics": [5, {}]}, NOW_MS)
    answer = await edge_of(log).collect(parsed, actor="me", request_key="k")
    assert (answer.collected_count, answer.rejected_count, answer.positions) == (0, 2, ())
    assert records(log) == []


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_retry_counts_once_and_gets_the_first_answer(
    log: SqliteLog, by_header: bool
) -> None:
    def again() -> Parsed:
        return request(1, 2, request_id=None if by_header else "key")

    header = "key" if by_header else None
    edge = edge_of(log)
    await edge.collect(request(0), actor="me")
    first = await edge.collect(again(), actor="me", request_key=header)
    retry = await edge_of(log).collect(again(), actor="me", request_key=header)
    assert (first.duplicate, retry.duplicate) == (False, True)
    assert retry.positions == first.positions == (Position(POINTS, 0, 1),)
    assert retry.collected_count == 2
    assert len(records(log)) == 2
    assert slices(records(log)[1]) == [("me/key", 0, 2, 0)]


async def test_a_key_for_another_request_is_a_conflict_and_only_its_own(log: SqliteLog) -> None:
    edge = edge_of(log)
    await edge.collect(request(1, request_id="k"), actor="me")
    answers = await asyncio.gather(
        edge.collect(request(2, request_id="k"), actor="me"),
        edge.collect(request(1, request_id="k"), actor="me"),
        edge.collect(request(3, request_id="k"), actor="me"),
        edge.collect(request(4, request_id="new"), actor="me"),
        edge.collect(request(5), actor="me"),
        edge.collect(request(6, request_id="k"), actor="another"),
        return_exceptions=True,
    )
    assert [type(one) for one in answers] == [
        RequestConflict,
        Collected,
        RequestConflict,
        Collected,
        Collected,
        Collected,
    ]
    assert isinstance(answers[1], Collected)
    assert answers[1].duplicate
    assert sorted(value for _, _, value in points(records(log))) == [1, 4, 5, 6]


async def test_equal_requests_of_one_moment_count_once(log: SqliteLog) -> None:
    edge = edge_of(log)
    same = [edge.collect(request(1, 2, request_id="k"), actor="me") for _ in range(5)]
    answers = await asyncio.gather(*same, edge.collect(request(7, request_id="j"), actor="me"))
    assert [one.duplicate for one in answers] == [False, True, True, True, True, False]
    assert {one.positions for one in answers} == {(Position(POINTS, 0, 0),)}
    assert sum(points(records(log)).values()) == 3


async def test_too_much_at_once_is_refused_and_then_taken(log: SqliteLog) -> None:
    edge = edge_of(log, points_in_flight_max=5)
    answers = await asyncio.gather(
        *(edge.collect(request(1, 2), actor="me") for _ in range(4)), return_exceptions=True
    )
    assert [type(one) for one in answers] == [Collected, Collected, Overloaded, Overloaded]
    assert isinstance(answers[2], Overloaded)
    assert answers[2].status == 429
    assert (await edge.collect(request(1, 2), actor="me")).collected_count == 2


async def test_the_logs_own_refusal_reaches_every_caller(log: SqliteLog) -> None:
    edge = edge_of(log)
    log.close()
    refused = await asyncio.gather(
        *(edge.collect(request(1), actor=f"actor{i}") for i in range(3)), return_exceptions=True
    )
    assert [type(one) for one in refused] == [LogUnavailable] * 3
    assert edge.points_in_flight == 0


async def test_a_caller_that_goes_away_is_written_still(log: SqliteLog) -> None:
    edge = edge_of(log)
    gone = asyncio.create_task(edge.collect(request(1), actor="me"))
    stays = asyncio.create_task(edge.collect(request(2), actor="me"))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).collected_count == 1
    await edge.close()
    assert sorted(value for _, _, value in points(records(log))) == [1, 2]
    with pytest.raises(Overloaded, match="stopping"):
        await edge.collect(request(3), actor="me")


@pytest.mark.parametrize(
    ("actor", "key"), [("a" * 513, None), ("\ud800", None), ("a", ""), ("a", "k" * 257)]
)
async def test_a_name_or_key_that_no_header_could_hold_is_refused_alone(
    log: SqliteLog, actor: str, key: str | None
) -> None:
    with pytest.raises(InputError):
        await edge_of(log).collect(request(1), actor=actor, request_key=key)


async def test_no_caller_can_name_a_numbered_stream(log: SqliteLog) -> None:
    with pytest.raises(InputError, match="begins with @"):
        await edge_of(log).collect(request(1), actor="@ingest/cpu/0", request_key="7")


async def test_new_series_over_a_limit_are_refused_and_known_ones_taken(log: SqliteLog) -> None:
    limits = SeriesLimits(total_max=5, source_max=3)
    limits.seed(request(0).batch.labels)
    edge = edge_of(log, limits)
    answer = await edge.collect(request(1, 2, 3, 4, 5), actor="me")
    assert (answer.collected_count, answer.rejected_count) == (3, 2)
    assert [one.index for one in answer.rejected] == [3, 4]
    assert "LOGFIRE_MCP_SOURCE_SERIES_MAX" in answer.rejected[0].reason
    other = await edge.collect(request(1, 2, 3, source="other"), actor="me")
    assert (other.collected_count, other.rejected_count) == (2, 1)
    assert "LOGFIRE_MCP_SERIES_MAX" in other.rejected[0].reason
    assert (await edge.collect(request(1, 2, 3), actor="me")).rejected_count == 0
    assert limits.series == 5


async def test_rejections_of_the_parser_and_the_limits_keep_their_places(log: SqliteLog) -> None:
    good = [{"name": f"m{i}", "value": i, "metric_type": "gauge"} for i in range(4)]
    parsed = parse_arguments({"source": "a", "metrics": [5, *good[:2], {}, *good[2:]]}, NOW_MS)
    answer = await edge_of(log, SeriesLimits(source_max=2)).collect(parsed, actor="me")
    assert [one.index for one in answer.rejected] == [0, 3, 4, 5]
    assert (answer.collected_count, answer.rejected_count) == (2, 4)


async def test_a_large_request_becomes_records_within_the_limits(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    base = request(*range(50)).batch
    rows = random.integers(0, 50, 130_000).astype(np.int32)
    times = random.integers(0, 2**40, 130_000)  # does not compress: 16 bytes a point
    changed = {"series": rows, "at_ms": times, "value": random.random(130_000)}
    big = type(base)(base.labels, base.types, base.units, **changed)
    with open_log(tmp_path, partitions=3) as log:
        parsed = batch_request("agent", big)
        answer = await edge_of(log).collect(parsed, actor="me", request_key="k")
        found = records(log)
        assert all(len(record.body) <= BODY_BYTES_MAX for record in found)
        assert len(found) >= 3
        expected = Counter(
            zip((big.labels[s] for s in rows), times.tolist(), big.value.tolist(), strict=True)
        )
        assert points(found) == expected
        ends = await log.end_positions(POINTS)
        assert answer.positions == tuple(Position(POINTS, p, ends[p] - 1) for p in range(3))
        written = [0, 0, 0]
        for record in found:
            data = decode(record.headers, record.body).data
            assert isinstance(data, MetricsCollected)
            start = written[record.partition]
            assert slices(record) == [("me/k", 0, len(data.batch), start)]
            written[record.partition] += len(data.batch)
            assert {series_partition(text, 3) for text in data.batch.labels} == {record.partition}


async def test_a_record_that_would_be_too_large_is_halved(log: SqliteLog) -> None:
    names = np.random.default_rng(1).integers(0, 2**63, (20_000, 8))
    metrics = [
        {"name": "".join(f"{part:x}" for part in row), "value": i, "metric_type": "gauge"}
        for i, row in enumerate(names.tolist())
    ]
    parsed = parse_arguments({"source": "a", "metrics": metrics, "request_id": "k"}, NOW_MS)
    answer = await edge_of(log).collect(parsed, actor="me")
    found = records(log)
    assert len(found) >= 2
    assert sorted(value for _, _, value in points(found)) == list(range(20_000))
    assert answer.positions == (found[-1].position,)


def test_of_two_types_in_a_record_the_one_stated_last_stands() -> None:
    gauge = request(1, name="m")
    counter = parse_arguments(
        {"source": "agent", "metrics": [{"name": "m0", "value": 1, "metric_type": "counter"}]},
        NOW_MS,
    )
    for batches, kind in (((gauge, counter), "counter"), ((gauge, counter, gauge), "gauge")):
        group = [Request(one.batch, "me", "edge", NOW_MS) for one in batches]
        (written,) = Merger(1).entries(group)
        data = decode(written.entry.message.headers, written.entry.message.body).data
        assert isinstance(data, MetricsCollected)
        assert data.batch.types == (kind,)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.text('\\",:source{}ü'))
def test_the_source_is_read_as_the_whole_text_says_it(labels: dict[str, str], odd: str) -> None:
    sent = {**labels, "source": odd or "x", f'x,"source":"{odd}': f'",{odd},"source":"no'}
    point = {"__name__": "m", **sent}
    text = json.dumps(dict(sorted(point.items())), ensure_ascii=False, separators=(",", ":"))
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert source_of(text) == parse_series(text)[1]["source"]
