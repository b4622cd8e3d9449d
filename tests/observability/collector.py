"""A collector that takes OTLP over HTTP as Logfire and OpenTelemetry's own do, and keeps it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S = 30
KINDS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@dataclass(frozen=True)
class Span:
    trace: str
    id: str
    parent: str
    name: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    failed: bool
    resource: dict[str, Any]


@dataclass(frozen=True)
class Point:
    name: str
    unit: str
    kind: str
    labels: tuple[tuple[str, str], ...]
    at_ns: int
    value: float


@dataclass(frozen=True)
class Line:
    severity: int
    body: str
    name: str
    trace: str
    at_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """``answer``: the status for a path; ``token``: where set, what ``Authorization`` must be."""

    url: str = ""
    token: str | None = None
    answer: Callable[[str], int] = lambda _: 200
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """What ``found`` gives, once that is something."""
        with self.changed:
            arrived = self.changed.wait_for(found, timeout=WAIT_S)
            assert arrived, sorted({(span.trace[:4], span.name) for span in self.spans})
            return found()

    def take(self, path: str, body: bytes) -> None:
        message: Any = KINDS[path].FromString(body)
        with self.changed:
            match path:
                case "/v1/traces":
                    for group in message.resource_spans:
                        resource = plain(group.resource.attributes)
                        for scope in group.scope_spans:
                            self.spans += [_span(each, resource) for each in scope.spans]
                case "/v1/metrics":
                    self.points += points_of(message)
                case "/v1/logs":
                    for group in message.resource_logs:
                        resource = plain(group.resource.attributes)
                        for scope in group.scope_logs:
                            self.lines += [_line(each, resource) for each in scope.log_records]


def of_trace(spans: list[Span], trace: str) -> dict[str, Span]:
    """By name; a step over what several calls caused belongs to one and is linked to the others."""
    return {span.name: span for span in spans if trace in (span.trace, *span.links)}


def plain(attributes: Any) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in attributes
    }


def _span(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        plain(span.attributes),
        tuple(link.trace_id.hex() for link in span.links),
        span.status.code == 2,
        resource,
    )


def points_of(message: Any) -> list[Point]:
    """Of an export request for metrics."""
    return [
        point
        for group in message.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        for point in _points(metric)
    ]


def _points(metric: Any) -> list[Point]:
    kind = metric.WhichOneof("data")
    return [
        Point(
            metric.name,
            metric.unit,
            kind,
            tuple(sorted(plain(point.attributes).items())),
            point.time_unix_nano,
            point.as_double,
        )
        for point in getattr(metric, kind).data_points
    ]


def _line(line: Any, resource: dict[str, Any]) -> Line:
    return Line(
        line.severity_number,
        line.body.string_value,
        line.event_name,
        line.trace_id.hex(),
        line.time_unix_nano,
        plain(line.attributes),
        resource,
    )


@contextmanager
def collecting(token: str | None = None) -> Iterator[Collector]:
    collector = Collector(token=token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Logfire's SDK asks whether the token is good."""
            self._say(200, b'{"project_name": "test", "project_url": "http://localhost/test"}')

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if token is not None and self.headers.get("Authorization") != token:
                status = 401
            else:
                status = collector.answer(self.path)
            if status == 200:
                collector.take(self.path, body)
            with collector.changed:
                collector.paths.append(self.path)
                collector.changed.notify_all()
            self._say(status, b"")

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
