"""Heartbeats: whoever is watched tells of itself; the probe tells of silence."""

from __future__ import annotations

from collections.abc import Callable

from streams.events.health import Target
from streams.log.wall_clock import wall_clock_ms
from streams.probes.finding import Finding

LastBeat = Callable[[str], int | None]
"""When the heartbeat of that name last came, in Unix milliseconds; None: it never did."""


class HeartbeatProbe:
    """``silent`` where no heartbeat came for the target's interval, counted from when this probe
    first looked: what came while nobody listened is not held against it."""

    def __init__(self, last_beat_ms: LastBeat, clock: Callable[[], int] = wall_clock_ms) -> None:
        self._last_beat_ms = last_beat_ms
        self._clock = clock
        self._first_look_ms: dict[str, int] = {}

    def look(self, target: Target) -> Finding:
        """``ok`` or ``silent``; nothing is asked."""
        now_ms = self._clock()
        first_ms = self._first_look_ms.setdefault(target.name, now_ms)
        beat_ms = self._last_beat_ms(target.name)
        since_ms = first_ms if beat_ms is None else max(first_ms, beat_ms)
        if now_ms - since_ms < target.interval_ms:
            return Finding(cause="ok")
        heard = "never came" if beat_ms is None else f"came last {(now_ms - beat_ms) // 1000} s ago"
        return Finding(
            cause="silent",
            reason=f"the heartbeat {heard}; it is due every {target.interval_ms / 1000:g} s",
        )

    def forget(self, name: str) -> None:
        """That target is gone."""
        self._first_look_ms.pop(name, None)

    def close(self) -> None:
        """Forgets all."""
        self._first_look_ms.clear()
