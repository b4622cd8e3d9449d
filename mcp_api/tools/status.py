"""`get_server_status`: what runs, what is stored, what is behind."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.text import status_text
from mcp_api.tools.times import iso
from mcp_api.tools.values import as_of_content
from projections.projector import Projector
from projections.queries import Queries
from streams.config import Settings
from streams.errors import ProjectionError
from streams.ingest.cpu_usage import CpuUsage
from streams.runners.local import LocalRunner

SERVER_NAME = "logfire-mcp"
_CPU_USAGE = CpuUsage()
STALLED_S = 30.0
"""Without progress for so long, though there is something to do, a part counts as stalled."""

_NOT_USED = "configured, but not used by this version"


def server_version() -> str:
    """The installed distribution's version; of a bare source tree ``0+unknown``."""
    try:
        return version("logfire-mcp-server")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the status looks at."""

    projector: Projector
    queries: Queries
    runner: LocalRunner
    settings: Settings
    started_ms: int


def server_status(parts: Parts, now_ms: int) -> ToolAnswer:
    """The answer; reads in bounded time. Where the read side fails, the status says so, and what
    it would have told is null or left out."""
    problems = _problems("runner", parts.runner)
    metrics: dict[str, int | None] = {"total_metrics_stored": None}
    as_of: dict[str, Any] = {"time": None, "position": ""}
    lag: dict[str, dict[str, float]] = {}
    database = "connected"
    try:
        problems += _problems("projection", parts.projector)
        metrics |= _metrics(parts.queries)
        as_of = as_of_content(parts.queries.as_of())
        lag = _projection_lag(parts)
    except ProjectionError as error:
        problems.append(f"database: {error}"[:300])
    if (failure := parts.projector.failure()) is not None or len(metrics) == 1:
        database = f"error: {failure or problems[-1]}"[:300]
    content: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "version": server_version(),
        "status": "degraded" if problems else "healthy",
        "problems": problems,
        "uptime": max(now_ms - parts.started_ms, 0) / 1_000,
        "components": _components(parts.settings, database),
        "metrics": {**metrics, "active_alerts": 0, "health_checks": 0},
        "system_info": _system_info(),
        "timestamp": iso(now_ms),
        "lag": lag | _processor_lag(parts.runner),
        "as_of": as_of,
    }
    return ToolAnswer(content, status_text(content))


def _problems(name: str, part: LocalRunner | Projector) -> list[str]:
    if (failure := part.failure()) is not None:
        return [f"{name}: {failure}"[:300]]
    stalled_s = part.stalled_for_s()
    return [f"{name}: no progress for {stalled_s:.0f} s"] if stalled_s > STALLED_S else []


def _components(settings: Settings, database: str) -> dict[str, str]:
    def optional(value: object) -> str:
        return _NOT_USED if value else "not_configured"

    return {
        "database": database,
        "redis": optional(settings.redis_url),
        "influxdb": optional(settings.influxdb_url),
        "prometheus": "connected",  # /metrics is served whenever this is asked
        "logfire": optional(settings.logfire_token),
        "kafka": optional(settings.kafka_bootstrap_servers),
    }


def _metrics(queries: Queries) -> dict[str, int]:
    totals = queries.totals()
    return {
        "total_metrics_stored": totals.points,
        "series": totals.series,
        "metric_names": totals.metrics,
        "windows": totals.windows,
        "duplicates": totals.duplicates,
        "poison_records": totals.poison,
    }


def _projection_lag(parts: Parts) -> dict[str, dict[str, float]]:
    return {
        name: {"records": lag.records, "seconds": round(lag.seconds, 3)}
        for name, lag in parts.projector.lag().items()
    }


def _processor_lag(runner: LocalRunner) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (processor, _), records in runner.lag().items():
        entry = found.setdefault(processor, {"records": 0, "seconds": 0.0})
        entry["records"] += records
        entry["seconds"] = round(runner.stalled_for_s(), 3)
    return found


def _system_info() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    process = psutil.Process()
    return {
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "cpu_count": psutil.cpu_count() or 1,
        "cpu_percent": _CPU_USAGE.percent(),  # since the last status
        "memory_percent": memory.percent,
        "memory_total_bytes": memory.total,
        "process_memory_bytes": process.memory_info().rss,
    }
