"""Gauges of ``GET /metrics`` under the names that dashboards of MCP servers ask for: the health of
each target, and how busy this machine is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil

from mcp_api.telemetry import Gauge
from projections.health_queries import HealthQueries
from projections.projector import Projector
from streams.errors import ProjectionError, QueryTooExpensive
from streams.ingest.cpu_usage import CpuUsage


def named_gauges(projector: Projector) -> Callable[[], Iterator[Gauge]]:
    """What reads them, from any thread; the processors' usage is that since the scrape before."""
    cpu, health = CpuUsage(), HealthQueries(projector)

    def read() -> Iterator[Gauge]:
        with suppress(ProjectionError, QueryTooExpensive):  # no sample says so
            yield Gauge(
                "mcp_server_health",
                "1 while a target is healthy or degraded, 0 while it is unhealthy; none of one "
                "that is unknown, or down for another's sake.",
                ("server",),
                {
                    (one.target.name,): 0.0 if one.state == "unhealthy" else 1.0
                    for one in health.targets()
                    if one.state != "unknown" and not one.suppressed_by
                },
            )
        yield _percent("cpu", "Of the processors' time, what was not idle.", cpu.percent())
        memory, disk = psutil.virtual_memory().percent, psutil.disk_usage("/").percent
        yield _percent("memory", "Of the memory, what is not available.", memory)
        yield _percent("disk", "Of the root file system, what is used.", disk)

    return read


def _percent(of: str, text: str, value: float) -> Gauge:
    return Gauge(f"system_{of}_percent", text, (), {(): value})
