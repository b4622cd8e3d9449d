"""An overview of a past time is the overview that was given then."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections.alert_queries import AlertQueries
from projections.health_queries import HealthQueries
from projections.overview_shapes import Moment, Overview
from projections.projector import Projector
from projections.query_overview import LOOKBACK_MS, OverviewQueries
from streams.domain.health import Health, checked, silent
from streams.events.alerting import State
from streams.events.batch import AT_MS_MAX
from streams.events.catalogue import EventData
from streams.events.health import (
    HealthChanged,
    HealthChecked,
    HealthFact,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from streams.events.rules import Rule, RuleCreated, RuleDeleted, RuleUpdated
from streams.events.topics import ALERTS, HEALTH_RESULTS
from streams.log.sqlite_log import SqliteLog
from streams.processors.health import UPTIME_RATIO
from tests.effort import examples
from tests.projections.alert_making import alert, fact, moved, rule
from tests.projections.making import BEGIN_MS, append_message, collect, open_log, text

Told = list[tuple[int, str, Any]]
"""Time, topic and what is told; or a time, a series and a value."""

MINUTE = 60_000
RANGE_MS = 40 * MINUTE
CPU = "system_cpu_usage"


def measured(at_ms: int, name: str, health: Health) -> Told:
    """The sample of a check, as the processor of health makes it."""
    series = text(UPTIME_RATIO, server=name)
    return [] if health.uptime is None else [(at_ms, series, health.uptime)]


@asynccontextmanager
async def overviews(folder: Path, told: Told) -> AsyncIterator[OverviewQueries]:
    """Over a log that holds exactly this."""
    folder.mkdir()
    log = open_log(folder)
    for at_ms, topic, data in told:
        tell(log, at_ms, topic, data)
    projector = Projector(log, folder / "metrics.duckdb")
    projector.start()
    await projector.wait_for({place: end - 1 for place, end in log.ends().items() if end}, 20.0)
    try:
        yield OverviewQueries(projector)
    finally:
        projector.stop(20.0)
        log.close()


def tell(log: SqliteLog, at_ms: int, topic: str, data: EventData | float) -> None:
    """A number is a sample of the series that stands for a topic."""
    if isinstance(data, float):
        collect(log, [(topic, at_ms, data)])
    else:
        append_message(log, fact(data, at_ms), topic=topic)


def then(queries: OverviewQueries, at_ms: int) -> Overview:
    return queries.overview(Moment(at_ms, at_ms - RANGE_MS, at_ms), [CPU], details=True)


def now(queries: OverviewQueries, at_ms: int) -> Overview:
    return queries.overview(Moment(at_ms, at_ms - RANGE_MS, AT_MS_MAX), [CPU], details=True)


class Course:
    """Rules that come, change, fire and go; targets that come, turn and go; at random."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._at_ms = BEGIN_MS
        self._rules: dict[str, Rule] = {}
        self._states: dict[tuple[str, str], tuple[State, int]] = {}
        self._targets: dict[str, tuple[Target, Health]] = {}
        self.told: Told = []

    def run(self, steps: int) -> Told:
        acts = (self._rule, self._move, self._move, self._target, self._check, self._check)
        for _ in range(steps):
            self._at_ms += self._dice.choice((1_000, 20_000, MINUTE, 3 * MINUTE))
            self._dice.choice(acts)()
            self.told.append((self._at_ms, text(CPU, host="a"), float(self._dice.randrange(100))))
        return self.told

    def _alerts(self, data: EventData) -> None:
        self.told.append((self._at_ms, ALERTS, data))

    def _rule(self) -> None:
        name = self._dice.choice("rst")
        before = self._rules.get(name)
        if before is None:
            self._rules[name] = rule(name)
            self._alerts(RuleCreated(self._rules[name]))
        elif self._dice.random() < 0.7:
            self._rules[name] = msgspec.structs.replace(
                before, version=before.version + 1, enabled=not before.enabled
            )
            self._alerts(RuleUpdated(self._rules[name], "updated"))
        else:
            for host in "ab":
                self._go(before, host, "inactive")
            del self._rules[name]
            self._alerts(RuleDeleted(before))

    def _move(self) -> None:
        if self._rules:
            after: State = self._dice.choice(("inactive", "pending", "firing", "no_data"))
            name = self._dice.choice(sorted(self._rules))
            self._go(self._rules[name], self._dice.choice("ab"), after)

    def _go(self, of: Rule, host: str, after: State) -> None:
        before, active_ms = self._states.get((of.id, host), ("inactive", 0))
        if before == after:
            return
        active_ms = self._at_ms if before == "inactive" else active_ms
        self._states[of.id, host] = (after, active_ms)
        value = float(self._dice.randrange(5))
        self._alerts(
            moved(alert(of, host, active_ms=active_ms, value=value), before, after, self._at_ms)
        )

    def _health(self, data: HealthFact) -> None:
        self._alerts(data)
        self.told.append((self._at_ms, HEALTH_RESULTS, data))

    def _target(self) -> None:
        name = self._dice.choice("xyz")
        if name not in self._targets:
            target = Target(name=name, kind="tcp", endpoint=f"{name}:1", successes=1, failures=2)
            self._targets[name] = (target, Health())
            self._health(TargetRegistered(target))
        elif self._dice.random() < 0.3:
            _, health = self._targets.pop(name)
            self._health(TargetRemoved(name))
            if health.state != "unknown":
                self._turn(name, health.state, "unknown", "the target was removed")

    def _check(self) -> None:
        for name, (target, health) in self._targets.items():
            if self._dice.random() < 0.2:
                continue
            cause = self._dice.choice(("ok", "ok", "refused"))
            check = HealthChecked(
                target=name, endpoint=target.endpoint, at_ms=self._at_ms, cause=cause
            )
            self.told.append((self._at_ms, HEALTH_RESULTS, check))
            after, turns = checked(target, health, check)
            self._targets[name] = (target, after)
            self.told += measured(self._at_ms, name, after)
            for turn in turns:
                self._turn(name, turn.before, turn.after, turn.reason)

    def _turn(self, name: str, before: Any, after: Any, reason: str) -> None:
        turn = HealthChanged(
            target=name, before=before, after=after, at_ms=self._at_ms, reason=reason
        )
        self.told.append((self._at_ms, HEALTH_RESULTS, turn))


