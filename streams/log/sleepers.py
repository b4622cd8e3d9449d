"""`Sleepers`: coroutines that wait for a thread to tell that something changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Sleepers:
    """Thread-safe. Who clears its event, looks, and then waits for it misses nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @contextmanager
    def waking(self) -> Iterator[asyncio.Event]:
        """An event of the running loop, set by every `wake` until the context ends."""
        event = asyncio.Event()
        with self._lock:
            self._events[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                self._events.pop(event, None)

    def wake(self) -> None:
        """Sets the events of all who wait; from any thread, and waits for nobody."""
        if not self._events:
            return
        with self._lock:
            for event, loop in list(self._events.items()):
                if event.is_set():
                    continue
                try:
                    loop.call_soon_threadsafe(event.set)
                except RuntimeError:  # the loop was closed with its sleeper still there
                    del self._events[event]


async def woken(event: asyncio.Event, timeout_s: float) -> None:
    """Returns when the event is set, and after ``timeout_s`` at the latest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
