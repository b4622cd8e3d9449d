"""A notification as people read it: a title, text, HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from streams.events.alerting import NotificationRequested
from streams.events.codec import iso_time

TITLE_CHARS_MAX = 200
REPEATED = "This message may be a repeat: whether it arrived before is not known."

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_COLOURS = {"firing": "#b42318", "resolved": "#067647", "test": "#175cd3"}


def title(notification: NotificationRequested) -> str:
    """One line: what it is, of how many alerts, which group.

    >>> title(NotificationRequested(id="1", receiver="ops", group={"alertname": "Disk"},
    ...     status="firing", reason="new", at_ms=0, alerts=({"status": "firing"},)))
    '[FIRING:1] Disk'
    """
    group = dict(notification.group)
    name = group.pop("alertname", "") or _names(notification)
    count = sum(each.get("status") == "firing" for each in notification.alerts)
    count += notification.left_out
    mark = notification.status.upper()
    if notification.status == "firing":
        mark = f"{mark}:{count}"
    if notification.reason == "escalation":
        mark = f"ESCALATION {mark}"
    rest = " ".join(f"{label}={value}" for label, value in sorted(group.items()))
    line = _UNPRINTABLE.sub(" ", f"[{mark}] {name} {rest}").strip()
    return line if len(line) <= TITLE_CHARS_MAX else f"{line[: TITLE_CHARS_MAX - 1]}…"


def text(notification: NotificationRequested, *, again: bool = False) -> str:
    """Plain text, a paragraph an alert."""
    parts = [title(notification)]
    for alert in notification.alerts:
        lines = [f"{_headline(alert)}"]
        lines += [f"  {name}: {value}" for name, value in _facts(alert)]
        parts.append("\n".join(lines))
    parts += _remarks(notification, again)
    return "\n\n".join(parts) + "\n"


def html_text(notification: NotificationRequested, *, again: bool = False) -> str:
    """The same as HTML that mail clients show; everything from outside is escaped."""
    colour = _COLOURS[notification.status]
    parts = [f'<h2 style="color:{colour}">{html.escape(title(notification))}</h2>']
    for alert in notification.alerts:
        rows = "".join(
            f'<tr><td style="color:#667085;padding-right:1em;vertical-align:top">'
            f"{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
            for name, value in _facts(alert)
        )
        parts.append(f"<h3>{html.escape(_headline(alert))}</h3><table>{rows}</table>")
    parts += [f"<p>{html.escape(each)}</p>" for each in _remarks(notification, again)]
    body = "\n".join(parts)
    return f'<!doctype html><html><body style="font-family:sans-serif">{body}</body></html>'


def _names(notification: NotificationRequested) -> str:
    names = sorted({str(alert.get("name", "")) for alert in notification.alerts})
    return ", ".join(name for name in names[:3] if name)


def _headline(alert: Mapping[str, Any]) -> str:
    return f"{alert.get('name', '')} ({alert.get('severity', '')}): {alert.get('status', '')}"


def _facts(alert: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((str(k), str(v)) for k, v in sorted(alert.get("annotations", {}).items()))
    yield "reason", str(alert.get("reason", ""))
    if alert.get("value") is not None:
        yield "value", str(alert["value"])
    labels = {
        k: v for k, v in alert.get("labels", {}).items() if k not in ("alertname", "severity")
    }
    if labels:
        yield "labels", ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    yield "since", iso_time(alert.get("starts_ms", 0))
    if alert.get("ends_ms") is not None:
        yield "until", iso_time(alert["ends_ms"])


def _remarks(notification: NotificationRequested, again: bool) -> list[str]:
    found = []
    if notification.left_out:
        found.append(f"{notification.left_out} more alerts are not listed here.")
    if notification.reason == "escalation":
        found.append("Nobody has acknowledged this in time.")
    if notification.status == "test":
        found.append("This is a test: nothing has happened.")
    if again:
        found.append(REPEATED)
    return found
