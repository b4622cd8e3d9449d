"""Who calls: the ``actor`` that a request's events carry, and who may call at all."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from mcp_api.asgi import Refusal

CLIENT_CHARS_MAX = 64

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Asked by supervisors that hold no token; they tell nothing about the data."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_BEARER = "bearer."


@dataclass(frozen=True, slots=True)
class Caller:
    """``kind``: "token" where a bearer token was shown, else "local"; ``client``: what it said of
    itself (an MCP client's name) or where it comes from, e.g. ``http:127.0.0.1``."""

    kind: str
    client: str
    loopback: bool = True

    @property
    def actor(self) -> str:
        """As it stands in events, e.g. ``local/http:127.0.0.1`` or ``token/mcp:claude-code``."""
        return f"{self.kind}/{self.client}"


def mcp_client(name: str) -> str:
    """What an MCP client calls itself, safe to store and print.

    >>> mcp_client("claude-code"), mcp_client(""), mcp_client("a\\nb")
    ('mcp:claude-code', 'mcp', 'mcp:ab')
    """
    shown = "".join(char for char in name if char.isprintable())[:CLIENT_CHARS_MAX]
    return f"mcp:{shown}" if shown else "mcp"


def client_header(actor: str) -> str:
    """The name of an actor's MCP client as a header can carry it; `header_client` is the inverse.

    >>> [client_header(actor) for actor in ("local/mcp:claude-code", "local/mcp", "token/mcp:é ")]
    ['claude-code', '', '%C3%A9%20']
    """
    return quote(actor.partition("/")[2].removeprefix("mcp").removeprefix(":"), safe="")


def header_client(text: str) -> str:
    """The `Caller.client` that a `client_header` says; the empty one says a client without name.

    >>> header_client("claude-code"), header_client(""), header_client("mcp%3A")
    ('mcp:claude-code', 'mcp', 'mcp:mcp:')
    """
    return mcp_client(unquote(text))


def shown_as_subprotocol(subprotocols: Iterable[str]) -> str:
    """The ``Authorization`` that a browser can say only as a WebSocket's subprotocol
    ``bearer.<token>``, with the token percent-encoded; empty where there is none.

    >>> shown_as_subprotocol(["logfire-mcp.v1", "bearer.s3%2Fcret"]), shown_as_subprotocol([])
    ('Bearer s3/cret', '')
    """
    for name in subprotocols:
        if name.startswith(_BEARER):
            return f"Bearer {unquote(name.removeprefix(_BEARER))}"
    return ""


def host_name(host: str) -> str:
    """The name in a Host header, lower-case, without port and brackets; empty if malformed.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("a:b"), host_name("::1")
    ('localhost', '::1', '', '::1')
    """
    name, port = host.strip().lower(), ""
    if name.startswith("["):
        name, closed, port = name[1:].partition("]")
        port = port.removeprefix(":") if closed else "?"
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    if port and not port.isdigit():
        return ""
    return name.rstrip(".")


def is_loopback(name: str) -> bool:
    """True of ``localhost`` and of loopback addresses.

    >>> [is_loopback(name) for name in ("localhost", "127.1.2.3", "::1", "example.com")]
    [True, True, True, False]
    """
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may call.

    A page in a browser can be made to send requests here under a name that its owner points at
    this machine (DNS rebinding): so ``Host`` must be a name that is ours. ``any_address``: where
    the server listens on all addresses, an address in ``Host`` is taken too, for a page can only
    rebind a name. ``Origin``, where a browser sends it, must be local or listed.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    any_address: bool = False
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        *,
        listen_host: str,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        token: str | None = None,
    ) -> Admission:
        """The rules for a server that listens on ``listen_host``."""
        wildcard = listen_host in {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound
        own = {socket.gethostname().lower()} if wildcard else {listen_host.strip("[]").lower()}
        return cls(
            hosts=frozenset({*own, *(host.lower().rstrip(".") for host in allowed_hosts)}),
            origins=frozenset(origin.lower().rstrip("/") for origin in allowed_origins),
            any_address=wildcard,
            token=token,
        )

    def refusal(
        self, *, hosts: list[str], origins: list[str], authorization: str, path: str
    ) -> Refusal | None:
        """Why a request with these headers is not served, or None."""
        if len(hosts) != 1:
            return Refusal(400, "The request needs exactly one Host header.")
        if not self._host_allowed(hosts[0]):
            return Refusal(
                421,
                f"Host {hosts[0][:200]!r} is not a name of this server; use localhost, or add it "
                "to LOGFIRE_MCP_ALLOWED_HOSTS.",
            )
        for origin in origins:
            if not self._origin_allowed(origin, hosts[0]):
                return Refusal(
                    403,
                    f"Origin {origin[:200]!r} may not call this server; add it to "
                    "LOGFIRE_MCP_ALLOWED_ORIGINS if it is yours.",
                )
        if self.token is None or path in OPEN_PATHS or self.token_shown(authorization):
            return None
        return Refusal(
            401,
            "A bearer token is needed: send 'Authorization: Bearer <LOGFIRE_MCP_TOKEN>'.",
            headers=((b"www-authenticate", b'Bearer realm="logfire-mcp"'),),
        )

    def token_shown(self, authorization: str) -> bool:
        """Whether the header carries the token; compared in constant time."""
        scheme, _, shown = authorization.partition(" ")
        if self.token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(
            shown.strip().encode("utf-8", "surrogateescape"), self.token.encode()
        )

    def _host_allowed(self, host: str) -> bool:
        name = host_name(host)
        if not name:
            return False
        if name in self.hosts or host.lower() in self.hosts or is_loopback(name):
            return True
        return self.any_address and _is_address(name)

    def _origin_allowed(self, origin: str, host: str) -> bool:
        text = origin.lower().rstrip("/")
        if text in self.origins:
            return True
        try:
            parts = urlsplit(text)
            name, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.scheme not in _DEFAULT_PORTS or not name:
            return False
        if is_loopback(name):
            return True
        # The page was served under the very name that the request is for, and that name is ours.
        default = _DEFAULT_PORTS[parts.scheme]
        return (name, port or default) == (host_name(host), _port(host) or default)


def _port(host: str) -> int | None:
    text = host.rpartition(":")[2]
    return int(text) if text.isdigit() else None
