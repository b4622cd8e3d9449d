"""Spans: what one request causes is one trace, wherever and whenever it is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.processes import ROOT, environment, serving
from tests.flow.receiving import http_server
from tests.observability.calling import (
    FAST,
    PARENT,
    TOKEN,
    TRACE,
    TRACED,
    alert,
    call,
    collect,
    receivers,
)
from tests.observability.collector import Collector, collecting, of_trace

COMMAND = "3" * 32
READ_SIDE = {"processor windows", "processor route", "projection duckdb"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def test_a_call_is_one_trace_from_the_request_to_the_notification(
    collector: Collector, tmp_path: Path
) -> None:
    sent_to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with (
        http_server() as inbox,
        serving(tmp_path, **sent_to, ALERT_RECEIVERS=receivers(inbox.url), **FAST) as (_, found),
    ):
        alert(found.url, {"traceparent": f"00-{COMMAND}-{PARENT}-01"})
        collect(found.url, 9.0, TRACED)
        expected = READ_SIDE | {"POST /logfire-mcp", "tool collect_metrics", "log append"}
        expected |= {"processor evaluate", "processor notify", "notify ops"}
        collector.wait_for(lambda: expected <= of_trace(collector.spans, TRACE).keys())
        line = collector.wait_for(lambda: [one for one in collector.lines if "fired" in one.body])
    spans = of_trace(collector.spans, TRACE)
    request, tool = spans["POST /logfire-mcp"], spans["tool collect_metrics"]
    assert request.parent == PARENT
    assert request.attributes["http.response.status_code"] == 200
    assert (tool.parent, tool.attributes["points"]) == (request.id, 1)
    assert {spans["log append"].parent, spans["notify ops"].parent} == {tool.id}
    assert line[0].trace == TRACE
    command = of_trace(collector.spans, COMMAND).keys()
    assert {"tool create_alert", "processor commands", "processor notify"} <= command


def test_logfire_gets_spans_with_token_service_project_and_environment(tmp_path: Path) -> None:
    with collecting(token=TOKEN) as logfire:
        told = {
            "LOGFIRE_TOKEN": TOKEN,
            "LOGFIRE_BASE_URL": logfire.url,
            "LOGFIRE_SERVICE_NAME": "ours",
            "LOGFIRE_PROJECT_NAME": "fleet",
            "ENVIRONMENT": "staging",
        }
        with serving(tmp_path, **told, **FAST) as (_, found):
            collect(found.url, 1.0, TRACED)
            logfire.wait_for(lambda: of_trace(logfire.spans, TRACE).keys() >= READ_SIDE)
            status = call(found.url, "get_server_status")
        assert status["components"]["logfire"] == "connected"
        resource = of_trace(logfire.spans, TRACE)["projection duckdb"].resource
    assert resource["service.name"] == "ours"
    assert resource["logfire.project_name"] == "fleet"
    assert resource["deployment.environment.name"] == "staging"


def test_a_trace_begins_where_none_is_given_and_never_without_a_call(
    collector: Collector, tmp_path: Path
) -> None:
    with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **FAST) as (_, found):
        collect(found.url, 1.0, {"traceparent": "00-nonsense"})
        collector.wait_for(lambda: any(s.name == "projection duckdb" for s in collector.spans))
    (request,) = [span for span in collector.spans if span.name == "POST /logfire-mcp"]
    assert request.parent == ""
    assert {span.trace for span in collector.spans} == {request.trace}  # none of ticks, of /ready


ALONE = """
import asyncio, sys
connected = []
def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        connected.append((event, str(arguments[1:])))
import mcp_api.cli
from mcp_api.server import Server
from pathlib import Path
from tests.api.processes import quick_settings

async def run():
    async with Server(quick_settings(Path(sys.argv[1]))) as server:
        await server.until_ready()
        sys.addaudithook(audit)
        metrics = [{"name": "load", "value": 1, "metric_type": "gauge"}]
        arguments = {"source": "a", "metrics": metrics}
        answer = await server.calls.call("collect_metrics", arguments, actor="me")
        position = answer.content["position"]
        arguments = {"operation": "list_metrics", "min_position": position}
        await server.calls.call("query_metrics", arguments, actor="me")
asyncio.run(run())
loaded = [name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "logfire")]
print(loaded, connected)
"""


def test_without_a_token_nothing_is_loaded_and_nothing_leaves_the_machine(tmp_path: Path) -> None:
    told = environment(PYTHONPATH=str(ROOT))
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        cwd=tmp_path,
        env={name: value for name, value in told.items() if not name.startswith("OTEL_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.strip() == "[] []", ran.stderr


def test_another_protocol_is_refused_at_the_start(tmp_path: Path) -> None:
    told = environment(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL="grpc"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mcp_api", "serve", "--port", "0", "--data-dir", str(tmp_path)],
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; valid: http/protobuf" in ran.stderr
