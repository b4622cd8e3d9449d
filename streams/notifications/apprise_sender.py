"""Everything else, by Apprise: a hundred services, each by a URL (https://appriseit.com/services/).

Apprise is an extra of the package (``notify``), and is imported only where a receiver asks for it.
"""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streams.errors import ConfigError
from streams.events.alerting import NotificationRequested
from streams.notifications import message_text
from streams.notifications.receivers import Receiver
from streams.notifications.sending import NotSent, Outcome, Sent

ANSWERS_MAX = 3
"""Of one sending: some services are asked more than once."""

_KINDS = {"firing": "failure", "resolved": "success", "test": "info"}


class AppriseSender:
    """In threads of this receiver's own: Apprise blocks."""

    def __init__(self, receiver: Receiver) -> None:
        """`ConfigError` where Apprise is not installed or knows no such URL."""
        try:
            apprise: Any = importlib.import_module("apprise")
        except ImportError:
            raise ConfigError(
                f"receiver {receiver.name} is of kind apprise, and Apprise is not installed: "
                "pip install 'logfire-mcp-server[notify]'"
            ) from None
        asset = apprise.AppriseAsset(app_id="logfire-mcp-server", async_mode=False)
        self._target = apprise.Apprise(asset=asset)
        if not self._target.add(receiver.url):
            raise ConfigError(f"receiver {receiver.name}: Apprise knows no service of its URL")
        self._timeout_s = ANSWERS_MAX * receiver.timeout_s
        self._threads = ThreadPoolExecutor(receiver.parallel, f"apprise-{receiver.name}")

    async def send(self, notification: NotificationRequested, *, again: bool) -> Outcome:
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, self._send, notification, again
        )
        try:
            taken = await asyncio.wait_for(work, self._timeout_s)
        except TimeoutError:
            return NotSent("the service did not answer in time")
        return Sent() if taken else NotSent("Apprise could not deliver it; the log says why")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, notification: NotificationRequested, again: bool) -> bool:
        return bool(
            self._target.notify(
                title=message_text.title(notification),
                body=message_text.text(notification, again=again),
                body_format="text",
                notify_type=_KINDS[notification.status],
            )
        )
