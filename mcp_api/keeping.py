"""Work that goes on as long as the process: begun again where an error ends it, and in sight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

_LOGGER = logging.getLogger(__name__)

RESTART_S: Final = 5.0
"""Between an error and the next beginning: a bug that comes at once costs nothing much."""


class Kept:
    """One piece of work. ``what``: what is not done while it stands still, for people."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failure: BaseException | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, or until ``work`` ends by itself."""
        while True:
            try:
                await work()
            except Exception as error:
                _LOGGER.exception(self._what)
                self._failure = error
            else:
                return
            await asyncio.sleep(RESTART_S)
            self._failure = None

    def failure(self) -> BaseException | None:
        """What ended it, until it is begun again; else None."""
        return self._failure

    def problems(self) -> list[str]:
        """A sentence while it stands still."""
        if self._failure is None:
            return []
        why = _first(self._failure)
        return [f"{self._what}: {type(why).__name__}: {why}"[:300] + "; it is tried again"]


def _first(error: BaseException) -> BaseException:
    """Of a group, what says more than that there is one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
