"""The committed ends of all partitions, and waking those who wait for them to move."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from streams.errors import LogError
from streams.log.sleepers import Sleepers

Ends = Mapping[tuple[str, int], int]


class CommittedEnds:
    """Thread-safe. An end is the offset that the next record will get; it never falls."""

    def __init__(self, ends: Ends) -> None:
        self._now: Ends = MappingProxyType(dict(ends))
        self._moved = threading.Condition()
        self._sleepers = Sleepers()
        self._closed = False
        self._error: LogError | None = None

    @property
    def now(self) -> Ends:
        """A snapshot; the next commit replaces it."""
        return self._now

    def is_closed(self) -> bool:
        return self._closed

    def advance(self, ends: Ends) -> None:
        """Raises the ends of some partitions and wakes everybody if any moved."""
        with self._moved:
            moved = {where: end for where, end in ends.items() if end > self._now[where]}
            if moved:
                self._now = MappingProxyType({**self._now, **moved})
                self._wake()

    def fail(self, error: LogError) -> None:
        """The ends can no longer be read: whoever waits gets this error."""
        with self._moved:
            self._error = error
            self._wake()

    def close(self) -> None:
        """Nothing will come any more: waiting ends."""
        with self._moved:
            self._closed = True
            self._wake()

    def wait_for(self, wanted: Ends, timeout_s: float) -> bool:
        """Until any end is above the one given; False at the time-out or when closed."""

        def over() -> bool:
            return self._closed or self._error is not None or self._passed(wanted)

        with self._moved:
            self._moved.wait_for(over, timeout_s)
            if self._error is not None:
                raise self._error
            return self._passed(wanted)

    def waking(self) -> AbstractContextManager[asyncio.Event]:
        """An event of the running loop, set whenever something moved."""
        return self._sleepers.waking()

    def raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _passed(self, wanted: Ends) -> bool:
        return any(self._now[where] > offset for where, offset in wanted.items())

    def _wake(self) -> None:
        self._moved.notify_all()
        self._sleepers.wake()
