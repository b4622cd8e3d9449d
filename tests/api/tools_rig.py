"""The tools over a real log, runner and projection in a temporary folder, with a manual clock."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.positions import parse_position
from mcp_api.tools.specs import SPECS_BY_NAME
from mcp_api.tools.times import iso
from mcp_api.tools.toolbox import LocalToolbox
from projections.projector import Projector
from projections.queries import Queries
from streams.config import load_settings
from streams.ingest.edge import Edge
from streams.ingest.series_limits import SeriesLimits
from streams.log.sqlite_log import SqliteLog
from streams.processors.windows import WindowsProcessor
from streams.runners.local import LocalRunner

NOW_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z
BASE_URL = "http://127.0.0.1:8000"


@dataclass
class Rig:
    """``call`` checks every answer against its output schema."""

    toolbox: LocalToolbox
    projector: Projector
    runner: LocalRunner
    log: SqliteLog

    async def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        return (await self.answer(name, **arguments)).content

    async def answer(self, name: str, /, **arguments: Any) -> ToolAnswer:
        answer = await self.toolbox.call(name, arguments, actor="test")
        jsonschema.validate(answer.content, SPECS_BY_NAME[name].output_schema)
        assert answer.text
        return answer

    async def collect(self, metrics: list[dict[str, Any]], source: str = "app") -> str:
        """Stores the points; returns when they can be queried."""
        answer = await self.call("collect_metrics", source=source, metrics=metrics)
        assert answer["collected_count"] == len(metrics), answer
        position = answer["position"]
        assert isinstance(position, str)
        await self.projector.wait_for(parse_position(position))
        return position


@asynccontextmanager
async def open_rig(
    folder: Path, *, wait_s: float = 5.0, project: bool = True, **variables: str
) -> AsyncIterator[Rig]:
    """Everything, started; closed at the end. ``project`` False: the projection is not
    started. ``variables``: the environment's."""
    settings = load_settings(variables, data_dir=folder)
    log = SqliteLog.open(folder / "log.db")
    runner = LocalRunner(log, [WindowsProcessor()], tick_ms=5_000, clock=lambda: NOW_MS)
    projector = Projector(log, folder / "projection.duckdb")
    if project:
        projector.start()
    runner.start()
    edge = Edge(log, SeriesLimits(), clock=lambda: NOW_MS)
    toolbox = LocalToolbox(
        log=log,
        edge=edge,
        projector=projector,
        queries=Queries(projector),
        runner=runner,
        settings=settings,
        base_url=BASE_URL,
        clock=lambda: NOW_MS,
        caught_up_wait_s=wait_s,
    )
    try:
        yield Rig(toolbox, projector, runner, log)
    finally:
        toolbox.close()
        await edge.close()
        runner.stop()
        projector.stop()
        log.close()


def point(name: str, value: object, at_ms: int = NOW_MS, **more: Any) -> dict[str, Any]:
    """A point of `collect_metrics`; tags by name, but for ``metric_type`` and ``unit``."""
    fields = {key: more.pop(key) for key in ("metric_type", "unit") if key in more}
    return {
        "name": name,
        "value": value,
        "metric_type": "gauge",
        "timestamp": iso(at_ms),
        "tags": more,
        **fields,
    }


def waves(
    name: str, hosts: int, *, points: int = 60, step_ms: int = 60_000
) -> list[dict[str, Any]]:
    """One series a host over the last hours: a slow sine, two decimals."""
    return [
        point(
            name,
            round(50 + 20 * math.sin(k / 7 + host) + host, 2),
            NOW_MS - k * step_ms,
            host=f"server{host:02d}",
            unit="percent",
        )
        for host in range(hosts)
        for k in range(points)
    ]
