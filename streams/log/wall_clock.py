"""The wall clock, read in one place so that tests can pass another."""

from __future__ import annotations

import time


def wall_clock_ms() -> int:
    """Unix milliseconds; it may jump, so nothing relies on it to rise."""
    return time.time_ns() // 1_000_000
