"""What waits to be sent to one client: bounded, and newer values in place of older ones.

Events are never left out: a client that lets too many of them wait is cut, and goes on after the
last position that it has. Texts are shared by all clients that wait for the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MESSAGES_MAX = 1_000
BYTES_MAX = 4 << 20
"""Of one client."""

ALL_BYTES_MAX = 64 << 20
"""Of all clients, what they share counted once; above it whoever is behind is cut."""

CUT_REASON = "too slow: too much waited; connect again and resume with after"


@dataclass(slots=True)
class Usage:
    """Of all clients together; the counts since the start."""

    sent: int = 0
    conflated: int = 0
    cut: int = 0
    queued_bytes: int = 0


class Shared:
    """The end of a message, the same for many clients; counted while any of them waits for it."""

    __slots__ = ("holders", "size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text.encode())
        self.holders = 0


class Newest(Protocol):
    """What is made when it is to be sent, so that it is never old."""

    def take(self) -> Sequence[str]:
        """Whole messages; none where there is nothing new."""
        ...


class Outbox:
    """Belongs to one event loop."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._queue: deque[tuple[str, Shared] | Newest] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.cut = asyncio.Event()
        """Set once too much waited: nothing is taken any more."""

    def push(self, head: str, tail: Shared) -> None:
        """Takes an event, whatever happens: if there is no room for it, the client is cut."""
        if self._is_full(tail):
            self.end()
        self._add(head, tail)

    async def put(self, head: str, tail: Shared) -> None:
        """Takes a message as soon as there is room."""
        while self._is_full(tail) and not self.cut.is_set():
            self._emptied.clear()
            await self._emptied.wait()
        self._add(head, tail)

    def push_newest(self, newest: Newest) -> None:
        """Takes one that is not here already; takes no room."""
        if not self.cut.is_set():
            self._queue.append(newest)
            self._filled.set()

    async def take(self) -> Sequence[str]:
        """The next messages, as soon as there are any."""
        while not self._queue:
            self._filled.clear()
            await self._filled.wait()
        entry = self._queue.popleft()
        if not isinstance(entry, tuple):
            return entry.take()
        self._release(entry[1])
        self._emptied.set()
        return (entry[0] + entry[1].text,)

    def end(self) -> None:
        """Cuts the client, once."""
        if not self.cut.is_set():
            self._usage.cut += 1
            self.close()

    def close(self) -> None:
        """Nothing is sent any more, and nothing held."""
        self.cut.set()
        for entry in self._queue:
            if isinstance(entry, tuple):
                self._release(entry[1])
        self._queue.clear()
        self._emptied.set()

    def _is_full(self, tail: Shared) -> bool:
        if not self._queue:
            return False  # whoever keeps up is told, however much it is
        alone = len(self._queue) >= MESSAGES_MAX or self._bytes + tail.size > BYTES_MAX
        return alone or self._usage.queued_bytes > ALL_BYTES_MAX

    def _add(self, head: str, tail: Shared) -> None:
        if self.cut.is_set():
            return
        self._queue.append((head, tail))
        self._bytes += tail.size
        if not tail.holders:
            self._usage.queued_bytes += tail.size
        tail.holders += 1
        self._filled.set()

    def _release(self, tail: Shared) -> None:
        self._bytes -= tail.size
        tail.holders -= 1
        if not tail.holders:
            self._usage.queued_bytes -= tail.size
