"""The kinds of values that settings have: how a variable's text is read, and what is refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

WINDOW_SIZES_MAX = 8
DAY_S = 86_400


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _window_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if not sizes or len(sizes) > WINDOW_SIZES_MAX:
        raise ValueError(f"give one to {WINDOW_SIZES_MAX} sizes")
    if min(sizes) < 1 or max(sizes) > DAY_S:
        raise ValueError(f"a size is 1 to {DAY_S} seconds")
    if any(size % min(sizes) for size in sizes):
        raise ValueError("each size is a multiple of the smallest")
    return tuple(sorted(set(sizes)))


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
        raise ValueError("an origin is like https://example.com or http://localhost:3000")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if not parts.scheme or not parts.netloc:
        raise ValueError("a URL is like http://localhost:8086")
    return text


def _token(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("a token is printable ASCII without blanks")
    return text


def _server(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError("a broker is like localhost:9092")
    return text


def _networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(ipaddress.ip_network(part, strict=False) for part in _listed(value))


def _path(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _log_path(path: Path) -> Path:
    if path.suffix.lower() == ".duckdb":
        raise ValueError(
            "a file name that does not end in .duckdb, like logfire_mcp.db: LOGFIRE_DB_PATH is the "
            "event log, and the DuckDB file made from it lies beside it under that name"
        )
    return path


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def setting(default: Any, variable: str, meaning: str = "", **limits: Any) -> Any:
    """A field read from ``variable``; without a meaning it is accepted, but nothing uses it yet."""
    extra: dict[str, Any] = {"variable": variable}
    return Field(default, description=meaning or None, json_schema_extra=extra, **limits)


def secret(variable: str, meaning: str = "") -> Any:
    """A field whose value is never shown."""
    return Field(
        None,
        description=meaning or None,
        repr=False,
        json_schema_extra={"variable": variable, "secret": True},
    )


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_listed)]
Networks = Annotated[
    tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], BeforeValidator(_networks)
]
Servers = Annotated[tuple[Annotated[str, AfterValidator(_server)], ...], BeforeValidator(_listed)]
Sizes = Annotated[tuple[int, ...], BeforeValidator(_listed), AfterValidator(_window_sizes)]
Url = Annotated[str, AfterValidator(_url)]
Token = Annotated[str, AfterValidator(_token)]
Location = Annotated[Path, BeforeValidator(_path)]
LogPath = Annotated[Location, AfterValidator(_log_path)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]
