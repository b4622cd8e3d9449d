"""The gauges of ``GET /metrics`` that are read from a server's parts at the scrape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mcp_api.telemetry import Gauge
from projections.alert_queries import AlertQueries
from streams.errors import ProjectionError

if TYPE_CHECKING:
    from mcp_api.bodies import Bodies
    from mcp_api.log_watch import LogWatch
    from projections.alert_answers import AlertCounts
    from projections.projector import Projector
    from streams.ingest.edge import Edge
    from streams.ingest.series_limits import SeriesLimits
    from streams.log.opening import ServerLog
    from streams.runners.runner import Runner


def server_gauges(
    *,
    log: ServerLog,
    runner: Runner | None,
    watch: LogWatch,
    projector: Projector,
    edge: Edge,
    limits: SeriesLimits,
    bodies: Bodies,
) -> Iterator[Gauge]:
    """Everything that is bounded, and how far each reader of the log is."""
    yield Gauge(
        "logfire_mcp_log_end_offset",
        "Records ever appended, by topic and partition.",
        ("topic", "partition"),
        {(topic, str(number)): end for (topic, number), end in log.ends().items()},
    )
    if runner is not None:
        yield Gauge(
            "logfire_mcp_processor_lag_records",
            "Records that a processor has not absorbed.",
            ("processor", "partition"),
            {(name, str(number)): lag for (name, number), lag in runner.lag().items()},
        )
    with suppress(ProjectionError):  # not open yet: no sample says so
        lags = projector.lag()
        yield Gauge(
            "logfire_mcp_projection_lag_records",
            "Records that a projection has not absorbed.",
            ("projection",),
            {(name,): lag.records for name, lag in lags.items()},
        )
        yield Gauge(
            "logfire_mcp_projection_lag_seconds",
            "For how long a projection has been behind.",
            ("projection",),
            {(name,): lag.seconds for name, lag in lags.items()},
        )
        yield Gauge(
            "logfire_mcp_projection_partition_lag_records",
            "Records that the projection has not absorbed, by topic and partition.",
            ("topic", "partition"),
            {
                (topic, str(number)): lag
                for (topic, number), lag in projector.lag_by_partition().items()
            },
        )
    with suppress(ProjectionError):
        yield from _alerts(AlertQueries(projector).counts())
    status = watch.status()
    yield _one("log_reachable", "1 while the log answers.", float(not status.unreachable))
    yield _one("log_durable", "1 if a write outlives any one broker.", float(status.durable))
    yield _one("tail_records", "Records that came through Kafka's agents.", status.told)
    yield _one("tail_dropped_records", "Read again for want of buffer.", status.dropped)
    yield from _queues(log, edge, limits, bodies)


def _alerts(counts: AlertCounts) -> Iterator[Gauge]:
    yield _one("alerts_firing", "Alerts that fired and are not resolved.", counts.firing)
    yield Gauge(
        "logfire_mcp_alerts",
        "Alerts that are not inactive, by the state that they are in.",
        ("state",),
        {(state,): number for state, number in counts.alerts.items()},
    )
    yield Gauge(
        "logfire_mcp_notifications",
        "Notifications ever asked for, by what became of them.",
        ("outcome",),
        {(outcome,): number for outcome, number in counts.notifications.items()},
    )
    yield _one("rules", "Alert and recording rules.", counts.rules)
    yield _one("rules_failing", "Rules that cannot be evaluated.", counts.rules_failing)


def _queues(log: ServerLog, edge: Edge, limits: SeriesLimits, bodies: Bodies) -> Iterator[Gauge]:
    stats = log.stats()
    if stats is not None:
        yield _one("log_queue_bytes", "Waiting to be written to the log.", stats.waiting_bytes)
        yield _one("log_queue_units", "Units that wait to be written.", stats.waiting_units)
        yield _one("log_commits", "Group commits since the start.", stats.groups)
        yield _one("log_appends", "Units appended since the start.", stats.units)
        yield _one("log_refused", "Units refused since the queue was full.", stats.refused)
        yield _one("log_failed", "Units that could not be made durable.", stats.failed)
    yield _one("edge_points_in_flight", "Points taken and not answered.", edge.points_in_flight)
    yield _one("body_bytes_held", "Request bodies in memory.", bodies.held_bytes)
    yield _one("series", "Series known to the limits.", limits.series)


def _one(name: str, text: str, value: float) -> Gauge:
    return Gauge(f"logfire_mcp_{name}", text, (), {(): value})
