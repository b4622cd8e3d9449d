"""Random histories of alerts: replayed, cut and interrupted, they tell the same."""

from __future__ import annotations

import random

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streams.domain.alert_routing import Escalation, Inhibition, Route, Routing
from streams.events.catalogue import EventData
from streams.events.rules import (
    AlertAcknowledged,
    Recurrence,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    SilenceExpired,
)
from streams.events.rules import TestRequested as AskedToTest
from streams.processors.notify import NotifyProcessor
from streams.processors.notify_state import NotifyState
from streams.processors.seam import Tracked, advance, restore
from tests.flow.notify_rig import Rig, fired, resolved, rule, silence

NO_SHRINKING = settings(phases=[Phase.explicit, Phase.generate], max_examples=25)
"""A smaller seed is no smaller example."""

NAMES = ("a", "b", "c", "d")
RULES = ("disk", "cpu")
RANDOM_ROUTING = Routing(
    route=Route(
        receiver="ops",
        group_wait_ms=10_000,
        group_interval_ms=60_000,
        repeat_interval_ms=200_000,
        routes=(
            Route(
                receiver="team",
                matchers=("series=~a|b",),
                go_on=True,
                group_by=("...",),
                group_wait_ms=0,
                group_interval_ms=30_000,
                repeat_interval_ms=100_000,
                escalation=Escalation(70_000, "boss"),
            ),
            Route(receiver="ops", mute=("early",), group_by=("series",)),
        ),
    ),
    inhibitions=(Inhibition(source=("alertname=Disk",), target=("alertname=Cpu",)),),
    times={"early": Recurrence(weekdays=(5,), at="00:00", minutes=3)},
    alerts_max=2,
)


def _anything(dice: random.Random) -> EventData:
    name, of = dice.choice(NAMES), dice.choice(RULES)
    made = rule(of, cooldown_ms=dice.choice([0, 90_000]), notify=dice.choice([(), ("boss",)]))
    return dice.choice(
        [
            fired(f"{of}-{name}", of, series=name),
            fired(f"{of}-{name}", of, series=name),
            resolved(f"{of}-{name}", of, series=name),
            RuleCreated(made),
            RuleUpdated(msgspec.structs.replace(made, enabled=False), "disabled"),
            RuleUpdated(made, "enabled"),
            RuleDeleted(made),
            silence(f"s-{name}", f"series={name}", until_m=dice.randint(1, 9)),
            SilenceExpired(f"s-{name}"),
            AlertAcknowledged(of, dice.choice(["", f"{of}-{name}"]), ""),
            AskedToTest(made),
        ]
    )


def _history(seed: int, routing: Routing = RANDOM_ROUTING) -> Rig:
    dice = random.Random(seed)
    rig = Rig(routing, records_max=dice.choice([1, 3, 64]))
    for _ in range(40):
        for _ in range(dice.choice([1, 1, 4])):
            rig.happens(_anything(dice))
        rig.wait(dice.choice(["0", "1s", "20s", "45s", "2m"]))
        if dice.random() < 0.1:
            rig.restart()
    rig.wait("10m")
    return rig


@NO_SHRINKING
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 50))
def test_a_replay_gives_the_same_however_it_is_cut_and_interrupted(seed: int, cut: int) -> None:
    rig = _history(seed)
    made = [record for record in rig.topic if record.headers["ce_source"] == "processor/notify"]
    processor = NotifyProcessor(RANDOM_ROUTING)
    table: dict[str, bytes] = {}
    replayed: list[tuple[dict[str, str], bytes]] = []
    for begin in range(0, len(rig.topic), cut):
        tracked: Tracked[NotifyState] = restore(processor, table, rig.read_back)
        records = rig.topic[begin : begin + cut]
        tracked, changes, entries = advance(processor, 0, tracked, records)
        table = {k: v for k, v in {**table, **changes}.items() if v is not None}
        replayed += [(dict(entry.message.headers), entry.message.body) for entry in entries]
    assert replayed == [(dict(record.headers), record.body) for record in made]
    assert table == rig.table


@NO_SHRINKING
@given(seed=st.integers(0, 2**32))
def test_an_end_is_told_only_after_a_start_and_to_the_same_receiver(seed: int) -> None:
    known: set[tuple[str, str, str]] = set()
    whole = msgspec.structs.replace(RANDOM_ROUTING, alerts_max=1_000)
    for request in _history(seed, whole).requests():
        for each in request.alerts if request.status != "test" else ():
            who = (request.receiver, str(sorted(request.group.items())), each["fingerprint"])
            if each["status"] == "resolved":
                assert who in known
                known.remove(who)
            else:
                known.add(who)
