"""For those who wait for a log, however long it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from streams.errors import LogUnavailable, Overloaded

T = TypeVar("T")

PAUSES_S: Final = (0.1, 2.0)
"""The first and the longest."""

_log = logging.getLogger(__name__)


async def until_available(
    attempt: Callable[[], Awaitable[T]], who: str, *, pauses_s: tuple[float, float] = PAUSES_S
) -> T:
    """The attempt's result, tried again, later and later, while the log is away or full.

    It ends only so or by cancellation: somebody else is to watch for progress.
    """
    pause_s, longest_s = pauses_s
    while True:
        try:
            return await attempt()
        except (LogUnavailable, Overloaded) as error:
            _log.warning("%s tries again in %.1f s: %s", who, pause_s, error)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)
