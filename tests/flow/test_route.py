"""Points to homes: what some rule selects, its past before its first tick, markers at ticks."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import OffsetOutOfRange
from streams.events.alerting import SamplesRouted, TickRouted
from streams.events.batch import BYTES_MAX, encode_batch
from streams.events.catalogue import Ticked
from streams.events.labels import parse_series
from streams.events.rules import Rule, RuleCreated, RuleDeleted, RuleUpdated
from streams.events.topics import POINTS, RULE_INPUTS
from streams.log.protocol import Record
from streams.processors.pending import AHEAD_MS_MAX
from streams.processors.route import RouteProcessor
from streams.processors.routing import OLD_MS, first_since, home_of
from streams.processors.seam import restore
from streams.processors.selected_series import pieces
from tests.flow.rule_flow import (
    BEGIN_MS,
    TICK_MS,
    Cell,
    RuleFlow,
    Sample,
    batches,
    inputs_of,
)

HOT = Rule(id="hot", version=1, name="Hot", condition='cpu{host=~"a|b"} > 80')
HOME = home_of("hot", 2)


def sample(flow: RuleFlow, host: str, name: str = "cpu", value: float = 1.0) -> Sample:
    return name, {"host": host}, flow.now_ms, value


def routed(flow: RuleFlow, home: int) -> list[tuple[str, float]]:
    """(host, value) of all samples that came to a home, in their order."""
    found = []
    for data in inputs_of(flow, home):
        if isinstance(data, SamplesRouted):
            hosts = [parse_series(text)[1]["host"] for text in data.batch.labels]
            values = data.batch.value.tolist()
            found += [(hosts[n], v) for n, v in zip(data.batch.series, values, strict=True)]
    return found


def markers(flow: RuleFlow, home: int) -> list[TickRouted]:
    return [data for data in inputs_of(flow, home) if isinstance(data, TickRouted)]


def test_only_what_a_rule_selects_goes_to_its_home_and_markers_go_to_all() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*(sample(flow, host) for host in "abcd"), sample(flow, "a", "disk"))
    assert sorted(routed(flow, HOME)) == [("a", 1.0), ("b", 1.0)]
    assert routed(flow, 1 - HOME) == []
    for home in range(2):
        assert [each.source for each in markers(flow, home)] == [0, 1]
    assert all(each.rules == (HOT,) for each in markers(flow, HOME))
    assert not any(each.rules for each in markers(flow, 1 - HOME))


def test_a_marker_tells_up_to_where_its_source_was_routed() -> None:
    flow = RuleFlow()
    flow.tick()
    flow.tick(sample(flow, "a"))
    for each in markers(flow, 0)[2:]:
        assert each.position == len(flow.log.records(POINTS, each.source))


def test_the_past_of_a_new_rule_comes_before_the_marker_that_tells_of_it() -> None:
    flow = RuleFlow()
    for value in range(10):
        flow.tick(sample(flow, "a", value=value))
    flow.tell(RuleCreated(HOT))
    flow.tick(sample(flow, "a", value=10))
    assert [value for _, value in sorted(routed(flow, HOME))] == list(range(11))
    kinds = [type(each).__name__ for each in inputs_of(flow, HOME)[-4:]]
    assert kinds[-1] == "TickRouted"
    assert markers(flow, HOME)[-1].rules == (HOT,)


def test_a_long_past_is_read_a_part_at_each_tick_and_announced() -> None:
    flow = RuleFlow(partitions=1)
    flow.routes = [Cell(RouteProcessor(1, TICK_MS, backfill_records=64), 0, flow.log)]
    for value in range(200):
        flow.collect(sample(flow, "a", value=value))
        flow.now_ms += 1_000
    flow.tell(RuleCreated(HOT))
    for _ in range(4):
        flow.tick(sample(flow, "a", value=-1))
    told = [(bool(each.coming), bool(each.rules)) for each in markers(flow, 0)]
    assert told == [(True, False), (False, False), (False, False), (False, True)]
    past = [value for _, value in routed(flow, 0) if value >= 0]
    assert past == list(range(200))


def test_the_past_is_as_long_as_the_rule_looks_back() -> None:
    flow = RuleFlow(partitions=1)
    for value in range(120):
        flow.tick(sample(flow, "a", value=value))
    flow.tell(RuleCreated(HOT))
    flow.tick()
    first = min(value for _, value in routed(flow, 0))
    assert 120 - 6 * 60_000 / TICK_MS - 2 <= first <= 120 - 5 * 60_000 / TICK_MS


def test_a_change_of_words_reads_no_past_again() -> None:
    flow = RuleFlow(partitions=1)
    flow.tick(sample(flow, "a"))
    flow.tell(RuleCreated(HOT))
    flow.tick()
    again = msgspec.structs.replace(HOT, version=2, condition=HOT.condition, severity="low")
    flow.tell(RuleUpdated(again, "updated"))
    flow.tick()
    assert routed(flow, 0) == [("a", 1.0)]
    assert markers(flow, 0)[-1].rules == (again,)


def test_a_past_that_the_log_keeps_in_part_is_read_from_its_start() -> None:
    flow = RuleFlow(partitions=1)
    for value in range(5):
        flow.tick(sample(flow, "a", value=value))
    flow.tell(RuleCreated(HOT))
    start = 5

    def read_back(begin: int, end: int) -> list[Record]:
        if begin < start:
            raise OffsetOutOfRange(str(begin))
        return flow.log.records(POINTS, 0)[begin:end]

    cell = flow.routes[0]
    cell.tracked = restore(cell.processor, cell.table, read_back)
    flow.tick()
    assert routed(flow, 0) == [("a", 3.0), ("a", 4.0)]


def test_a_rule_deleted_while_its_past_is_read_is_told_as_deleted_only() -> None:
    flow = RuleFlow(partitions=1)
    flow.tick(sample(flow, "a"))
    flow.tell(RuleCreated(HOT))
    flow.tell(RuleDeleted(msgspec.structs.replace(HOT, version=2)))
    flow.tick(sample(flow, "a"))
    last = markers(flow, 0)[-1]
    assert (last.rules, last.deleted) == ((), ("hot",))
    assert routed(flow, 0) == []


def test_an_older_version_is_routed_for_until_all_have_had_time_to_tell_the_new_one() -> None:
    flow = RuleFlow(partitions=1)
    flow.tell(RuleCreated(HOT))
    flow.tick()
    other = msgspec.structs.replace(HOT, version=2, condition="disk > 1")
    flow.tell(RuleUpdated(other, "updated"))
    flow.tick()
    flow.tick(sample(flow, "a", value=2))
    assert routed(flow, 0) == [("a", 2.0)]
    flow.tick(ticks=OLD_MS // TICK_MS)
    flow.tick(sample(flow, "a", value=3))
    assert routed(flow, 0) == [("a", 2.0)]


def test_a_fact_that_its_maker_appends_again_is_one_fact() -> None:
    flow = RuleFlow(partitions=1)
    flow.tell(RuleCreated(HOT))
    record = flow.log.records(POINTS, 0)[0]
    made = {**record.headers, "ce_id": "commands/0/4", "ce_source": "processor/commands"}
    flow.log.places[POINTS, 0] = [
        Record(POINTS, 0, offset, BEGIN_MS, made, record.body) for offset in range(2)
    ]
    flow.tick()
    assert markers(flow, 0)[0].rules == (HOT,)


def test_a_gap_of_more_than_two_intervals_is_told_as_an_outage() -> None:
    flow = RuleFlow(partitions=1)
    for ticks in (1, 1, 2, 3):
        flow.tick(ticks=ticks)
    assert [each.outage_ms for each in markers(flow, 0)] == [0, 0, 0, 3 * TICK_MS]


def test_a_tick_that_is_not_above_the_last_is_ignored() -> None:
    flow = RuleFlow(partitions=1)
    flow.tick()
    flow.put(Ticked(flow.now_ms), 0)
    flow.put(Ticked(flow.now_ms - TICK_MS), 0)
    flow.flow()
    assert len(markers(flow, 0)) == 1


def test_samples_far_ahead_of_their_record_are_not_routed() -> None:
    flow = RuleFlow(partitions=1)
    flow.tell(RuleCreated(HOT))
    flow.tick(
        ("cpu", {"host": "a"}, flow.now_ms + AHEAD_MS_MAX + 1, 5.0), sample(flow, "b", value=6)
    )
    assert routed(flow, 0) == [("b", 6.0)]


def test_many_rules_are_told_over_several_ticks() -> None:
    flow = RuleFlow(partitions=1)
    rules = [
        Rule(id=f"r{n}", version=1, name=f"r{n}", condition="cpu > 1", description="x" * 4_000)
        for n in range(100)
    ]
    for rule in rules:
        flow.tell(RuleCreated(rule))
    for _ in range(3):
        flow.tick()
    told = [rule for each in markers(flow, 0) for rule in each.rules]
    assert told == rules
    assert max(len(each.body) for each in flow.log.records(RULE_INPUTS, 0)) < 1 << 19


@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    since=st.integers(0, 60),
    start=st.integers(0, 10),
)
def test_the_search_finds_the_first_record_of_a_time_in_a_log_with_gaps_and_a_start(
    gaps: list[int], since: int, start: int
) -> None:
    records, offset = [], 0
    for number, gap in enumerate(gaps):
        offset += gap
        records.append(Record(POINTS, 0, offset, number, {}, b""))
        offset += 1

    def read_back(begin: int, end: int) -> list[Record]:
        if begin < start:
            raise OffsetOutOfRange(str(begin))
        return [record for record in records if begin <= record.offset < end]

    found = first_since(read_back, offset, since)
    kept = [record for record in records if record.offset >= start]
    wanted = [record.offset for record in kept if record.at_ms >= since]
    assert [r.offset for r in kept if r.offset >= found] == wanted


def test_without_rules_only_markers_come() -> None:
    flow = RuleFlow(partitions=1)
    flow.tick(*(sample(flow, str(n)) for n in range(50)))
    assert [type(each) for each in inputs_of(flow, 0)] == [TickRouted]


def test_large_selections_are_cut_to_what_an_event_may_hold() -> None:
    long = [("cpu", {"host": "a", "text": f"{n}" + "ü" * 2_000}, BEGIN_MS, n) for n in range(600)]
    (batch,) = batches(long, 1).values()
    parts = pieces(batch)
    assert len(parts) > 1
    assert max(len(encode_batch(part)) for part in parts) <= BYTES_MAX
    assert [v for part in parts for v in part.value.tolist()] == batch.value.tolist()
