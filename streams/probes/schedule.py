"""When each target is due: pure, time is an argument."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from streams.events.health import Target


def next_due_ms(name: str, interval_ms: int, after_ms: int) -> int:
    """The first time after ``after_ms`` that is ``crc32(name)`` modulo the interval.

    So targets that began together are spread over the interval, and a target keeps its times
    whoever looks at it.

    >>> next_due_ms("api", 30_000, 0) == next_due_ms("api", 30_000, 60_000) - 60_000
    True
    """
    phase_ms = zlib.crc32(name.encode()) % interval_ms
    return after_ms + 1 + (phase_ms - after_ms - 1) % interval_ms


class Schedule:
    """The next time of each target. Times that were missed, as in a machine's sleep, are one."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, Target]] = {}
        self._asked: set[str] = set()

    def due(self, now_ms: int, targets: Mapping[str, Target]) -> list[Target]:
        """What is due by now, each once, the most overdue first. A target that is new or another
        one now starts at its next time; one that is no more in ``targets`` is dropped."""
        due: list[tuple[int, Target]] = []
        known, asked = self._due, self._asked
        self._due, self._asked = {}, set()
        for name, target in targets.items():
            at_ms, before = known.get(name, (0, None))
            # A clock that was set back would else let a target wait for longer than its interval.
            if before != target or at_ms > now_ms + target.interval_ms:
                at_ms = next_due_ms(name, target.interval_ms, now_ms - 1)
            if not asked.isdisjoint(("", name)):
                at_ms = 0
            if at_ms <= now_ms:
                due.append((at_ms, target))
                at_ms = next_due_ms(name, target.interval_ms, now_ms)
            self._due[name] = (at_ms, target)
        return [target for _, target in sorted(due, key=lambda each: each[0])]

    def ask(self, name: str) -> None:
        """That target, "" for all, is due at once, one that comes only now, too; unknown names are
        no matter."""
        self._asked.add(name)

    def next_ms(self) -> int | None:
        """When something is due next; None where there is nothing."""
        return min((at_ms for at_ms, _ in self._due.values()), default=None)
