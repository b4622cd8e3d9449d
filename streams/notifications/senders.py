"""The sender of each receiver, by its kind."""

from __future__ import annotations

from collections.abc import Mapping

from streams.notifications.apprise_sender import AppriseSender
from streams.notifications.email import EmailSender
from streams.notifications.receivers import Receiver
from streams.notifications.sending import Sender


def make_senders(receivers: Mapping[str, Receiver]) -> dict[str, Sender]:
    """By the receivers' names; a heartbeat has none, as no alert goes there.

    Made inside the event loop that uses them. `ConfigError` where one cannot be made.
    """
    senders: dict[str, Sender] = {}
    for name, receiver in receivers.items():
        match receiver.kind:
            case "webhook":
                # late: its HTTP client takes 3 MB, and many have no webhook
                from streams.notifications.webhook import WebhookSender

                senders[name] = WebhookSender(receiver)
            case "email":
                senders[name] = EmailSender(receiver)
            case "apprise":
                senders[name] = AppriseSender(receiver)
            case "heartbeat":
                pass
    return senders
