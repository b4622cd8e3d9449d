"""Producers that run by the clock: at once, then every so often, whatever happens to one round."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from streams.errors import LogError, Overloaded

_LOGGER = logging.getLogger(__name__)


async def every(
    interval_s: float, round_once: Callable[[], Awaitable[None]], *, name: str, stop: asyncio.Event
) -> None:
    """Runs rounds until ``stop`` is set. Rounds that a slow one has missed are left out.

    What the log refuses (`Overloaded`, `LogError`) costs that round and is told as a warning.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not stop.is_set():
        try:
            await round_once()
        except (Overloaded, LogError) as error:
            _LOGGER.warning("%s: a round was lost: %s", name, error)
        due = max(due + interval_s, loop.time())
        await stopped_within(stop, due - loop.time())


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Waits for ``stop``, at most so long; whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
