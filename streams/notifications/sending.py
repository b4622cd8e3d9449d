"""What sends to a receiver, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from streams.events.alerting import NotificationRequested

AGAIN_HEADER: Final = "Notification-Again"
"""``1`` where the receiver may have this notification already."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The receiver took it. ``detail``: what it said, without secrets."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The receiver did not take it, or nobody knows. ``final``: it never will, as it is.
    ``retry_after_s``: what the receiver asks for."""

    reason: str
    final: bool = False
    retry_after_s: float | None = None


Outcome = Sent | NotSent


class Sender(Protocol):
    """Sends to one receiver. It blocks no event loop and ends in bounded time, whatever the other
    side does; what goes wrong there is an outcome, not an exception."""

    async def send(self, notification: NotificationRequested, *, again: bool) -> Outcome:
        """``again``: an attempt before may have reached the receiver; it is marked so, and has the
        same key."""
        ...

    async def close(self) -> None:
        """Lets connections and threads go."""
        ...
