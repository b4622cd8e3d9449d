"""What the log holds counts in the series limits, also what is not projected yet."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from mcp_api.server import Server
from streams.events.topics import POINTS
from streams.ingest.json_points import parse_arguments
from streams.ingest.merging import Merger, Request
from streams.log.protocol import Append
from streams.log.wall_clock import wall_clock_ms
from tests.api.processes import quick_settings

PATIENCE_S = 20.0


async def collect(server: Server, *names: str) -> int:
    """How many of the points were taken."""
    metrics = [{"name": name, "value": 1, "metric_type": "gauge"} for name in names]
    arguments = {"source": "s", "metrics": metrics}
    answer = await server.calls.call("collect_metrics", arguments, actor="test")
    count = answer.content["collected_count"]
    assert isinstance(count, int)
    return count


async def test_series_that_a_crash_left_unprojected_count_in_the_limits(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    file, older = tmp_path / "logfire_mcp.duckdb", tmp_path / "older.duckdb"
    async with Server(settings) as server:
        assert await collect(server, "a", "b") == 2
        await server.projector.wait_for({(POINTS, 0): 0}, PATIENCE_S)
    shutil.copy(file, older)
    async with Server(settings) as server:
        assert await collect(server, "c", "d", "e") == 3
    shutil.copy(older, file)
    async with Server(settings) as server:
        async with asyncio.timeout(PATIENCE_S):
            while server.limits.series < 5:
                await asyncio.sleep(0)
        server.limits.total_max = 5
        assert await collect(server, "a", "e", "f") == 2, "f is a new one"


async def test_series_that_others_write_are_counted_soon(tmp_path: Path) -> None:
    async with Server(quick_settings(tmp_path)) as server:
        batch = parse_arguments(
            {"source": "s", "metrics": [{"name": "a", "value": 1, "metric_type": "gauge"}]},
            wall_clock_ms(),
        ).batch
        written = Merger(server.log.partitions(POINTS)).entries([Request(batch, "o", "other", 0)])
        await server.log.append(Append(tuple(one.entry for one in written)))
        async with asyncio.timeout(PATIENCE_S):
            while server.limits.series < 1:
                await asyncio.sleep(0)
