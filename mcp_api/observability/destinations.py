"""Where what is told goes: Logfire, an OpenTelemetry collector, both or nobody.

The variables are those of
https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and Logfire's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from streams.config import Settings, all_variables
from streams.errors import ConfigError

_OTLP: Final = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Destination:
    """One that takes OTLP over HTTP. The URLs: "" where it wants none of these; ``certificate``: a
    file of authorities that are trusted, "" for the usual ones."""

    name: str
    traces_url: str
    metrics_url: str
    logs_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: str = ""
    gzip: bool = True


def is_configured(settings: Settings) -> bool:
    """Whether anything is told to anybody."""
    endpoints = (
        settings.otlp_endpoint,
        settings.otlp_traces_endpoint,
        settings.otlp_metrics_endpoint,
        settings.otlp_logs_endpoint,
    )
    return settings.logfire_token is not None or any(endpoints)


def destinations(settings: Settings) -> list[Destination]:
    """Logfire first. `ConfigError` where the standard's variables ask for what is not done."""
    found = []
    if settings.logfire_token is not None:
        base = logfire_url(settings.logfire_token, settings.logfire_base_url)
        found.append(
            Destination(
                "logfire",
                f"{base}/v1/traces",
                f"{base}/v1/metrics",
                f"{base}/v1/logs",
                {"authorization": settings.logfire_token},
            )
        )
    variables = otel_variables()
    protocol = variables.get(f"{_OTLP}PROTOCOL", "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigError(f"{_OTLP}PROTOCOL is {protocol!r}; valid: http/protobuf")
    if is_configured(settings.model_copy(update={"logfire_token": None})):
        base_url = settings.otlp_endpoint
        found.append(
            Destination(
                "otlp",
                _url(settings.otlp_traces_endpoint, base_url, "traces"),
                _url(settings.otlp_metrics_endpoint, base_url, "metrics"),
                _url(settings.otlp_logs_endpoint, base_url, "logs"),
                _headers(variables.get(f"{_OTLP}HEADERS", "")),
                variables.get(f"{_OTLP}CERTIFICATE", ""),
                variables.get(f"{_OTLP}COMPRESSION") == "gzip",
            )
        )
    return found


def logfire_url(token: str, base_url: str | None) -> str:
    """Where a token's project is: its region's, as Logfire's SDK has it, unless told otherwise."""
    # Late: who has no token does not load it.
    from logfire import AdvancedOptions

    return AdvancedOptions(base_url=base_url).generate_base_url(token).rstrip("/")


def otel_variables() -> dict[str, str]:
    """OpenTelemetry's and Logfire's own variables, those of ``.env``, too."""
    found = all_variables(os.environ, Path(".env"))
    return {n: value for n, value in found.items() if n.startswith(("OTEL_", "LOGFIRE_"))}


def _url(own: str | None, base: str | None, signal: str) -> str:
    if own is not None:
        return own
    return "" if base is None else f"{base.rstrip('/')}/v1/{signal}"


def _headers(text: str) -> dict[str, str]:
    """``name=value,…``, percent-encoded.

    >>> _headers("x-token=a%20b, other=1")
    {'x-token': 'a b', 'other': '1'}
    """
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
