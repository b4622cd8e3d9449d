"""A retried request is told what the first one was told, whatever has changed meanwhile."""

from __future__ import annotations

from pathlib import Path

from streams.ingest.edge import Edge
from streams.ingest.json_points import parse_arguments
from streams.ingest.parsed import Parsed
from streams.ingest.series_limits import SeriesLimits
from streams.log.sqlite_log import SqliteLog

NOW_MS = 1_795_000_000_000
TWO_MINUTES_MS = 120_000


def sent(received_ms: int) -> Parsed:
    """One point of now, and one that lies 11 minutes after it."""
    points = [
        {"name": "good", "value": 1, "metric_type": "gauge", "timestamp": NOW_MS / 1000},
        {"name": "early", "value": 2, "metric_type": "gauge", "timestamp": NOW_MS / 1000 + 660},
    ]
    arguments = {"source": "agent", "metrics": points, "request_id": "once"}
    return parse_arguments(arguments, received_ms)


async def test_a_point_that_was_refused_at_first_is_not_said_to_be_stored_by_a_retry(
    tmp_path: Path,
) -> None:
    log = SqliteLog.open(tmp_path / "log.db")
    edge = Edge(log, SeriesLimits(), clock=lambda: NOW_MS)
    try:
        first = await edge.collect(sent(NOW_MS), actor="local")
        retry = await edge.collect(sent(NOW_MS + TWO_MINUTES_MS), actor="local")
    finally:
        await edge.close()
        log.close()

    assert (first.collected_count, first.rejected_count) == (1, 1)
    assert retry.duplicate
    assert (retry.collected_count, retry.rejected_count) == (1, 1)
    assert retry.positions == first.positions
