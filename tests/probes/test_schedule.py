"""When targets are due, on a manual clock."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.events.health import Target
from streams.probes.schedule import Schedule, next_due_ms

INTERVAL_MS = 30_000


def target(name: str, **more: object) -> Target:
    return Target(name=name, kind="tcp", endpoint="a:1", interval_ms=INTERVAL_MS, **more)  # type: ignore[arg-type]


def times(schedule: Schedule, targets: dict[str, Target], moments: range) -> list[int]:
    return [now_ms for now_ms in moments if schedule.due(now_ms, targets)]


def test_a_target_is_due_once_in_each_interval() -> None:
    due = times(Schedule(), {"a": target("a")}, range(0, 10 * INTERVAL_MS, 100))
    assert len(due) == 10
    assert {after - before for before, after in itertools.pairwise(due)} == {INTERVAL_MS}


def test_two_hundred_targets_that_begin_together_are_spread_over_the_interval() -> None:
    targets = {f"t{n}": target(f"t{n}") for n in range(200)}
    schedule = Schedule()
    counts = [len(schedule.due(now_ms, targets)) for now_ms in range(0, INTERVAL_MS, 1_000)]
    assert 195 <= sum(counts) <= 200
    assert max(counts) < 20


def test_a_target_that_moves_to_another_process_keeps_its_times() -> None:
    here, there = Schedule(), Schedule()
    before = times(here, {"a": target("a")}, range(0, 3 * INTERVAL_MS, 100))
    after = times(there, {"a": target("a")}, range(3 * INTERVAL_MS, 6 * INTERVAL_MS, 100))
    assert after == [at_ms + 3 * INTERVAL_MS for at_ms in before]


def test_times_that_were_slept_through_are_one() -> None:
    schedule, targets = Schedule(), {"a": target("a")}
    schedule.due(0, targets)
    assert len(schedule.due(100 * INTERVAL_MS, targets)) == 1
    assert schedule.due(100 * INTERVAL_MS + 1, targets) == []


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    schedule, targets = Schedule(), {"a": target("a")}
    schedule.due(1_000 * INTERVAL_MS, targets)
    assert len(times(schedule, targets, range(0, INTERVAL_MS, 100))) == 1


def test_a_target_that_is_asked_for_is_due_at_once_and_again_at_its_time() -> None:
    schedule, targets = Schedule(), {"a": target("a"), "b": target("b")}
    schedule.due(0, targets)
    schedule.ask("a")
    assert [each.name for each in schedule.due(1, targets)] == ["a"]
    assert schedule.due(2, targets) == []
    schedule.ask("")
    assert len(schedule.due(3, targets)) == 2


def test_a_target_that_is_asked_for_before_it_comes_is_due_when_it_comes() -> None:
    schedule = Schedule()
    schedule.ask("a")
    assert [each.name for each in schedule.due(1, {"a": target("a"), "b": target("b")})] == ["a"]
    schedule.ask("c")
    assert schedule.due(2, {"a": target("a")}) == []
    assert schedule.due(3, {"a": target("a"), "c": target("c")}) == []


def test_a_removed_target_is_not_due() -> None:
    schedule = Schedule()
    schedule.due(0, {"a": target("a")})
    assert schedule.due(INTERVAL_MS, {}) == []
    assert schedule.next_ms() is None


@given(st.text(max_size=30), st.integers(100, 86_400_000), st.integers(0, 2**42))
def test_the_next_time_comes_within_one_interval(name: str, interval_ms: int, now_ms: int) -> None:
    next_ms = next_due_ms(name, interval_ms, now_ms)
    assert now_ms < next_ms <= now_ms + interval_ms
    assert next_due_ms(name, interval_ms, next_ms) == next_ms + interval_ms
