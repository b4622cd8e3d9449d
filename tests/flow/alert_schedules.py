"""Random schedules of what alerts are made of: commands, samples, checks, time, and who dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from hypothesis import strategies as st

from streams.domain.alert_routing import Escalation, Inhibition, Route, Routing
from streams.domain.targets import target_partition
from streams.events.catalogue import Envelope, Event, EventData, MetricsCollected
from streams.events.codec import encode
from streams.events.health import (
    HealthChecked,
    RegisterTarget,
    RemoveTarget,
    RequestHealthCheck,
    Target,
)
from streams.events.rules import (
    AcknowledgeAlert,
    CreateAlert,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Rule,
    Silence,
    UpdateAlert,
)
from streams.events.topics import COMMANDS, HEALTH_RESULTS, POINTS
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Message
from streams.processors.clock import tick_entries
from streams.processors.commands_targets import CONFIGURATION
from tests.flow.rule_flow import batches

PARTITIONS = 2
TICK_MS = 5_000
FAR_S = 60.0
HOSTS = ("a", "b", "c", "d", "e")
"""Their series lie in both partitions, as the targets do."""
RULES = {
    "busy": Rule(id="busy", version=1, name="Busy", condition="sum(load) > 20", severity="high"),
    "hot": Rule(id="hot", version=1, name="Hot", condition="load > 5", for_ms=10_000),
    "gone": Rule(id="gone", version=1, name="Gone", condition="load > 7", no_data="alert"),
    "sick": Rule(
        id="sick",
        version=1,
        name="Sick",
        condition="mcp_server_health == 0",
        keep_firing_for_ms=10_000,
        cooldown_ms=0,
    ),
    "all": Rule(id="all", version=1, name="all", condition="sum(load)", record="load:sum"),
    "bad": Rule(id="bad", version=1, name="Bad", condition="load * on() load > 0"),
}
TARGETS = {
    "shop": Target(name="shop", kind="http", endpoint="http://shop.example.org", failures=1),
    "web": Target(
        name="web",
        kind="http",
        endpoint="http://web.example.org",
        interval_ms=10_000,
        failures=2,
        depends_on=("shop",),
    ),
}
ROUTING = Routing(
    route=Route(
        receiver="ops",
        group_by=("alertname",),
        group_wait_ms=TICK_MS,
        group_interval_ms=2 * TICK_MS,
        repeat_interval_ms=6 * TICK_MS,
        routes=(Route(receiver="team", matchers=("severity=high",), go_on=True, group_wait_ms=0),),
        escalation=Escalation(4 * TICK_MS, "boss"),
    ),
    inhibitions=(Inhibition(source=("alertname=Busy",), target=("alertname=Hot",)),),
)

Told = tuple[str, str]
"""What is commanded, and of what."""


@dataclass(frozen=True)
class Round:
    """``samples``: host, value, ticks of delay. ``checks``: target, whether it went well.
    ``ticks``: how far the clock moves; more than two are an outage. ``crash``: which append of
    outputs from now on ends a worker, and whether it is done. ``settles``: everything is absorbed
    before the next round."""

    commands: tuple[Told, ...]
    samples: tuple[tuple[str, int, int], ...]
    checks: tuple[tuple[str, bool], ...]
    ticks: int
    fleet: Literal["", "joins", "leaves"]
    crash: tuple[int, bool] | None
    poison: bool
    settles: bool


_RULE_CHANGES = ("create", "create", "create", "update", "enable", "disable", "delete", "ack")
_COMMANDS: st.SearchStrategy[Told] = st.one_of(
    st.tuples(st.sampled_from(_RULE_CHANGES), st.sampled_from(sorted(RULES))),
    st.tuples(st.sampled_from(("silence", "expire")), st.sampled_from(("Hot", "Busy"))),
    st.tuples(
        st.sampled_from(("register", "register", "remove", "ask")), st.sampled_from(sorted(TARGETS))
    ),
)
ROUNDS = st.builds(
    Round,
    commands=st.lists(_COMMANDS, max_size=3).map(tuple),
    samples=st.lists(
        st.tuples(st.sampled_from(HOSTS), st.integers(0, 12), st.sampled_from((0, 0, 0, 1, 9))),
        max_size=8,
    ).map(tuple),
    checks=st.lists(st.tuples(st.sampled_from(sorted(TARGETS)), st.booleans()), max_size=3).map(
        tuple
    ),
    ticks=st.sampled_from((1, 1, 1, 1, 2, 4)),
    fleet=st.sampled_from(("", "", "", "joins", "leaves")),
    crash=st.none() | st.tuples(st.integers(1, 6), st.booleans()),
    poison=st.booleans(),
    settles=st.booleans(),
)
SCHEDULES = st.lists(ROUNDS, min_size=3, max_size=6)
BEGINNING = Round(
    commands=tuple(("create", name) for name in RULES)
    + tuple(("register", name) for name in TARGETS),
    samples=tuple((host, 9, 0) for host in HOSTS),
    checks=tuple((name, False) for name in TARGETS),
    ticks=1,
    fleet="",
    crash=None,
    poison=False,
    settles=True,
)
"""Before each schedule: without it most of them would have no rule that fires."""


@dataclass
class Inputs:
    """What comes from outside, at the schedule's own time."""

    log: KafkaLog
    now_ms: int
    numbers: Iterator[int] = field(default_factory=count)

    def put(self, one: Round) -> None:
        """All of a round but its tick."""
        for kind, name in one.commands:
            actor = CONFIGURATION if kind == "register" else "ann"
            self._append(COMMANDS, 0, self._command(kind, name), actor)
        if one.poison:
            poison = Message({"ce_type": "metrics.collected.v1"}, b"no batch")
            self._send(Entry(POINTS, 0, poison))
            self._send(Entry(COMMANDS, 0, poison))
        rows = [
            ("load", {"host": host}, self.now_ms - delay * TICK_MS - 1, float(value))
            for host, value, delay in one.samples
        ]
        for partition, batch in batches(rows, PARTITIONS).items():
            self._append(POINTS, partition, MetricsCollected(batch))
        for name, is_well in one.checks:
            check = HealthChecked(
                target=name,
                endpoint="",
                at_ms=self.now_ms,
                cause="ok" if is_well else "refused",
                latency_ms=20.0 if is_well else None,
            )
            self._append(HEALTH_RESULTS, target_partition(name, PARTITIONS), check)

    def tick(self, ticks: int) -> None:
        """The clock moves, and every partition of the points hears of it."""
        self.now_ms += ticks * TICK_MS
        for entry in tick_entries(PARTITIONS, self.now_ms):
            self._send(entry)

    def _command(self, kind: str, name: str) -> EventData:
        match kind:
            case "create":
                return CreateAlert(RULES[name])
            case "update":
                return UpdateAlert(RULES[name])
            case "enable":
                return EnableAlert(name)
            case "disable":
                return DisableAlert(name)
            case "delete":
                return DeleteAlert(name)
            case "ack":
                return AcknowledgeAlert(name)
            case "silence":
                matchers, ends_ms = (f"alertname={name}",), self.now_ms + 3 * TICK_MS
                return CreateSilence(
                    Silence(id=name, matchers=matchers, starts_ms=self.now_ms, ends_ms=ends_ms)
                )
            case "expire":
                return ExpireSilence(name)
            case "register":
                return RegisterTarget(TARGETS[name])
            case "remove":
                return RemoveTarget(name)
            case _:
                return RequestHealthCheck(name)

    def _append(self, topic: str, partition: int, data: EventData, actor: str = "") -> None:
        envelope = Envelope(f"in/{next(self.numbers)}", "test", self.now_ms, actor=actor)
        self._send(Entry(topic, partition, encode(Event(envelope, data))))

    def _send(self, entry: Entry) -> None:
        self.log.submit(Append((entry,))).result(FAR_S)
