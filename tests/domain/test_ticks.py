"""When ticks are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.domain.ticks import due_tick, until_next_tick_ms

TIMES = st.integers(min_value=0, max_value=2**45)
SIZES = st.integers(min_value=1, max_value=86_400_000)


@given(now_ms=TIMES, size_ms=SIZES)
def test_the_first_tick_is_the_newest_aligned_time(now_ms: int, size_ms: int) -> None:
    tick = due_tick(None, now_ms, size_ms)
    assert tick is not None
    assert tick % size_ms == 0
    assert tick <= now_ms < tick + size_ms


@given(last_ms=TIMES, now_ms=TIMES, size_ms=SIZES)
def test_a_tick_is_above_the_last_one_or_not_due(last_ms: int, now_ms: int, size_ms: int) -> None:
    tick = due_tick(last_ms, now_ms, size_ms)
    assert tick is None or tick > last_ms


@given(now_ms=TIMES, size_ms=SIZES)
def test_the_wait_ends_when_the_next_tick_is_due_and_not_before(now_ms: int, size_ms: int) -> None:
    last = due_tick(None, now_ms, size_ms)
    wait_ms = until_next_tick_ms(now_ms, size_ms)
    assert due_tick(last, now_ms + wait_ms - 1, size_ms) is None
    assert due_tick(last, now_ms + wait_ms, size_ms) == now_ms + wait_ms


def test_after_an_outage_only_the_newest_tick_is_due_and_the_gap_stays_visible() -> None:
    assert due_tick(5_000, 61_000, 5_000) == 60_000
