"""What a sink does where its database refuses, is away, or missed what the log no longer holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from projections.influx_lines import point_lines, series_head
from projections.redis_cache import RedisSink
from projections.refill import ReadModelRefill
from projections.refill_copy import CopiedModel
from projections.sink import Gap, SinkPump
from projections.sink_positions import PositionFile, Settled
from projections.source import Partition
from streams.errors import SinkError
from streams.events.batch import STALE
from streams.events.labels import series_partition
from streams.events.topics import HEALTH_RESULTS, POINTS, WINDOWS
from streams.log.protocol import Record
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from tests.projections.influx_server import Answer, InfluxServer, influx_server
from tests.projections.making import BEGIN_MS, batch, collect, text
from tests.projections.sink_rig import PARTITIONS, Found, Load, Rig, redis_expected, rig, until
from tests.projections.sink_servers import RedisServer, VictoriaServer

A = text("a", host="x")
PLACE = series_partition(A, PARTITIONS)


@pytest.fixture
def influx() -> Iterator[InfluxServer]:
    with influx_server() as server:
        yield server


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path / "data") as made:
        yield made


def write(one: Rig, *values: float) -> None:
    for i, value in enumerate(values):
        collect(one.log, [(A, BEGIN_MS + i, value)], partition=PLACE)


def caught_up(pump: SinkPump) -> bool:
    status = pump.status()
    return status.connected and not status.records


def test_lines_that_are_refused_are_left_out_and_counted_and_the_others_are_taken(
    one: Rig, influx: InfluxServer
) -> None:
    influx.decide = lambda lines: (
        Answer(400, text="bad value") if any("value=3.5 " in line for line in lines) else Answer()
    )
    write(one, 1.5, 2.5, 3.5, 4.5)
    pump = one.pump(one.influx(influx.url, "points"))
    until(lambda: caught_up(pump), "the rest is taken")
    assert {line.split("value=")[1].split()[0] for line in influx.lines} == {"1.5", "2.5", "4.5"}
    assert pump.status().counts == {"written": 3, "refused": 1, "unwritable": 0}


def test_a_database_that_asks_for_time_is_given_it_and_gets_everything_then(
    one: Rig, influx: InfluxServer
) -> None:
    answers = iter([Answer(429, {"Retry-After": "1"}), Answer(503), Answer(500)])
    influx.decide = lambda _: next(answers, Answer())
    write(one, 1.5, 2.5)
    pump = one.pump(one.influx(influx.url, "points"))
    until(lambda: pump.status().error == "InfluxDB answers 429 Too Many Requests", "it is told")
    until(lambda: caught_up(pump), "it is written")
    assert influx.lines == [
        f"a,host=x value={v} {BEGIN_MS + i}000000" for i, v in ((0, 1.5), (1, 2.5))
    ]


def test_a_database_that_ends_every_connection_gets_everything_nevertheless(
    one: Rig, influx: InfluxServer
) -> None:
    influx.closes = True
    pump = one.pump(one.influx(influx.url, "points"))
    for i in range(8):
        before = influx.requests
        write(one, float(i))
        until(lambda before=before: influx.requests > before, "it is written")  # type: ignore[misc]
    until(lambda: caught_up(pump), "it is written")
    assert {line.split()[-2] for line in influx.lines} == {f"value={i}" for i in range(8)}


def test_a_token_that_is_refused_is_told_without_it(one: Rig, influx: InfluxServer) -> None:
    influx.decide = lambda _: Answer(401, text='{"message": "the token hush is not valid"}')
    write(one, 1.5)
    pump = one.pump(one.influx(influx.url, "points"))
    until(lambda: bool(pump.status().error), "it is told")
    assert "401" in pump.status().error
    assert "hush" not in pump.status().error
    assert influx.tokens == {"Token hush"}


def test_what_settled_is_not_written_again_after_a_restart(one: Rig, influx: InfluxServer) -> None:
    write(one, 1.5)
    first = one.pump(one.influx(influx.url, "points", settle_s=0.0))
    until(lambda: caught_up(first), "it is written")
    first.stop(20.0)
    taken = list(influx.lines)
    second = one.pump(one.influx(influx.url, "points", settle_s=0.0))
    write(one, 7.5)
    until(lambda: len(influx.lines) > len(taken), "it goes on")
    assert [line.split()[-2] for line in influx.lines[len(taken) :]] == ["value=7.5"]
    until(lambda: caught_up(second), "it is written")


def test_another_buckets_position_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    place: Partition = (POINTS, 0)
    path = tmp_path / "position.json"
    PositionFile(path, "here").save({place: 7})
    PositionFile(path, "here").save({(WINDOWS, 1): 3})
    assert PositionFile(path, "here").load([place]) == {place: 7}
    assert PositionFile(path, "there").load([place]) == {}
    path.write_text("{")
    assert PositionFile(path, "here").load([place]) == {}


def test_a_position_is_kept_only_when_what_lies_before_it_had_time_to_reach_the_disk(
    tmp_path: Path,
) -> None:
    place: Partition = (POINTS, 0)
    now = [0.0]
    store = PositionFile(tmp_path / "position.json", "here")
    settled = Settled(store, settle_s=10.0, clock=lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        settled.acknowledged({place: second})
        assert store.load([place]).get(place, 0) == max(0, second - 10)
    settled.load([place])
    now[0] += 20
    settled.acknowledged({place: 40})
    assert store.load([place]) == {place: 19}


@dataclass
class Cut:
    """A log whose partitions begin later than they did, as retention does it on Kafka."""

    log: SqliteLog
    begin: dict[Partition, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)

    def starts(self) -> Mapping[Partition, int]:
        return {**self.log.starts(), **self.begin}

    def read_now(self, topic: str, partition: int, offset: int, **more: int) -> list[Record]:
        assert offset >= self.begin.get((topic, partition), 0), "it is gone"
        return self.log.read_now(topic, partition, offset, **more)


def test_a_copy_that_does_not_reach_far_enough_is_made_anew(one: Rig) -> None:
    copied = CopiedModel(one.projector.copy, one.log)
    refill = ReadModelRefill(copied, PARTITIONS)
    end = one.log.ends()[POINTS, 0] + 1
    with pytest.raises(SinkError, match="the database still reads the log"):
        refill.reaches(POINTS, 0, end)
    with Load(one.log, 1) as load:
        load.more(10)
    until(lambda: one.projector.positions()[POINTS, 0] >= end, "the read model")
    assert refill.reaches(POINTS, 0, end)
    copied.close()


@pytest.mark.parametrize("where", ["here", "on another node"])
def test_what_the_log_no_longer_holds_is_a_named_gap_refilled_from_the_read_model(
    one: Rig,
    where: str,
    tmp_path: Path,
    requires: Callable[[str], str],
    redis_server: RedisServer,
) -> None:
    victoria = VictoriaServer(requires("victoria-metrics"), tmp_path / "victoria")
    cut = Cut(one.log)
    copied = CopiedModel(one.projector.copy, one.log)
    model = one.projector if where == "here" else copied
    sinks = [
        one.influx(victoria.url, settle_s=0.0, model=model),
        RedisSink(redis_server.url, one.log.log_id, refill=ReadModelRefill(model, PARTITIONS)),
    ]
    try:
        pumps = [SinkPump(cut, sink, one.places, retry_s=0.1) for sink in sinks]  # type: ignore[arg-type]
        for pump in pumps:
            pump.start()
        with Load(one.log, 1) as load:
            load.more(10)
            for pump in pumps:
                until(lambda pump=pump: pump.status().counts["written"] > 0, "rows")  # type: ignore[misc]
            victoria.program.stop()
            redis_server.program.stop()
            load.more(40)
        one.runner.stop(20.0)
        ends = one.log.ends()
        for topic in (POINTS, WINDOWS, HEALTH_RESULTS):
            cut.begin |= {(topic, n): ends[topic, n] - 3 for n in range(PARTITIONS)}
        until(lambda: not one.projector.lag()["duckdb"].records, "the read model")
        victoria.program.start()
        redis_server.program.start()
        one.until_caught_up(*pumps)
        for pump in pumps:
            gaps = pump.status().gaps
            assert {(gap.topic, gap.partition) for gap in gaps} <= set(cut.begin)
            assert gaps
            assert all(
                gap.refilled and gap.end == cut.begin[gap.topic, gap.partition] for gap in gaps
            )
        points, windows = one.points(), merged(one.windows())

        def is_whole() -> bool:
            samples = victoria.samples()
            told = {key: told for key, told in samples.items() if key in points}
            return told == points and merged(samples) == windows

        until(is_whole, "all that was written is told")
        held = redis_server.hashes("logfire:last:*") | redis_server.hashes("logfire:health:*")
        expected = {key: told for key, told in redis_expected(one).items() if ":alert:" not in key}
        assert held == expected
    finally:
        for pump in pumps:
            pump.stop(20.0)
        copied.close()
        victoria.program.stop()


def merged(found: Found) -> Found:
    """Counts and sums by window, whether its samples came in time or late."""
    totals: Found = {}
    for labels, told in found.items():
        if dict(labels)["__name__"].endswith(("_count", "_sum")):
            key = tuple(pair for pair in labels if pair[0] != "amended")
            into = totals.setdefault(key, {})
            for at_ms, value in told.items():
                start_ms = at_ms - at_ms % 1_000
                into[start_ms] = into.get(start_ms, 0.0) + value
    return totals


def test_without_a_read_model_a_gap_stays_and_is_named(one: Rig, influx: InfluxServer) -> None:
    one.runner.stop(20.0)  # no ticks between the samples
    first = one.log.ends()[POINTS, PLACE]
    write(one, 1.5, 2.5, 3.5)
    kept = PositionFile(one.folder / "influxdb.position.json", one.log.log_id)
    kept.save({(POINTS, PLACE): first + 1})
    cut = Cut(one.log, {(POINTS, PLACE): first + 2})
    sink = one.influx(influx.url, "points")
    sink._refill = None
    pump = SinkPump(cut, sink, one.places, retry_s=0.1)  # type: ignore[arg-type]
    pump.start()
    try:
        until(lambda: caught_up(pump) and bool(influx.lines), "it goes on")
    finally:
        pump.stop(20.0)
    (gap,) = pump.status().gaps
    assert str(gap) == f"{POINTS}/{PLACE} from {first + 1} to {first + 2} (not refilled)"
    assert [line.split()[-2] for line in influx.lines] == ["value=3.5"]


def test_two_that_believe_to_have_a_partition_count_every_record_once(
    one: Rig, redis_server: RedisServer
) -> None:
    pumps = [one.pump(RedisSink(redis_server.url, one.log.log_id)) for _ in range(2)]
    with redis_server.client() as client, client.pubsub() as listening:
        listening.subscribe("logfire:alerts", "logfire:health")
        with Load(one.log, 2) as load:
            load.more(30)
        one.until_caught_up(*pumps)
        heard = [m["data"] for m in iter(lambda: listening.get_message(timeout=1), None)]
    told = [msgspec.json.decode(data) for data in heard if isinstance(data, str)]
    turns = [one["log_offset"] for one in told if "fingerprint" in one]
    assert turns == sorted(set(turns))
    assert len(turns) == one.rows("SELECT count(*) AS n FROM transitions")[0]["n"]
    changes = one.rows("SELECT count(*) AS n FROM health_changes")[0]["n"]
    assert len(told) - len(turns) == changes


def test_who_listens_to_metrics_hears_new_values(one: Rig, redis_server: RedisServer) -> None:
    now_ms = wall_clock_ms()
    with redis_server.client() as client, client.pubsub() as listening:
        listening.subscribe("logfire:metrics")
        listening.get_message(timeout=5)
        one.pump(RedisSink(redis_server.url, one.log.log_id))
        samples = [(A, now_ms + 1, 2.5), (A, now_ms, 1.5), (A, now_ms + 1, 9.0)]
        collect(one.log, samples, partition=PLACE)
        message = listening.get_message(ignore_subscribe_messages=True, timeout=30)
        ttl_ms = client.pttl(f"logfire:last:{A}")
    labels = {"__name__": "a", "host": "x"}
    assert msgspec.json.decode(message["data"]) == {
        "samples": [{"labels": labels, "at_ms": now_ms + 1, "value": "2.5"}]
    }
    assert 0 < ttl_ms <= 86_400_000


def test_a_wrong_password_is_told_without_it(
    one: Rig, tmp_path: Path, requires: Callable[[str], str]
) -> None:
    server = RedisServer(requires("redis-server"), tmp_path, password="right")
    try:
        pump = one.pump(RedisSink(server.url.replace("right", "hush"), one.log.log_id))
        until(lambda: bool(pump.status().error), "it is told")
        assert "invalid username-password" in pump.status().error
        assert "hush" not in pump.status().error
    finally:
        server.program.stop()


def test_names_are_escaped_and_what_has_no_text_is_left_out() -> None:
    head = series_head(text("cpu load", **{"a,b": "c=d e", "window": "w", "time": "t\n"}))
    assert head == r"cpu\ load,a\,b=c\=d\ e,exported_time=t\ ,exported_window=w"
    assert series_head(text("#x")) == r"\#x"
    values = (1.5, float("nan"), float("inf"), STALE)
    lines, left_out = point_lines(batch([(A, i, value) for i, value in enumerate(values)]))
    assert (lines, left_out) == (["a,host=x value=1.5 0000000"], 3)


def test_a_gap_says_where_it_is_and_an_error_when_to_come_again() -> None:
    assert str(Gap(POINTS, 1, 5, 9, refilled=True)) == (
        f"{POINTS}/1 from 5 to 9 (refilled from the database)"
    )
    assert SinkError("away", retry_after_s=3).retry_after_s == 3
