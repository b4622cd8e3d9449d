"""What the server tells of itself at ``GET /metrics``, in Prometheus' text format.

The names are a contract with dashboards. Counters are counted where things happen; positions and
lags are read at the scrape, so that they cost nothing between scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_api.asgi import Scope

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()

OWN_NAME = "logfire-mcp"
"""This server among those whose requests are counted."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_METHODS = frozenset({"GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge read at the scrape: its samples by the values of ``labels``."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    samples: Mapping[tuple[str, ...], float] = field(default_factory=dict)


class Telemetry:
    """Counts requests and tool calls; a registry of its own, so two servers can share a process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "logfire_mcp_http_requests",
            "HTTP requests answered, by route, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "logfire_mcp_http_request_seconds",
            "From the end of a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "logfire_mcp_tool_calls",
            "Tool calls, by tool and outcome (ok, or the error's HTTP status).",
            ("tool", "outcome"),
            registry=self.registry,
        )
        self._mcp_requests = Counter(
            "mcp_requests",
            "Requests to MCP servers, this one's as logfire-mcp, by tool or other method and "
            "status: ok or error.",
            ("server", "method", "status"),
            registry=self.registry,
        )
        self._mcp_seconds = Histogram(
            "mcp_request_duration",
            "How long requests to MCP servers took, by tool or other method.",
            ("server", "method"),
            unit="seconds",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.points = Counter(
            "logfire_mcp_points",
            "Points sent to collect_metrics, by outcome: accepted, rejected (with a reason), "
            "duplicate (of a request that was counted before).",
            ("outcome",),
            registry=self.registry,
        )
        self.errors = Counter(
            "logfire_mcp_uncaught_errors",
            "Errors that were nobody's fault but ours; the log has their tracebacks.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def add_gauges(self, read: Callable[[], Iterable[Gauge]]) -> None:
        """``read`` is called at each scrape, in a worker thread."""
        self.registry.register(_AtScrape(read))

    def observe_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts one request; ``scope["route"]`` is the path that matched, if one did."""
        route = scope.get("route", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        shown = str(status) if status else "disconnected"
        self._requests.labels(route, method, shown).inc()
        self._seconds.labels(route).observe(seconds)
        if status == 500:
            self.errors.inc()

    def observe_call(self, tool: str, outcome: str, seconds: float) -> None:
        """Counts one tool call; ``tool`` is one of ours."""
        self._calls.labels(tool, outcome).inc()
        self.observe_mcp(tool, seconds, ok=outcome == "ok")

    def observe_mcp(self, method: str, seconds: float, *, ok: bool) -> None:
        """Counts one request to this server by its tool's name, or by another method of MCP."""
        self._mcp_requests.labels(OWN_NAME, method, "ok" if ok else "error").inc()
        self._mcp_seconds.labels(OWN_NAME, method).observe(seconds)

    def mcp_counts(self) -> Iterator[Metric]:
        """What `observe_mcp` counted, for those who keep it."""
        yield from self._mcp_requests.collect()
        yield from self._mcp_seconds.collect()

    def render(self) -> bytes:
        """The whole page; reads the gauges, so not on the event loop."""
        return generate_latest(self.registry)


class _AtScrape(Collector):
    def __init__(self, read: Callable[[], Iterable[Gauge]]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        return iter(())  # else registering would scrape, before there is anything to read

    def collect(self) -> Iterator[Metric]:
        for gauge in self._read():
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for values, value in gauge.samples.items():
                family.add_metric(values, value)
            yield family
