"""A backtest is what evaluating a rule at each tick alone would have been."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.backtest_block import LIMITS
from projections.backtest_course import Course
from projections.backtest_report import Backtest
from projections.backtest_tally import Tally
from streams.domain.alert_memory import Alerts
from streams.domain.alert_routing import Route, Routing
from streams.domain.alert_states import Move, evaluated
from streams.domain.rule_reading import compiled, reading, values_at
from streams.errors import QueryError
from streams.events.rules import NoData, Rule
from streams.promql.engine import never
from streams.promql.matchers import Matcher
from streams.promql.source import MemorySource, Selected, SeriesSource
from tests.effort import examples
from tests.promql.differential_data import BEGIN_MS, series
from tests.promql.expressions import Expressions
from tests.promql.timelines import labels_of

DATA = MemorySource(series())
EVERY_MS = 10_000
TELLING = Routing(route=Route(receiver="ops", group_wait_ms=0, group_interval_ms=60_000))
CONDITIONS = (
    "temperature > 21",
    "flaky > 0",
    'level{job="api"} == 3',
    "rate(requests_total[1m]) * 60 > 1000",
    "temperature > 20 unless on (job, instance) level == 1",
    "absent(flaky > 60)",
    "avg by (job) (flaky) > 0 or max by (job) (level) > 2",
    "temperature > temperature @ start()",
    "level offset -1m > 2",
    # two metrics that become one where both are there: some ticks fail
    'rate({__name__=~"flaky|level", instance="0"}[1m]) > 0',
    "level > on (job) group_left () (target * 2)",
    'min_over_time(temperature[2m:10s]) > 17 or absent_over_time(gone{job="q"}[5m]) < 0',
)


@dataclass
class Until:
    """A source as it was at a time."""

    source: SeriesSource
    now_ms: int

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        return self.source.select(matchers, start_ms, min(end_ms, self.now_ms), samples_max)


def opened(source: SeriesSource) -> AbstractContextManager[SeriesSource]:
    return nullcontext(source)


def backtest(
    rule: Rule, source: SeriesSource, at_ms: Sequence[int], routing: Routing = TELLING
) -> Backtest:
    course = Course(rule, np.array(at_ms, dtype=np.int64), routing, ())
    course.run(partial(opened, source), lambda share: None, never)
    return course.result((at_ms[0], at_ms[-1]), ())


def tick_by_tick(
    rule: Rule, source: SeriesSource, at_ms: Sequence[int]
) -> tuple[list[Move], list[str]]:
    """Transitions and failures, as they are made live."""
    parsed = compiled(rule)
    alerts, moves, failures = Alerts(), list[Move](), list[str]()
    for now_ms in at_ms:
        until = Until(source, now_ms)
        try:
            active = values_at(parsed.condition, until, now_ms)
            alerts, told = evaluated(rule, alerts, now_ms, reading(parsed, active, until, now_ms))
        except QueryError as error:
            failures.append(str(error))
        else:
            moves += told
    return moves, failures


def assert_agrees(rule: Rule, source: SeriesSource, at_ms: Sequence[int]) -> Backtest:
    moves, failures = tick_by_tick(rule, source, at_ms)
    tally = Tally(rule.name)
    for move in moves:
        tally.take(move)
    kept, _ = tally.result(at_ms[-1])
    found = backtest(rule, source, at_ms)
    assert found.kept == kept
    for field in ("series", "firings", "firing_ms", "longest_ms", "flaps"):
        assert getattr(found, field) == getattr(tally, field), field
    for field in ("nearly", "no_data", "exceeded"):
        assert getattr(found, field) == getattr(tally, field), field
    assert found.failed == len(failures)
    assert found.problem == (failures[0] if failures else "")
    return found


SPANS_MS = st.sampled_from([0, 0, 10_000, 30_000, 45_000])


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    condition = draw(st.sampled_from(CONDITIONS))
    if draw(st.booleans()):
        condition = (
            f"({Expressions(draw(st.integers(0, 2**32))).one()}) > {draw(st.integers(0, 9))}"
        )
    no_data: NoData = draw(st.sampled_from(["keep", "ok", "alert"]))
    return Rule(
        id="r",
        version=draw(st.integers(1, 3)),
        name="R",
        condition=condition,
        for_ms=draw(SPANS_MS),
        keep_firing_for_ms=draw(SPANS_MS),
        no_data=no_data,
        clear_condition=draw(st.sampled_from(["", "", "temperature < 20", "level < 2"])),
        series_max=draw(st.sampled_from([1_000, 1_000, 2])),
    )


@settings(max_examples=examples(60))
@given(rules(), st.integers(0, 30), st.sampled_from([5_000, 7_000, 15_000]))
def test_it_is_what_each_tick_alone_would_have_been(
    rule: Rule, minutes: int, every_ms: int
) -> None:
    start_ms = (BEGIN_MS + minutes * 60_000) // every_ms * every_ms
    at_ms = range(start_ms, start_ms + 300 * every_ms, every_ms)
    try:
        compiled(rule)
    except QueryError:
        return
    assert_agrees(rule, DATA, at_ms)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_way_to_write_a_condition(condition: str) -> None:
    rule = Rule(id="r", version=1, name="R", condition=condition, for_ms=20_000)
    at_ms = range(BEGIN_MS, BEGIN_MS + 300 * EVERY_MS, EVERY_MS)
    assert_agrees(rule, DATA, at_ms)


@dataclass
class Counting:
    """A source that notes how much it gave."""

    source: SeriesSource
    samples: list[int]

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        found = self.source.select(matchers, start_ms, end_ms, samples_max)
        if found is not None:
            self.samples.append(len(found.at_ms))
        return found


def test_many_samples_are_read_in_blocks_and_each_only_once() -> None:
    count = 16_000
    at_ms = np.arange(count, dtype=np.int64) * 1_000
    value = np.where(np.arange(count) // 4_000 == 2, 90.0, 10.0)
    source = Counting(
        MemorySource({labels_of("load", host=f"{n}"): (at_ms, value) for n in range(200)}), []
    )
    rule = Rule(id="r", version=1, name="R", condition="load > 80")
    found = backtest(rule, source, range(300_000, count * 1_000, 60_000), Routing())
    assert (found.firings, found.series) == (200, 200)
    assert {(one.fired_ms, one.ended_ms) for one in found.kept} == {(8_040_000, 12_000_000)}
    assert max(source.samples) <= LIMITS.part_max
    assert sum(source.samples) < 1.5 * 200 * count
