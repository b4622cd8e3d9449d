"""Whoever is told of alerts: reached as for a message, and told nothing."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from mcp_api.telling import configured
from mcp_api.validation.outcome import Check, Outcome, failed, look, ok, skipped
from streams.config import Settings
from streams.notifications.email import open_mailbox
from streams.notifications.receivers import Receiver, read_mailbox

PART = "receivers"
_PORTS = {"http": 80, "https": 443}


def check_receivers(settings: Settings) -> Iterator[Check]:
    """Mail servers up to the login, HTTP ones up to the TLS handshake; Apprise's cannot be tried
    without a message. `ConfigError` where they are not configured well."""
    for name, receiver in configured(settings).receivers.items():
        yield look(PART, name, lambda receiver=receiver: _reached(receiver))  # type: ignore[misc]


def connect(url: str, timeout_s: float) -> Outcome:
    """A connection to an http(s) URL's server, with the certificate verified; nothing is sent.
    `OSError` where there is none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    with socket.create_connection((host, port), timeout_s) as plain:
        if parts.scheme == "https":
            with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured:
                return ok(f"{host}:{port} answers by {secured.version()}")
    return ok(f"{host}:{port} takes connections")


def _reached(receiver: Receiver) -> Outcome:
    try:
        match receiver.kind:
            case "email":
                return _mail(receiver)
            case "webhook" | "heartbeat":
                return connect(receiver.url, receiver.timeout_s)
            case "apprise":
                return skipped("Apprise can only be tried by a message: `manage_alerts` test")
    except (smtplib.SMTPException, OSError) as error:
        todo = "check the receiver's URL, and that its server runs and can be reached from here"
        return failed(receiver.redacted(f"{type(error).__name__}: {error}"), todo)


def _mail(receiver: Receiver) -> Outcome:
    box = read_mailbox(receiver.url)
    with open_mailbox(box, receiver.timeout_s) as server:
        server.noop()
    how = {"none": "unencrypted", "starttls": "by STARTTLS", "tls": "by TLS"}[box.tls]
    login = ", the login is taken" if box.user else ""
    return ok(f"{box.host}:{box.port} answers {how}{login}")
