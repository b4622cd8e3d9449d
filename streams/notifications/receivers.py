"""Receivers as configured: a name, a kind, a URL; secrets by reference, never in events or logs.

A URL and headers may hold references (`streams.references`). Inside a URL what they refer to is
percent-encoded; a URL that is one reference and nothing else is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from streams.errors import ConfigError
from streams.references import REFERENCE, resolved

Kind = Literal["email", "webhook", "apprise", "heartbeat"]
Tls = Literal["starttls", "tls", "none"]

SECRET_CHARS_MIN = 4
"""Shorter ones are not looked for in texts: they would be found in every word."""

PARALLEL_MAX = 32
TIMEOUT_S_MAX = 300.0

_ADDRESS = re.compile(r"[^@\s<>,;\x00-\x1f]+@[^@\s<>,;\x00-\x1f]+")
_QUERY = {"to", "from", "tls", "ca"}


class ReceiverText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A receiver as the file has it. ``timeout_s``: of each answer. ``parallel``: notifications in
    flight. ``headers``: of HTTP. ``every_s``: of a heartbeat; not below the clock's interval."""

    kind: Kind
    url: str
    timeout_s: float = 10.0
    parallel: int = 4
    headers: dict[str, str] = {}
    every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """With its secrets in place. ``secrets``: what `redacted` hides."""

    name: str
    kind: Kind
    url: str = field(repr=False)
    timeout_s: float = 10.0
    parallel: int = 4
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    every_s: float = 60.0
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def redacted(self, text: str) -> str:
        """The text without the URL, its credentials and what was referred to."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where mail goes, by a URL ``smtp://user:password@host:587/?to=a@b&from=c@d&tls=starttls``.

    ``to`` may come more than once. ``tls``: ``starttls`` (of smtp, unless it says otherwise),
    ``tls`` (of smtps), ``none``. ``ca``: a PEM file, for servers with certificates of one's own.
    """

    host: str
    port: int
    to: tuple[str, ...]
    sender: str
    tls: Tls
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""


def read_receiver(
    name: str, text: ReceiverText, environ: Mapping[str, str], place: str
) -> Receiver:
    """`ConfigError` that names the ``place`` in the file and what is wrong there."""
    if not 0 < text.timeout_s <= TIMEOUT_S_MAX:
        raise ConfigError(f"{place}.timeout_s is {text.timeout_s}; valid: up to {TIMEOUT_S_MAX}")
    if not 1 <= text.parallel <= PARALLEL_MAX:
        raise ConfigError(f"{place}.parallel is {text.parallel}; valid: 1 to {PARALLEL_MAX}")
    if text.every_s <= 0:
        raise ConfigError(f"{place}.every_s is {text.every_s}; valid: above 0")
    secrets: list[str] = []
    whole = REFERENCE.fullmatch(text.url) is not None
    url = resolved(text.url, environ, f"{place}.url", secrets, in_url=not whole)
    headers = {
        header: resolved(value, environ, f"{place}.headers.{header}", secrets)
        for header, value in text.headers.items()
    }
    if headers and text.kind not in ("webhook", "heartbeat"):
        raise ConfigError(f"{place}.headers are of webhooks and heartbeats, not of {text.kind}")
    _check_url(text.kind, url, f"{place}.url")
    return Receiver(
        name,
        text.kind,
        url,
        text.timeout_s,
        text.parallel,
        headers,
        text.every_s,
        _secrets(url, [*secrets, *headers.values()]),
    )


def read_mailbox(url: str) -> Mailbox:
    """`ValueError` with what is wrong with it, without secrets."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("it is no URL like smtp://user:password@host:587/?to=a@b&from=c@d")
    if unknown := sorted(set(asked) - _QUERY):
        raise ValueError(f"it has {', '.join(unknown)}; valid: {', '.join(sorted(_QUERY))}")
    to = tuple(each.strip() for text in asked.get("to", []) for each in text.split(","))
    sender = asked.get("from", [""])[-1]
    if not to or not all(_ADDRESS.fullmatch(each) for each in (*to, sender)):
        raise ValueError("to and from are to be addresses like ops@example.org")
    tls = asked.get("tls", ["tls" if parts.scheme == "smtps" else "starttls"])[-1]
    if tls not in ("starttls", "tls", "none"):
        raise ValueError(f"tls is {tls!r}; valid: starttls, tls or none")
    port = parts.port or (465 if tls == "tls" else 587)
    return Mailbox(
        parts.hostname,
        port,
        to,
        sender,
        tls,  # type: ignore[arg-type]
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        asked.get("ca", [""])[-1],
    )


def _check_url(kind: Kind, url: str, place: str) -> None:
    """Never repeats the URL: it may be all secret."""
    try:
        match kind:
            case "email":
                read_mailbox(url)
            case "webhook" | "heartbeat":
                parts = urlsplit(url)
                if parts.scheme not in ("http", "https") or not parts.hostname:
                    raise ValueError("it is no URL like https://example.org/hook")
                _ = parts.port
            case "apprise":
                if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
                    raise ValueError("it is no Apprise URL like slack://token/channel")
    except ValueError as problem:
        raise ConfigError(f"{place} of a receiver of kind {kind}: {problem}") from None


def _secrets(url: str, referred: list[str]) -> tuple[str, ...]:
    parts = urlsplit(url)
    found = [url, *referred, *(quote(each, safe="") for each in referred)]
    for part in (parts.username, parts.password):
        found += [part, unquote(part)] if part else []
    if len(parts.path) > 1 or parts.query:
        found.append(f"{parts.path}?{parts.query}" if parts.query else parts.path)
    return tuple(sorted({each for each in found if len(each) >= SECRET_CHARS_MIN}))
