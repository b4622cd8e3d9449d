"""How busy all processors were since the last reading, whichever thread reads.

``psutil.cpu_percent`` keeps one earlier reading a thread, so in a pool of threads it answers 0 or
reaches back to whenever that thread read last.
"""

from __future__ import annotations

import threading

import psutil


class CpuUsage:
    """The measurement begins when it is made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total, self._idle = _times()
        self._percent = 0.0

    def percent(self) -> float:
        """0 to 100 since the last call; within one tick of the system's clock the last answer."""
        with self._lock:
            total, idle = _times()
            if total > self._total:
                idle_part = (idle - self._idle) / (total - self._total)
                self._percent = round(100 * min(1.0, max(0.0, 1 - idle_part)), 1)
                self._total, self._idle = total, idle
            return self._percent


def _times() -> tuple[float, float]:
    times = psutil.cpu_times()
    # Linux counts a guest's time in user time as well.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - guests, times.idle + getattr(times, "iowait", 0.0)
