"""Headers that a target's requests carry, as a token: by configuration, and to nobody else.

They hold references (`streams.references`), which are resolved at each look in the process that
looks: no event, status or log has a secret, and a token file may be replaced at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from streams.errors import ConfigError
from streams.references import resolved

HEADERS_MAX: Final = 20
VALUE_CHARS_MAX: Final = 8_192
SECRET_CHARS_MIN: Final = 4
"""Shorter ones are not looked for in texts: they would be found in every word."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e]+")
_PORTS: Final = {"http": 80, "https": 443}
_OURS: Final = frozenset(
    ("accept-encoding", "connection", "content-length", "host", "transfer-encoding")
)


@dataclass(frozen=True, slots=True)
class OwnHeaders:
    """Of one look, with their secrets in place."""

    origin: tuple[str, str, int | None] = ("", "", None)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def of(self, url: str) -> Mapping[str, str]:
        """Those of a request: none where a redirect has left the target's origin."""
        return self.values if _origin(url) == self.origin else {}

    def redacted(self, text: str) -> str:
        """The text without the secrets: a server may answer with what it was sent."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def redacted_body(self, body: bytes) -> bytes:
        """As `redacted`; before anything is cut out of it."""
        for secret in self.secrets:
            body = body.replace(secret.encode(), b"***")
        return body


NONE: Final = OwnHeaders()


def check_headers(headers: Mapping[str, str]) -> None:
    """`ValueError` for what cannot be a header, or is made by the connection itself."""
    if len(headers) > HEADERS_MAX:
        raise ValueError(f"{len(headers)} headers; valid: at most {HEADERS_MAX}")
    for name in headers:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            but = ", ".join(sorted(_OURS))
            raise ValueError(f"headers has {name[:60]!r}; valid: names of headers but {but}")


def own_headers(
    endpoint: str, headers: Mapping[str, str], environ: Mapping[str, str]
) -> OwnHeaders:
    """For a look at ``endpoint``. `ConfigError` names the header that cannot be sent, and never
    what it holds."""
    if not headers:
        return NONE
    secrets: list[str] = []
    values = {}
    for name, text in headers.items():
        values[name] = resolved(text, environ, f"the header {name}", secrets)
        if len(values[name]) > VALUE_CHARS_MAX or not _VALUE.fullmatch(values[name]):
            raise ConfigError(
                f"the header {name} has a value that cannot be sent; valid: 1 to "
                f"{VALUE_CHARS_MAX} printable ASCII characters in one line"
            )
    found = {each for each in (*secrets, *values.values()) if len(each) >= SECRET_CHARS_MIN}
    return OwnHeaders(_origin(endpoint), values, tuple(sorted(found, key=len, reverse=True)))


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
