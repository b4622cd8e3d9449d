"""What this server tells others of itself: Logfire, OpenTelemetry; and Grafana, which asks it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from mcp_api.observability.destinations import Destination, destinations
from mcp_api.validation.outcome import Check, Outcome, failed, look, ok, skipped
from streams.config import Settings

PART = "telemetry"
ANSWER_S = 10.0
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def check_telemetry(settings: Settings) -> Iterator[Check]:
    """Nothing is recorded anywhere. `ConfigError` where it is not configured well."""
    told = {destination.name: destination for destination in destinations(settings)}
    logfire, other = told.get("logfire"), told.get("otlp")
    yield look(PART, "Logfire", lambda: _logfire(logfire), "check the network")
    yield look(PART, "OpenTelemetry", lambda: _otlp(other), f"check {_ENDPOINT}, and that it runs")
    yield look(PART, "Grafana", lambda: _grafana(settings), "check GRAFANA_URL, and that it runs")


def _logfire(logfire: Destination | None) -> Outcome:
    """As its SDK checks a token."""
    if logfire is None:
        return skipped("LOGFIRE_TOKEN is not set: nothing is sent there")
    base = logfire.traces_url.removesuffix("/v1/traces")
    request = httpx.Request("GET", f"{base}/v1/info", headers=dict(logfire.headers))
    answer = _asked(request)
    if answer.status_code in (401, 403):
        todo = "check LOGFIRE_TOKEN: it is a write token of a project"
        return failed(f"{_place(base)} refuses the token", todo)
    if answer.status_code != 200:
        return failed(f"{_place(base)} answers {answer.status_code}", "ask again later")
    project = _told(answer, "project_name")
    return ok(f"{_place(base)} takes the token, of project {project}")


def _otlp(other: Destination | None) -> Outcome:
    """An empty body is a valid request that tells of nothing (OTLP 1.x, binary protobuf)."""
    if other is None:
        return skipped(f"{_ENDPOINT} is not set: nothing is sent there")
    url = other.traces_url or other.metrics_url or other.logs_url
    headers = {**other.headers, "content-type": "application/x-protobuf"}
    request = httpx.Request("POST", url, headers=headers, content=b"")
    answer = _asked(request, other.certificate)
    if answer.status_code != 200:
        todo = f"check {_ENDPOINT} and OTEL_EXPORTER_OTLP_HEADERS"
        return failed(f"{_place(url)} answers {answer.status_code}", todo)
    return ok(f"{_place(url)} takes what it is told")


def _grafana(settings: Settings) -> Outcome:
    if settings.grafana_url is None:
        return skipped("GRAFANA_URL is not set")
    url = settings.grafana_url.rstrip("/")
    health = _asked(httpx.Request("GET", f"{url}/api/health"))
    if health.status_code != 200:
        return failed(f"/api/health answers {health.status_code}", "see Grafana's output")
    version = _told(health, "version")
    if settings.grafana_api_key is None:
        return ok(f"version {version} answers; GRAFANA_API_KEY is not set")
    headers = {"authorization": f"Bearer {settings.grafana_api_key}"}
    answer = _asked(httpx.Request("GET", f"{url}/api/org", headers=headers))
    if answer.status_code != 200:
        todo = "make a service account's token with the role Admin"
        return failed(f"it refuses GRAFANA_API_KEY: {answer.status_code}", todo)
    return ok(f"version {version} answers and takes the key")


def _asked(request: httpx.Request, certificate: str = "") -> httpx.Response:
    """`OSError` where there is no answer, or one that is no text of HTTP. ``certificate``: a file
    of authorities that are trusted beside the usual ones."""
    verify = ssl.create_default_context()
    if certificate:
        verify.load_verify_locations(certificate)
    try:
        with httpx.Client(timeout=ANSWER_S, verify=verify) as client:
            return client.send(request)
    except httpx.HTTPError as error:
        where = _place(str(request.url))
        raise OSError(f"{where}: {type(error).__name__}: {error}") from error


def _told(answer: httpx.Response, field: str) -> str:
    """`OSError` where something else than the service answers at the URL."""
    try:
        return str(answer.json()[field])
    except (ValueError, KeyError, TypeError) as error:
        where = _place(str(answer.url))
        raise OSError(f"{where} answers without {field}: it is another service") from error


def _place(url: str) -> str:
    """The URL without what may be secret.

    >>> _place("https://user:hush@example.org:4318/v1/traces?key=hush")
    'https://example.org:4318/v1/traces'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
