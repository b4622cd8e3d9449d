"""What a `FaustHost` runs for others: a handler of records, one by one or in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.log.protocol import Record

Place = tuple[str, int]
"""A topic, by the catalogue's name, and a partition."""

Handler = Callable[[Record], Awaitable[None]]
BatchHandler = Callable[[Sequence[Record]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Agent:
    """``topic``: the broker's name. ``records_max`` is 0 where records are handled one by one."""

    topic: str
    name: str
    handle: Callable[[Any], Awaitable[None]]
    records_max: int = 0
    within_s: float = 0.0


@dataclass(slots=True)
class Batches:
    """Events of a batch agent that wait, by partition; acknowledged once they were handled.

    ``record_of``: a message as a record; ``guarded``: keeps the errors of a handler.
    """

    agent: Agent
    record_of: Callable[[Any], Record]
    guarded: Callable[[Awaitable[None]], Awaitable[None]]
    _waiting: dict[Place, list[Any]] = field(default_factory=dict)
    _flushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def add(self, event: Any) -> None:
        """Handles the batch of the event's partition if it is full with it."""
        place = event.message.tp
        waiting = self._waiting.setdefault(place, [])
        waiting.append(event)
        if len(waiting) >= self.agent.records_max:
            await self._flush([place])

    async def flush_regularly(self) -> None:
        """Until cancelled: nothing waits longer than the agent's time and one call."""
        while True:
            await asyncio.sleep(self.agent.within_s)
            await self._flush(list(self._waiting))

    async def _flush(self, places: Sequence[Place]) -> None:
        async with self._flushing:
            for place in places:
                if not (events := self._waiting.pop(place, [])):
                    continue
                records = [self.record_of(event.message) for event in events]
                await self.guarded(self.agent.handle(records))
                for event in events:
                    event.ack()
