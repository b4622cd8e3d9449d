"""The state machine of a target's health, as timetables: a check each ten seconds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.health import Health, Turn, checked, silent, silent_at_ms
from streams.events.health import Cause, HealthChecked, Target
from tests.effort import examples

BEGIN_MS = 1_700_000_000_000
EVERY_MS = 10_000
TARGET = Target(
    name="api", kind="http", endpoint="http://api", interval_ms=EVERY_MS, timeout_ms=2_000
)
LETTER = {"unknown": "?", "healthy": "+", "degraded": "~", "unhealthy": "-"}


def check(at_ms: int, *, cause: Cause = "ok", latency_ms: float | None = 20.0) -> HealthChecked:
    return HealthChecked(
        target="api", endpoint="http://api", at_ms=at_ms, cause=cause, latency_ms=latency_ms
    )


def after(target: Target, script: str) -> tuple[str, Health, list[Turn]]:
    """The states after each check: ``.`` is a good one, ``s`` a slow one, ``x`` a failure, ``_``
    one that nobody made."""
    health, turns, states = Health(), [], ""
    for number, letter in enumerate(script):
        at_ms = BEGIN_MS + number * EVERY_MS
        if letter == "_":
            health, turn = silent(target, health, at_ms)
            turns += [turn] if turn else []
        else:
            made = check(
                at_ms,
                cause="refused" if letter == "x" else "ok",
                latency_ms=900.0 if letter == "s" else 20.0,
            )
            health, more = checked(target, health, made)
            turns += more
        states += LETTER[health.state]
    return states, health, turns


@pytest.mark.parametrize(
    ("script", "states"),
    [
        (".....", "+++++"),
        ("xxx..", "??-++"),
        ("..xx.", "+++++"),
        ("..xxx", "++++-"),
        ("x.x.x", "?++++"),
        ("xxx___.", "??---?+"),
        (".__x", "+++?"),
        (".____xxx", "+++????-"),
    ],
)
def test_as_many_failures_in_a_row_as_the_threshold_says_turn_it(script: str, states: str) -> None:
    assert after(TARGET, script)[0] == states


def test_it_takes_as_many_good_checks_to_recover() -> None:
    target = msgspec.structs.replace(TARGET, failures=1, successes=2)
    assert after(target, "x.x..x")[0] == "----+-"


def test_slow_answers_degrade_it_and_quick_ones_mend_it() -> None:
    target = msgspec.structs.replace(TARGET, degraded_ms=500, failures=2, successes=2)
    assert after(target, "..ss.s..xx.s")[0] == "?++~~~~++--~"


def test_a_default_target_that_never_answered_is_unknown_and_later_as_any_other() -> None:
    target = msgspec.structs.replace(TARGET, is_default=True)
    assert after(target, "xxxxxx")[0] == "??????"
    assert after(target, "xxxx.xxx")[0] == "????+++-"
    assert after(target, ".____xxx")[0] == "+++????-"


def test_the_time_in_which_nobody_checked_is_unknown_and_no_uptime() -> None:
    states, health, turns = after(TARGET, "..______..")
    assert states == "++++????++"
    assert [(turn.before, turn.after) for turn in turns] == [
        ("unknown", "healthy"),
        ("healthy", "unknown"),
        ("unknown", "healthy"),
    ]
    assert (health.up_ms, health.known_ms) == (2 * EVERY_MS, 2 * EVERY_MS)


def test_a_check_after_a_gap_tells_of_the_gap_first() -> None:
    health, _ = checked(TARGET, Health(), check(BEGIN_MS))
    due_ms = silent_at_ms(TARGET, health)
    assert due_ms == BEGIN_MS + 22_001
    _, turns = checked(TARGET, health, check(due_ms))
    assert [turn.after for turn in turns] == ["unknown", "healthy"]
    assert "not checked for 22 s" in turns[0].reason
    _, turns = checked(TARGET, health, check(due_ms - 1))
    assert turns == []


def test_uptime_is_the_share_of_the_known_time() -> None:
    target = msgspec.structs.replace(TARGET, failures=1)
    assert after(target, "...x.")[1].uptime == 0.75


def test_the_reason_says_what_failed_in_what_utf8_can_write() -> None:
    target = msgspec.structs.replace(TARGET, failures=2)
    health, _ = checked(target, Health(), check(BEGIN_MS, cause="timeout"))
    made = HealthChecked(
        target="api", endpoint="", at_ms=BEGIN_MS, cause="protocol", reason="\ud800 no version"
    )
    _, (turn,) = checked(target, health, made)
    assert turn.reason == "the last 2 checks failed: ? no version"


@settings(max_examples=examples(200))
@given(st.text(".sx_", max_size=40), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_whatever_comes_the_turns_chain_and_unknown_is_left_by_a_check_only(
    script: str, failures: int, successes: int, is_default: bool
) -> None:
    target = msgspec.structs.replace(
        TARGET, failures=failures, successes=successes, degraded_ms=500, is_default=is_default
    )
    states, health, turns = after(target, script)
    now = "unknown"
    for turn in turns:
        assert turn.before == now != turn.after
        now = turn.after
    assert now == health.state
    assert 0 <= health.up_ms <= health.known_ms
    if is_default and not set(script) & set(".s"):
        assert set(states) <= {"?"}