@pytest.mark.parametrize("seed", range(examples(1)))
async def test_the_past_is_told_as_it_was_told_then(tmp_path: Path, seed: int) -> None:
    told = Course(seed).run(60)
    times = sorted({at_ms for at_ms, _, _ in told})
    async with overviews(tmp_path / "whole", told) as whole:
        for place in (5, len(times) // 2, len(times) - 1):
            at_ms = times[place]
            before = [each for each in told if each[0] <= at_ms]
            async with overviews(tmp_path / f"{place}", before) as part:
                was = now(part, at_ms)
            is_ = then(whole, at_ms)
            for name in ("targets", "rules", "firing", "points", "newest", "busiest", "newest_ms"):
                assert getattr(is_, name) == getattr(was, name), name
            assert was.began_ms in (None, is_.began_ms)


@pytest.mark.parametrize("seed", range(examples(1)))
async def test_now_is_what_the_tables_of_now_say(tmp_path: Path, seed: int) -> None:
    told = Course(seed).run(60)
    async with overviews(tmp_path / "log", told) as queries:
        found = now(queries, told[-1][0])
        projector = queries.projector
        alerts, health = AlertQueries(projector), HealthQueries(projector)
        rules = alerts.rules().rules
        assert [one.rule for one in found.rules] == [one.rule for one in rules]
        assert [one.triggered_ms for one in found.rules] == [one.triggered_ms for one in rules]
        assert [one.firing for one in found.rules] == [one.firing for one in rules]
        assert len(found.firing) == alerts.counts().firing
        targets = health.targets()
        assert [one.target for one in found.targets] == [one.target for one in targets]
        assert [one.last for one in found.targets] == [one.last for one in targets]
        for one, other in zip(found.targets, targets, strict=True):
            quiet = Health(state=other.state, checked_ms=other.last.at_ms if other.last else None)
            assert one.state == silent(one.target, quiet, told[-1][0])[0].state


async def test_the_uptime_counts_what_was_known(tmp_path: Path) -> None:
    target = Target(name="x", kind="tcp", endpoint="x:1", failures=1)
    health = Health()
    registered = TargetRegistered(target)
    told: Told = [(BEGIN_MS, ALERTS, registered), (BEGIN_MS, HEALTH_RESULTS, registered)]
    at_ms = BEGIN_MS
    # 20 minutes up, 10 down, 3 hours in which nobody looked, 10 up
    for cause, count, gap_ms in (("ok", 40, 0), ("refused", 20, 0), ("ok", 20, 180 * MINUTE)):
        at_ms += gap_ms
        for _ in range(count):
            at_ms += 30_000
            check = HealthChecked(target="x", endpoint="x:1", at_ms=at_ms, cause=cause)
            told.append((at_ms, HEALTH_RESULTS, check))
            health, turns = checked(target, health, check)
            told += measured(at_ms, "x", health)
            for turn in turns:
                changed = HealthChanged(
                    target="x", before=turn.before, after=turn.after, at_ms=at_ms, reason=""
                )
                told.append((at_ms, HEALTH_RESULTS, changed))
    async with overviews(tmp_path / "log", told) as queries:
        all_of_it = Moment(at_ms, BEGIN_MS - 1, AT_MS_MAX)
        [one] = queries.overview(all_of_it, [], details=True).targets
        assert (one.up_ms, one.known_ms) == (health.up_ms, health.known_ms)
        assert one.turns == 4
        [one] = then(queries, at_ms - 15 * MINUTE).targets
        assert one.state == "unknown", "it was not checked for hours then"
        [one] = queries.overview(Moment(at_ms, at_ms - 5 * MINUTE, at_ms), [], details=True).targets
        assert (one.up_ms, one.known_ms, one.turns) == (5 * MINUTE, 5 * MINUTE, 0)
        [quick] = queries.overview(all_of_it, [], details=False).targets
        assert (quick.up_ms, quick.known_ms, quick.state) == (0, 0, "healthy")


async def test_what_is_too_old_says_nothing_of_the_system(tmp_path: Path) -> None:
    async with overviews(tmp_path / "log", [(BEGIN_MS, text(CPU, host="a"), 50.0)]) as queries:
        [cpu] = now(queries, BEGIN_MS + LOOKBACK_MS).newest[CPU]
        assert (cpu.labels, cpu.value) == ({"host": "a"}, 50.0)
        late = now(queries, BEGIN_MS + LOOKBACK_MS + 1)
        assert late.newest == {CPU: ()}
        assert (late.points, late.began_ms) == (1, None)
