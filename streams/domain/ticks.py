"""When the clock's next barrier is due."""

from __future__ import annotations


def due_tick(last_ms: int | None, now_ms: int, size_ms: int) -> int | None:
    """The newest aligned time not after ``now_ms``, or None while it is not above ``last_ms``.

    Ticks are aligned to the epoch, so two clocks make the same ones. Missed ticks are not made up
    for: a gap of more than two intervals between neighbours is how an outage shows in the log.

    >>> due_tick(None, 12_345, 5_000)
    10000
    >>> due_tick(10_000, 14_999, 5_000) is None
    True
    >>> due_tick(10_000, 61_000, 5_000)
    60000
    """
    newest = now_ms // size_ms * size_ms
    return newest if last_ms is None or newest > last_ms else None


def until_next_tick_ms(now_ms: int, size_ms: int) -> int:
    """How long after ``now_ms`` the next aligned time is; never 0.

    >>> until_next_tick_ms(12_345, 5_000), until_next_tick_ms(15_000, 5_000)
    (2655, 5000)
    """
    return size_ms - now_ms % size_ms
