"""The seed's Logfire and OpenTelemetry: without a token silent, with one told."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import pytest

from tests.api.processes import serving
from tests.api.services import Service, http_service
from tests.seed.served import until

TOKEN = "pylf_v1_us_seed"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """A Logfire and a collector, told of one call by a server that has both."""
    with http_service(lambda _: (200, b"")) as logfire, http_service(lambda _: (200, b"")) as other:
        settings = {
            "LOGFIRE_TOKEN": TOKEN,
            "LOGFIRE_BASE_URL": logfire.url,
            "LOGFIRE_PROJECT_NAME": "of-the-seed",
            "LOGFIRE_SERVICE_NAME": "seed-service",
            "ENVIRONMENT": "seed-production",
            "OTEL_EXPORTER_OTLP_ENDPOINT": other.url,
        }
        with serving(tmp_path_factory.mktemp("told"), **settings) as (_, found):
            asked = {"tool": "get_server_status", "arguments": {}}
            httpx.post(f"{found.url}/logfire-mcp", json=asked, timeout=30)
        yield logfire, other


def traces(service: Service) -> list[tuple[dict[str, str], bytes]]:
    """Headers and bodies; on its way out the server has sent what it had."""
    until(lambda: any(each.path == "/v1/traces" for each in service.asked), "a trace")
    sent = [each for each in service.asked if each.path == "/v1/traces"]
    zipped = "content-encoding"
    return [
        (one.headers, gzip.decompress(one.body) if zipped in one.headers else one.body)
        for one in sent
    ]


def test_logfire_gets_the_traces_of_calls_with_the_token(told: tuple[Service, Service]) -> None:
    """“Native integration with Logfire for structured logging and observability”."""
    sent = traces(told[0])
    assert all(TOKEN in headers["authorization"] for headers, _ in sent)
    assert any(b"tool get_server_status" in body for _, body in sent)


def test_a_trace_names_the_service_the_project_and_the_environment(
    told: tuple[Service, Service],
) -> None:
    """``LOGFIRE_PROJECT_NAME``, ``LOGFIRE_SERVICE_NAME``, ``ENVIRONMENT``."""
    _, body = traces(told[0])[0]
    assert all(name in body for name in (b"of-the-seed", b"seed-service", b"seed-production"))


def test_any_collector_of_opentelemetry_gets_the_traces(told: tuple[Service, Service]) -> None:
    """“Distributed tracing and metrics collection”; and not the token of Logfire."""
    sent = traces(told[1])
    assert any(b"tool get_server_status" in body for _, body in sent)
    assert all(TOKEN not in str(headers) for headers, _ in sent)
