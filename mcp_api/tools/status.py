"""`get_server_status`: what runs, what is stored, what is behind."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from mcp_api.log_watch import LogStatus, LogWatch
from mcp_api.sinks import Sinks
from mcp_api.telling import Telling
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.text import status_text
from mcp_api.tools.times import iso
from mcp_api.tools.values import as_of_content
from mcp_api.watching import Watching
from projections.alert_queries import AlertQueries
from projections.health_queries import HealthQueries
from projections.projector import Projector
from projections.queries import Queries
from streams.config import Settings
from streams.errors import ProjectionError
from streams.ingest.cpu_usage import CpuUsage
from streams.runners.runner import Runner

SERVER_NAME = "logfire-mcp"
_CPU_USAGE = CpuUsage()
STALLED_S = 30.0
"""Without progress for so long, though there is something to do, a part counts as stalled."""


def server_version() -> str:
    """The installed distribution's version; of a bare source tree ``0+unknown``."""
    try:
        return version("logfire-mcp-server")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the status looks at; ``runner`` None: the processors run elsewhere; ``telling`` None:
    alerts are told elsewhere."""

    projector: Projector
    queries: Queries
    runner: Runner | None
    settings: Settings
    started_ms: int
    log: LogWatch
    telling: Telling | None = None
    sinks: Sinks | None = None
    watching: Watching | None = None


def server_status(parts: Parts, now_ms: int) -> ToolAnswer:
    """The answer; reads in bounded time. Where the read side fails, the status says so, and what
    it would have told is null or left out."""
    log = parts.log.status()
    problems = [problem[:300] for problem in log.problems]
    if parts.runner is not None:
        problems += _problems("runner", parts.runner)
    if parts.telling is not None:
        problems += [problem[:300] for problem in parts.telling.problems()[:10]]
    if parts.watching is not None:
        problems += parts.watching.problems()
    if parts.sinks is not None:
        problems += [problem[:300] for problem in parts.sinks.problems()[:10]]
    metrics: dict[str, int | None] = {
        "total_metrics_stored": None,
        "active_alerts": None,
        "health_checks": None,
    }
    as_of: dict[str, Any] = {"time": None, "position": ""}
    lag: dict[str, dict[str, float]] = {}
    database = "connected"
    try:
        problems += _problems("projection", parts.projector)
        metrics |= _metrics(parts.queries) | _alert_metrics(AlertQueries(parts.projector))
        metrics["health_checks"] = HealthQueries(parts.projector).checks()
        as_of = as_of_content(parts.queries.as_of())
        lag = _projection_lag(parts)
    except ProjectionError as error:
        problems.append(f"database: {error}"[:300])
    unread = metrics["total_metrics_stored"] is None
    if (failure := parts.projector.failure()) is not None or unread:
        database = f"error: {failure or problems[-1]}"[:300]
    content: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "version": server_version(),
        "status": "degraded" if problems else "healthy",
        "problems": problems,
        "uptime": max(now_ms - parts.started_ms, 0) / 1_000,
        "components": _components(parts, database, log),
        "metrics": metrics,
        "system_info": _system_info(),
        "timestamp": iso(now_ms),
        "lag": lag | _processor_lag(parts.runner) | _sink_lag(parts.sinks),
        "log": _log_content(parts, log),
        "as_of": as_of,
    }
    return ToolAnswer(content, status_text(content))


def _problems(name: str, part: Runner | Projector) -> list[str]:
    if (failure := part.failure()) is not None:
        return [f"{name}: {failure}"[:300]]
    stalled_s = part.stalled_for_s()
    return [f"{name}: no progress for {stalled_s:.0f} s"] if stalled_s > STALLED_S else []


def _components(parts: Parts, database: str, log: LogStatus) -> dict[str, str]:
    def sink(name: str) -> str:
        return "not_configured" if parts.sinks is None else parts.sinks.component(name)

    return {
        "database": database,
        "redis": sink("redis"),
        "influxdb": sink("influxdb"),
        "prometheus": "connected",  # /metrics is served whenever this is asked
        "logfire": sink("logfire"),
        "otlp": sink("otlp"),
        "kafka": _kafka(log),
    }


def _kafka(log: LogStatus) -> str:
    if log.kind != "kafka":
        return "not_configured"
    return f"error: {log.unreachable}"[:300] if log.unreachable else "connected"


def _log_content(parts: Parts, log: LogStatus) -> dict[str, Any]:
    """Partitions with nothing before them are left out of the lag."""
    content: dict[str, Any] = {"kind": log.kind, "durable": log.durable}
    if log.kind == "kafka":
        content |= {"brokers": list(log.brokers), "node": log.node, "dropped": log.dropped}
    try:
        behind = parts.projector.lag_by_partition()
    except ProjectionError:
        behind = {}
    content["lag"] = [
        {"topic": topic, "partition": number, "records": records}
        for (topic, number), records in sorted(behind.items())
        if records
    ]
    return content


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


def _alert_metrics(queries: AlertQueries) -> dict[str, int]:
    counts = queries.counts()
    waiting = counts.notifications["outstanding"] + counts.notifications["retrying"]
    return {
        "active_alerts": counts.firing,
        "pending_alerts": counts.alerts["pending"],
        "alert_rules": counts.rules,
        "failing_rules": counts.rules_failing,
        "notifications_outstanding": waiting,
        "notifications_failed": counts.notifications["failed"],
    }


def _projection_lag(parts: Parts) -> dict[str, dict[str, float]]:
    return {
        name: {"records": lag.records, "seconds": round(lag.seconds, 3)}
        for name, lag in parts.projector.lag().items()
    }


def _sink_lag(sinks: Sinks | None) -> dict[str, dict[str, float]]:
    told = {} if sinks is None else sinks.status()
    return {
        name: {"records": status.records, "seconds": round(status.seconds, 3)}
        for name, status in told.items()
    }


def _processor_lag(runner: Runner | None) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    if runner is None:
        return found
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
