"""Rules over samples of several partitions: each transition once, whatever the order and cuts."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streams.events.alerting import (
    AlertFired,
    EvaluationStalled,
    OutageSeen,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    SamplesRouted,
    TickRouted,
)
from streams.events.catalogue import DeadLettered, MetricsCollected, Ticked
from streams.events.codec import decode
from streams.events.rules import Rule, RuleCreated, RuleDeleted, RuleUpdated
from streams.events.topics import ALERTS, DEADLETTER, POINTS, RULE_INPUTS
from streams.log.protocol import Entry, Message, Record
from streams.processors.evaluate import EvaluateProcessor
from streams.processors.routing import home_of
from tests.effort import examples
from tests.flow.rule_flow import BEGIN_MS, TICK_MS, Cell, MemoryLog, RuleFlow, Sample, trace

HOT = Rule(id="hot", version=1, name="Hot", condition="cpu > 80")
HOSTS = ("a", "b", "c", "d", "e")
"""Their series lie in both partitions."""


def cpu(flow: RuleFlow, **values: float) -> list[Sample]:
    return [("cpu", {"host": host}, flow.now_ms, value) for host, value in values.items()]


def test_a_rule_over_series_of_all_partitions_fires_once_for_each() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick()
    flow.tick(*cpu(flow, **dict.fromkeys(HOSTS, 90.0)))
    flow.tick(*cpu(flow, **dict.fromkeys(HOSTS, 91.0)))
    assert sorted(flow.moves()) == [(2, host, "firing") for host in HOSTS]
    (home,) = {home_of("hot", 2)}
    fired = [event for event in flow.alerts() if isinstance(event, AlertFired)]
    ends = [len(flow.log.records(POINTS, n)) for n in range(2)]
    assert all(a <= b for event in fired for a, b in zip(event.seen, ends, strict=True))
    assert flow.homes[home].table
    assert not flow.log.events(RULE_INPUTS, 1 - home)[0].rules  # type: ignore[union-attr]


def test_a_rule_warms_up_with_the_past_and_fires_at_the_first_tick_in_force() -> None:
    flow = RuleFlow()
    rising = msgspec.structs.replace(HOT, condition="max_over_time(cpu[1m]) > 80")
    flow.tick(*cpu(flow, a=90))
    for _ in range(5):
        flow.tick(*cpu(flow, a=10))
    flow.tell(RuleCreated(rising))
    flow.tick(*cpu(flow, a=10))
    assert flow.moves() == [(7, "a", "firing")]


def test_for_keep_and_missing_data_work_over_the_log() -> None:
    flow = RuleFlow()
    slow = msgspec.structs.replace(HOT, condition="rate(cpu[15s]) > 1", for_ms=10_000)
    flow.tell(RuleCreated(slow))
    for value in (0, 100, 200, 300, 400):
        flow.tick(*cpu(flow, a=value))
    for _ in range(5):
        flow.tick()
    assert flow.moves() == [(2, "a", "pending"), (4, "a", "firing"), (6, "a", "no_data")]


def test_for_goes_on_through_kills() -> None:
    flow = RuleFlow()
    slow = msgspec.structs.replace(HOT, condition="rate(cpu[15s]) > 1", for_ms=10_000)
    flow.tell(RuleCreated(slow))
    for value in (0, 100, 200, 300, 400):
        for cell in [*flow.routes, *flow.homes]:
            cell.tracked = None
        flow.tick(*cpu(flow, a=value))
    assert flow.moves() == [(2, "a", "pending"), (4, "a", "firing")]


def test_late_and_disordered_samples_count_from_the_tick_that_sees_them() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, a=10))
    flow.tick(("cpu", {"host": "a"}, flow.now_ms - 2_000, 99.0))
    flow.tick(("cpu", {"host": "b"}, flow.now_ms + 1_000, 99.0), *cpu(flow, b=10))
    assert flow.moves() == [(2, "a", "firing"), (3, "b", "firing")]


def test_a_sample_ahead_of_the_tick_is_seen_when_its_time_has_come() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(("cpu", {"host": "a"}, flow.now_ms + 2 * TICK_MS, 99.0))
    flow.tick()
    flow.tick()
    assert flow.moves() == [(2, "a", "firing")]


def test_a_transition_goes_on_with_the_trace_of_the_last_call_that_its_rule_reads() -> None:
    flow = RuleFlow(partitions=1)
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, a=10))
    flow.collect(*cpu(flow, a=90))
    read = flow.appended
    flow.collect(("other", {}, flow.now_ms, 1.0))
    flow.tick()
    (record,) = flow.log.records(ALERTS)
    assert isinstance(decode(record.headers, record.body).data, AlertFired)
    assert record.headers["traceparent"] == trace(read)


def test_a_changed_rule_keeps_its_alert_and_a_deleted_one_resolves_it() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, a=90))
    milder = msgspec.structs.replace(HOT, version=2, condition="cpu > 85")
    flow.tell(RuleUpdated(milder, "updated"))
    flow.tick(*cpu(flow, a=90))
    assert flow.moves() == [(1, "a", "firing")]
    flow.tell(RuleDeleted(msgspec.structs.replace(milder, version=3)))
    flow.tick(*cpu(flow, a=90))
    assert flow.moves() == [(1, "a", "firing"), (3, "a", "inactive")]
    home = flow.homes[home_of("hot", 2)]
    assert not [key for key in home.table if key.startswith(("rule/", "alerts/"))]


def test_a_disabled_rule_resolves_and_starts_again_when_enabled() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, a=90))
    off = msgspec.structs.replace(HOT, version=2, enabled=False)
    flow.tell(RuleUpdated(off, "disabled"))
    flow.tick(*cpu(flow, a=90))
    flow.tell(RuleUpdated(msgspec.structs.replace(HOT, version=3), "enabled"))
    flow.tick(*cpu(flow, a=90))
    assert flow.moves() == [(1, "a", "firing"), (2, "a", "inactive"), (3, "a", "firing")]


def test_an_outage_is_a_fact_and_makes_alerts_unknown_for_a_tick() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, a=90))
    flow.tick(ticks=10)
    flow.tick(*cpu(flow, a=90))
    assert flow.moves() == [(1, "a", "firing"), (11, "a", "unknown"), (12, "a", "firing")]
    (outage,) = [event for event in flow.alerts() if isinstance(event, OutageSeen)]
    assert (outage.from_ms, outage.to_ms) == (BEGIN_MS + TICK_MS, BEGIN_MS + 11 * TICK_MS)


def test_a_rule_that_fails_is_told_once_for_a_run_and_others_go_on() -> None:
    flow = RuleFlow(partitions=1)
    joined = msgspec.structs.replace(HOT, id="bad", name="Bad", condition="cpu * on () disk > 0")
    flow.tell(RuleCreated(HOT))
    flow.tell(RuleCreated(joined))
    disk: Sample = ("disk", {}, flow.now_ms, 1.0)
    flow.tick(*cpu(flow, a=90, b=10), disk)
    flow.tick(*cpu(flow, a=90, b=10))
    kinds = [type(event) for event in flow.alerts()]
    assert kinds.count(RuleEvaluationFailed) == 1
    assert kinds.count(AlertFired) == 1
    for _ in range(60):
        flow.tick(*cpu(flow, a=90))
    assert [type(event) for event in flow.alerts()].count(RuleEvaluationRecovered) == 1


def test_a_recording_rule_writes_its_series_where_they_belong() -> None:
    flow = RuleFlow()
    total = Rule(
        id="r", version=1, name="r", condition="sum(cpu)", record="cpu:sum", labels={"by": "rule"}
    )
    over = msgspec.structs.replace(HOT, id="o", name="Over", condition="cpu:sum > 100")
    flow.tell(RuleCreated(total))
    flow.tell(RuleCreated(over))
    flow.tick(*cpu(flow, a=60, b=70))
    flow.tick()
    assert flow.moves() == [(2, "Over", "firing")]
    made = [
        data.batch.labels
        for n in range(2)
        for data in flow.log.events(POINTS, n)
        if isinstance(data, MetricsCollected) and "cpu:sum" in data.batch.labels[0]
    ]
    assert set(made) == {('{"__name__":"cpu:sum","by":"rule"}',)}


def test_a_rule_is_evaluated_at_the_first_tick_of_each_of_its_intervals() -> None:
    flow = RuleFlow()
    slow = msgspec.structs.replace(HOT, interval_ms=20_000)
    flow.tell(RuleCreated(slow))
    flow.tick()
    for _ in range(8):
        flow.tick(*cpu(flow, a=90))
    ((ticks, _, _),) = flow.moves()
    assert (BEGIN_MS + ticks * TICK_MS) % 20_000 == 0


def test_a_partition_that_stays_behind_is_told_once_and_nothing_is_missed() -> None:
    flow = RuleFlow()
    flow.tell(RuleCreated(HOT))
    flow.tick(*cpu(flow, **dict.fromkeys(HOSTS, 90.0)))
    fired = len(flow.moves())
    for _ in range(6):
        flow.now_ms += TICK_MS
        flow.put(Ticked(flow.now_ms), 0)
        flow.flow()
    stalled = [event for event in flow.alerts() if isinstance(event, EvaluationStalled)]
    assert [(event.source, event.since_ms) for event in stalled] == [(1, BEGIN_MS + TICK_MS)]
    assert len(flow.moves()) == fired
    flow.collect(*cpu(flow, **dict.fromkeys(HOSTS, 10.0)))
    flow.put(Ticked(flow.now_ms), 1)
    flow.tick()
    after = flow.moves()[fired:]
    assert sorted(host for _, host, _ in after) == list(HOSTS)
    assert {(ticks, state) for ticks, _, state in after} == {(7, "inactive"), (8, "inactive")}


def test_what_does_not_belong_there_is_a_dead_letter() -> None:
    flow = RuleFlow(partitions=1)
    flow.log.append(Entry(RULE_INPUTS, 0, Message({}, b"what")), BEGIN_MS)
    flow.flow()
    (dead,) = flow.log.events(DEADLETTER)
    assert isinstance(dead, DeadLettered)


RULES = (
    HOT,
    Rule(id="slow", version=1, name="Slow", condition="rate(cpu[20s]) > 1", for_ms=10_000),
    Rule(id="both", version=1, name="Both", condition="cpu > 80 and on (host) disk > 50"),
    Rule(id="keep", version=1, name="Keep", condition="avg(cpu) > 60", keep_firing_for_ms=10_000),
    Rule(id="gone", version=1, name="Gone", condition="disk < 10", no_data="alert"),
    Rule(id="sum", version=1, name="Sum", condition="sum(disk)", record="disk:sum"),
)
VALUES = (0.0, 20.0, 90.0, 95.5)
ACTIONS = st.one_of(
    st.tuples(
        st.just("samples"),
        st.lists(
            st.tuples(
                st.sampled_from(["cpu", "disk"]),
                st.sampled_from(HOSTS),
                st.integers(0, 40),
                st.integers(0, 3),
            ),
            max_size=6,
        ),
    ),
    st.tuples(st.just("tick"), st.sampled_from([1, 1, 1, 2, 4])),
    st.tuples(st.just("rule"), st.integers(0, len(RULES) - 1)),
    st.tuples(st.just("drop"), st.integers(0, len(RULES) - 1)),
)


def played(actions: Sequence[tuple[str, object]]) -> RuleFlow:
    """A history; of samples of a series with one time the values agree."""
    flow = RuleFlow()
    versions: dict[str, int] = {}
    for kind, what in [*actions, ("tick", 1), ("tick", 1)]:
        match kind, what:
            case "samples", list():
                flow.collect(*(_sample(flow, *each) for each in what))
            case "tick", int():
                flow.tick(ticks=what)
            case "rule", int():
                rule = RULES[what]
                version = versions[rule.id] = versions.get(rule.id, 0) + 1
                rule = msgspec.structs.replace(rule, version=version)
                change = RuleUpdated(rule, "updated") if version > 1 else RuleCreated(rule)
                flow.tell(change)
            case "drop", int():
                rule = RULES[what]
                if rule.id in versions:
                    versions[rule.id] += 1
                    last = msgspec.structs.replace(rule, version=versions[rule.id])
                    flow.tell(RuleDeleted(last))
    return flow


def _sample(flow: RuleFlow, name: str, host: str, back: int, salt: int) -> Sample:
    at_ms = flow.now_ms - (4 * back + salt) * 250
    value = VALUES[zlib.crc32(f"{name}{host}{at_ms}".encode()) % len(VALUES)]
    return name, {"host": host}, at_ms, value


SLOW = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SLOW
@given(actions=st.lists(ACTIONS, min_size=3, max_size=25), seed=st.integers(0, 2**32))
@example(  # two ticks of one step bring versions
    actions=[
        ("samples", [("cpu", "d", 0, 0), ("disk", "d", 0, 2)]),
        ("rule", 0),
        ("tick", 1),
        ("rule", 0),
        ("rule", 2),
    ],
    seed=49918,
)
def test_steps_of_any_size_and_kills_leave_the_same_bytes(
    actions: list[tuple[str, object]], seed: int
) -> None:
    flow = played(actions)
    dice = random.Random(seed)
    for cell in [*flow.routes, *flow.homes]:
        whole = cell.left()
        for size in (1, 3):
            again = Cell(cell.processor, cell.partition, flow.log)
            again.run(size)
            assert again.left() == whole
        again = Cell(cell.processor, cell.partition, flow.log)
        again.run_interrupted(dice)
        assert again.left() == whole
    tight = EvaluateProcessor(flow.partitions, flow.evaluation_ms, waiting_bytes_max=0)
    again = Cell(tight, 0, flow.log)
    again.run()
    assert again.left() == flow.homes[0].left()


@SLOW
@given(actions=st.lists(ACTIONS, min_size=3, max_size=25), seed=st.integers(0, 2**32))
def test_the_order_in_which_sources_arrive_changes_no_transition(
    actions: list[tuple[str, object]], seed: int
) -> None:
    flow = played(actions)
    dice = random.Random(seed)
    for cell in flow.homes:
        mixed = Cell(cell.processor, cell.partition, shuffled(cell, dice))
        mixed.run(2)
        assert told(mixed) == told(cell)


def shuffled(cell: Cell, dice: random.Random) -> MemoryLog:
    """The inputs of a home with those of each source in their order, interleaved otherwise."""
    queues: dict[int, list[Record]] = {}
    for record, data in zip(
        cell.records, cell.log.events(RULE_INPUTS, cell.partition), strict=True
    ):
        assert isinstance(data, SamplesRouted | TickRouted)
        queues.setdefault(data.source, []).append(record)
    log = MemoryLog()
    while any(queues.values()):
        queue = dice.choice([queue for queue in queues.values() if queue])
        for record in [queue.pop(0) for _ in range(min(len(queue), dice.randint(1, 6)))]:
            message = Message(record.headers, record.body)
            log.append(Entry(RULE_INPUTS, cell.partition, message), record.at_ms)
    return log


def told(cell: Cell) -> list[tuple[str, bytes]]:
    """The events but those of stalls, which tell of the order itself."""
    messages = [entry.message for entry in cell.entries]
    return [
        (message.headers["ce_type"], message.body)
        for message in messages
        if message.headers["ce_type"] != "rules.evaluation_stalled.v1"
    ]
