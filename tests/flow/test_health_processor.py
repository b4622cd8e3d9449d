"""Checks in, health out: turns, metrics, dependencies across partitions, however it is cut."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.targets import target_partition
from streams.events.catalogue import (
    Envelope,
    Event,
    EventData,
    MetricsCollected,
    Ticked,
)
from streams.events.codec import encode
from streams.events.health import (
    Cause,
    HealthChanged,
    HealthChecked,
    HealthCheckRequested,
    RegisterTarget,
    RemoveTarget,
    RequestHealthCheck,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from streams.events.labels import parse_series, series_partition
from streams.events.rules import CommandRefused
from streams.events.topics import ALERTS, COMMANDS, DEADLETTER, HEALTH_RESULTS, POINTS
from streams.log.protocol import Entry
from streams.processors.commands import CommandsProcessor
from streams.processors.commands_targets import CONFIGURATION
from streams.processors.health import HealthProcessor
from tests.effort import examples
from tests.flow.rule_flow import Cell, MemoryLog

BEGIN_MS = 1_700_000_000_000
PARTITIONS = 3
PROCESSOR = HealthProcessor(PARTITIONS)


def target(name: str, *depends_on: str, kind: str = "http", endpoint: str = "") -> Target:
    return Target(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        endpoint=endpoint or f"http://{name}.example.org/health",
        interval_ms=10_000,
        timeout_ms=2_000,
        failures=2,
        depends_on=depends_on,
    )


DATABASE, ORDERS = target("database"), target("orders", "database")
assert target_partition("database", PARTITIONS) != target_partition("orders", PARTITIONS)


@dataclass
class Flow:
    """The commands' processor and the health of each partition, over a log in memory."""

    log: MemoryLog = field(default_factory=MemoryLog)
    now_ms: int = BEGIN_MS
    appended: int = 0

    def __post_init__(self) -> None:
        self.commands = Cell(CommandsProcessor(points_partitions=PARTITIONS), 0, self.log)
        self.health = [Cell(PROCESSOR, number, self.log) for number in range(PARTITIONS)]

    def put(self, topic: str, partition: int, data: EventData, actor: str = "ann") -> None:
        self.appended += 1
        envelope = Envelope(f"test/{self.appended}", "test", self.now_ms, actor=actor)
        self.log.append(Entry(topic, partition, encode(Event(envelope, data))), self.now_ms)

    def command(self, data: EventData, actor: str = "ann") -> EventData:
        """The answer."""
        self.put(COMMANDS, 0, data, actor)
        self.run()
        return self.log.events(ALERTS)[-1]

    def check(self, name: str, cause: Cause = "ok", latency_ms: float | None = 20.0) -> None:
        made = HealthChecked(
            target=name, endpoint="", at_ms=self.now_ms, cause=cause, latency_ms=latency_ms
        )
        self.put(HEALTH_RESULTS, target_partition(name, PARTITIONS), made)
        self.run()

    def run(self) -> None:
        for cell in (self.commands, *self.health, *self.health):
            for entry in cell.run():
                self.log.append(entry, self.now_ms)

    def told(self) -> list[EventData]:
        return [
            event
            for number in range(PARTITIONS)
            for event in self.log.events(HEALTH_RESULTS, number)
        ]

    def turns(self, name: str) -> list[tuple[int, str, str]]:
        """(seconds, state after, suppressed by), without copies."""
        return [
            ((event.at_ms - BEGIN_MS) // 1000, event.after, event.suppressed_by)
            for event in self.told()
            if isinstance(event, HealthChanged) and event.target == name and not event.copy
        ]

    def samples(self, name: str) -> list[tuple[str, int, float]]:
        """(metric, seconds, value) of a server, each series from its own partition."""
        found = []
        for partition in range(PARTITIONS):
            for event in self.log.events(POINTS, partition):
                assert isinstance(event, MetricsCollected)
                batch = event.batch
                for row in range(len(batch)):
                    text = batch.labels[batch.series[row]]
                    assert series_partition(text, PARTITIONS) == partition
                    metric, labels = parse_series(text)
                    if labels == {"server": name}:
                        seconds = (int(batch.at_ms[row]) - BEGIN_MS) // 1000
                        found.append((metric, seconds, float(batch.value[row])))
        return sorted(found)


def test_a_target_is_registered_checked_and_measured() -> None:
    flow = Flow()
    assert flow.command(RegisterTarget(ORDERS)) == TargetRegistered(ORDERS)
    flow.check("orders")
    flow.now_ms += 10_000
    flow.check("orders", latency_ms=30.0)
    assert flow.turns("orders") == [(0, "healthy", "")]
    assert flow.samples("orders") == [
        ("mcp_server_health", 0, 1.0),
        ("mcp_server_health", 10, 1.0),
        ("mcp_server_response_seconds", 0, 0.02),
        ("mcp_server_response_seconds", 10, 0.03),
        ("mcp_server_uptime_ratio", 10, 1.0),
    ]


def test_an_unhealthy_target_measures_zero_and_an_unknown_one_nothing() -> None:
    flow = Flow()
    flow.command(RegisterTarget(DATABASE))
    for _ in range(3):
        flow.check("database", "refused", None)
        flow.now_ms += 10_000
    assert flow.turns("database") == [(10, "unhealthy", "")]
    assert [each for each in flow.samples("database") if each[0] == "mcp_server_health"] == [
        ("mcp_server_health", 10, 0.0),
        ("mcp_server_health", 20, 0.0),
    ]


def test_a_failed_dependency_in_another_partition_suppresses_what_follows_from_it() -> None:
    flow = Flow()
    flow.command(RegisterTarget(DATABASE))
    flow.command(RegisterTarget(ORDERS))
    for cause in ("ok", "refused", "refused", "refused", "refused", "ok"):
        flow.check("database", cause)  # type: ignore[arg-type]
        flow.now_ms += 1_000
        flow.check("orders", "ok" if flow.now_ms < BEGIN_MS + 15_000 else "status")
        flow.now_ms += 9_000
    assert flow.turns("database") == [
        (0, "healthy", ""),
        (20, "unhealthy", ""),
        (50, "healthy", ""),
    ]
    assert flow.turns("orders") == [(1, "healthy", ""), (31, "unhealthy", "database")]
    health = [each[1:] for each in flow.samples("orders") if each[0] == "mcp_server_health"]
    assert health == [(1, 1.0), (11, 1.0), (51, 0.0)]  # told at last: the database is well again


def test_who_depends_on_what_failed_before_hears_of_it() -> None:
    flow = Flow()
    flow.command(RegisterTarget(DATABASE))
    for _ in range(2):
        flow.check("database", "refused")
    flow.command(RegisterTarget(ORDERS))
    for _ in range(2):
        flow.check("orders", "status")
    assert flow.turns("orders") == [(0, "unhealthy", "database")]
    flow.command(RemoveTarget("database"))
    flow.check("orders", "status")
    assert ("mcp_server_health", 0, 0.0) in flow.samples("orders")


def test_without_checks_it_asks_for_a_tick_and_becomes_unknown() -> None:
    flow = Flow()
    flow.command(RegisterTarget(ORDERS))
    flow.check("orders")
    (cell,) = [each for each in flow.health if len(each.restored().state.targets)]
    due_ms = PROCESSOR.due_ms(cell.restored().state)
    assert due_ms == BEGIN_MS + 22_001
    flow.now_ms = due_ms
    flow.put(HEALTH_RESULTS, cell.partition, Ticked(due_ms))
    flow.run()
    assert flow.turns("orders")[-1] == (22, "unknown", "")
    assert PROCESSOR.due_ms(cell.restored().state) is None
    assert PROCESSOR.newest_tick_ms(cell.restored().state) == due_ms


def test_another_endpoint_is_another_target_and_other_settings_are_not() -> None:
    flow = Flow()
    flow.command(RegisterTarget(ORDERS))
    flow.check("orders")
    flow.command(RegisterTarget(target("orders")))
    assert flow.turns("orders") == [(0, "healthy", "")]
    flow.command(RegisterTarget(target("orders", endpoint="http://elsewhere.example.org")))
    assert flow.turns("orders")[-1] == (0, "unknown", "")


def test_what_was_asked_for_at_once_is_remembered() -> None:
    flow = Flow()
    for each in (DATABASE, ORDERS):
        flow.command(RegisterTarget(each))
    flow.now_ms += 5_000
    assert flow.command(RequestHealthCheck("")) == HealthCheckRequested("")
    asked = [
        watched.asked_ms
        for cell in flow.health
        for watched in cell.restored().state.targets.values()
    ]
    assert asked == [flow.now_ms, flow.now_ms]


def refusal(command: EventData, *before: EventData, actor: str = "ann") -> str:
    flow = Flow()
    for each in before:
        flow.command(each)
    answer = flow.command(command, actor)
    assert isinstance(answer, CommandRefused), answer
    return answer.reason


def test_what_is_no_target_is_refused_with_the_reason() -> None:
    assert "no target with the name orders" in refusal(RemoveTarget("orders"))
    assert "no target" in refusal(RequestHealthCheck("orders"))
    assert "host" in refusal(RegisterTarget(target("a", kind="tcp", endpoint="nowhere")))
    assert "password" in refusal(RegisterTarget(target("a", endpoint="http://u:p@a.org/")))
    assert "printable" in refusal(RegisterTarget(target("a\n")))
    assert "printable" in refusal(RegisterTarget(target("", endpoint="http://a.org/")))
    circle = target("database", "orders")
    assert "depends on itself" in refusal(RegisterTarget(circle), RegisterTarget(ORDERS))


def test_only_the_configuration_has_targets_that_are_processes() -> None:
    clock = target("clock", kind="mcp-stdio", endpoint="clock")
    assert "starts a process" in refusal(RegisterTarget(clock))
    assert Flow().command(RegisterTarget(clock), CONFIGURATION) == TargetRegistered(clock)


def test_there_are_at_most_a_thousand_targets() -> None:
    many = [RegisterTarget(target(f"t{number}")) for number in range(1_001)]
    flow = Flow()
    for each in many:
        flow.put(COMMANDS, 0, each)
    flow.run()
    answers = flow.log.events(ALERTS)
    assert [type(each) for each in answers[-2:]] == [TargetRegistered, CommandRefused]
    assert sum(len(cell.restored().state.targets) for cell in flow.health) == 1_000


DATA = st.one_of(
    st.builds(
        HealthChecked,
        target=st.sampled_from(["database", "orders", "stranger"]),
        endpoint=st.just(""),
        at_ms=st.integers(BEGIN_MS, BEGIN_MS + 90_000),
        cause=st.sampled_from(["ok", "ok", "refused"]),
        latency_ms=st.none() | st.floats(0, 100),
    ),
    st.builds(Ticked, st.integers(BEGIN_MS, BEGIN_MS + 120_000)),
    st.builds(TargetRegistered, st.sampled_from([DATABASE, ORDERS]), st.booleans()),
    st.builds(TargetRemoved, st.sampled_from(["database", "orders"]), st.booleans()),
    st.builds(
        HealthChanged,
        target=st.sampled_from(["database", "orders"]),
        before=st.just("unknown"),
        after=st.sampled_from(["healthy", "unhealthy"]),
        at_ms=st.just(BEGIN_MS),
        reason=st.just(""),
        copy=st.booleans(),
    ),
    st.builds(HealthCheckRequested, st.sampled_from(["", "orders"])),
    st.just(RemoveTarget("orders")),
)


@settings(max_examples=examples(100))
@given(st.lists(DATA, max_size=30), st.integers(1, 7), st.randoms(use_true_random=False))
def test_state_and_events_are_the_same_however_the_records_are_cut(
    history: list[EventData], size: int, dice: random.Random
) -> None:
    partition = target_partition("database", PARTITIONS)
    flow = Flow()
    for data in history:
        flow.put(HEALTH_RESULTS, partition, data)
        flow.now_ms += 1_000
    whole, cut, killed = (Cell(PROCESSOR, partition, flow.log) for _ in range(3))
    whole.run()
    cut.run(size)
    killed.run_interrupted(dice)
    assert whole.left() == cut.left() == killed.left()
    assert whole.restored() == cut.restored() == cut.tracked
    dead = [entry for entry in whole.entries if entry.topic == DEADLETTER]
    assert len(dead) == sum(isinstance(data, RemoveTarget) for data in history)
