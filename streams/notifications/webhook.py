"""Webhooks in Alertmanager's payload, version 4, so that what takes Alertmanager's takes ours.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from streams.events.alerting import NotificationRequested
from streams.events.codec import iso_time
from streams.notifications.receivers import Receiver
from streams.notifications.sending import AGAIN_HEADER, NotSent, Outcome, Sent

KEY_HEADER: Final = "Idempotency-Key"

NEVER: Final = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422, 431})
"""Answers that mean this request will never be taken; what an operator or time may put right (401,
404, 429, 503, …) is tried again."""

_NEVER_ENDED: Final = "0001-01-01T00:00:00Z"


class WebhookSender:
    """A POST a notification, with its id in ``Idempotency-Key``. Redirects are not followed."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._client = httpx.AsyncClient(
            timeout=receiver.timeout_s,
            limits=httpx.Limits(max_connections=receiver.parallel),
            headers={"User-Agent": "logfire-mcp-server", **receiver.headers},
        )

    async def send(self, notification: NotificationRequested, *, again: bool) -> Outcome:
        headers = {"Content-Type": "application/json", KEY_HEADER: notification.id}
        if again:
            headers[AGAIN_HEADER] = "1"
        body = json.dumps(payload(notification)).encode()
        return await post(self._client, self._receiver.url, body, headers)

    async def close(self) -> None:
        await self._client.aclose()


async def post(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]
) -> Outcome:
    """A POST whose answer is not read further than its head: a receiver cannot fill our memory."""
    try:
        async with client.stream("POST", url, content=body, headers=dict(headers)) as answer:
            status = answer.status_code
            retry_after = answer.headers.get("Retry-After", "")
    except httpx.TimeoutException as error:
        return NotSent(f"no answer in time ({type(error).__name__})")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return NotSent(f"{type(error).__name__}: {error}")
    if 200 <= status < 300:
        return Sent(f"HTTP {status}")
    wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    return NotSent(f"HTTP {status}", final=status in NEVER, retry_after_s=wait_s)


def payload(notification: NotificationRequested) -> dict[str, Any]:
    """The body. A test is a firing alert with the label ``test``."""
    status = "resolved" if notification.status == "resolved" else "firing"
    alerts = [_alert(alert) for alert in notification.alerts]
    group = ", ".join(f"{name}={json.dumps(v)}" for name, v in sorted(notification.group.items()))
    return {
        "version": "4",
        "groupKey": f"{notification.receiver}:{{{group}}}",
        "truncatedAlerts": notification.left_out,
        "status": status,
        "receiver": notification.receiver,
        "groupLabels": notification.group,
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": "",
        "alerts": alerts,
        "notificationId": notification.id,
        "notificationReason": notification.reason,
    }


def _alert(alert: Mapping[str, Any]) -> dict[str, Any]:
    ends_ms = alert.get("ends_ms")
    annotations = {**alert.get("annotations", {}), "reason": alert.get("reason", "")}
    if alert.get("value") is not None:
        annotations["value"] = str(alert["value"])
    return {
        "status": alert.get("status", "firing"),
        "labels": alert.get("labels", {}),
        "annotations": annotations,
        "startsAt": iso_time(alert.get("starts_ms", 0)),
        "endsAt": _NEVER_ENDED if ends_ms is None else iso_time(ends_ms),
        "generatorURL": "",
        "fingerprint": alert.get("fingerprint", ""),
    }


def _common(texts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not texts:
        return {}
    first, *others = texts
    return {k: v for k, v in first.items() if all(each.get(k) == v for each in others)}
