"""Endpoints as targets name them: what is valid of each kind. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from streams.errors import InputError
from streams.events.health import Kind

ENDPOINT_CHARS_MAX: Final = 2_000

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_ADDRESS6 = re.compile(r"[0-9A-Fa-f:.]{2,45}\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")


@dataclass(frozen=True, slots=True)
class HostPort:
    """``host``: a name or an address, of IPv6 without brackets."""

    host: str
    port: int


def check_endpoint(kind: Kind, endpoint: str) -> None:
    """Raises `InputError` (field ``endpoint``) unless ``endpoint`` is one of that kind: ``http``,
    ``mcp``, ``mcp-sse``: a URL with http or https and without a password, since endpoints are
    shown; ``tcp``: ``host:port``; ``dns``: a host name; ``mcp-stdio``: the name of an entry;
    ``heartbeat``: anything, it is not asked."""
    if len(endpoint) > ENDPOINT_CHARS_MAX:
        raise _invalid(f"{len(endpoint)} characters; at most {ENDPOINT_CHARS_MAX}")
    match kind:
        case "http" | "mcp" | "mcp-sse":
            parse_url(endpoint)
        case "tcp":
            parse_host_port(endpoint)
        case "dns":
            parse_host(endpoint)
        case "mcp-stdio":
            if not _NAME.match(endpoint):
                raise _invalid(f"{endpoint[:60]!r} is not the name of a configured command")
        case "heartbeat":
            pass


def parse_url(endpoint: str) -> HostPort:
    """Where a URL connects to.

    >>> parse_url("https://[::1]/health")
    HostPort(host='::1', port=443)
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise _invalid(f"{endpoint[:60]!r} is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _invalid(f"{endpoint[:60]!r} is not a URL with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise _invalid("a URL with a user or password; endpoints are kept and shown")
    if re.search(r"[\x00-\x20\x7f]", endpoint):
        raise _invalid(f"{endpoint[:60]!r} has spaces or control characters")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return HostPort(parse_host(parts.hostname), _checked_port(port))


def parse_host_port(endpoint: str) -> HostPort:
    """``host:port``, an IPv6 address in brackets.

    >>> parse_host_port("db.example:5432")
    HostPort(host='db.example', port=5432)
    """
    host, colon, port = endpoint.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise _invalid(f"{endpoint[:60]!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _invalid(f"{endpoint[:60]!r}: write an IPv6 address in brackets, [::1]:80")
    return HostPort(parse_host(host), _checked_port(int(port)))


def parse_host(endpoint: str) -> str:
    """A host name (RFC 1123, with underscores as in service names), or an address."""
    if _HOST.match(endpoint) or (":" in endpoint and _ADDRESS6.match(endpoint)):
        return endpoint
    try:
        encoded = endpoint.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    if _HOST.match(encoded):
        return encoded
    raise _invalid(f"{endpoint[:60]!r} is not a host name")


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65_535:
        raise _invalid(f"port {port}; 1 to 65535")
    return port


def _invalid(what: str) -> InputError:
    return InputError(f"endpoint: {what}", field="endpoint")
