"""`LogfireMCPServer`: the whole server as part of somebody's own program.

async with LogfireMCPServer() as server:
    await server.collect([MetricPoint("queue_length", 12)])
    if await server.evaluate("queue_length > 10"):
        ...
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry

from mcp_api.server import Server
from mcp_api.tools.positions import parse_position, position_token
from mcp_api.tools.specs import SPECS_BY_NAME
from mcp_api.tools.toolbox import CAUGHT_UP_WAIT_S
from mcp_api.tools.values import json_number
from streams.config import load_settings
from streams.domain.rules import condition_problem
from streams.errors import InputError
from streams.events.batch import MetricType
from streams.events.topics import POINTS
from streams.log.protocol import Position
from streams.log.wall_clock import wall_clock_ms

__all__ = [
    "Active",
    "AlertSeverity",
    "Evaluation",
    "LogfireMCPServer",
    "MetricPoint",
    "MetricType",
]

ACTOR: Final = "local/python"
SOURCE: Final = "python"


class AlertSeverity(StrEnum):
    """How bad it is when an alert fires; receivers and routes choose by it."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One measurement. ``timestamp``: without a time zone it is UTC; None is when it is taken.

    NaN and the infinities are values. What is wrong with a point is said when it is collected.
    """

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)
    timestamp: datetime | None = None
    metric_type: MetricType = MetricType.GAUGE
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Active:
    """A series for which a condition holds: its labels, and the value of the condition there."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A condition at one time; true where it holds for any series, as an alert would have it."""

    condition: str
    at: datetime
    active: tuple[Active, ...]

    def __bool__(self) -> bool:
        return bool(self.active)


class LogfireMCPServer:
    """An async context manager: inside, the server runs in the event loop that entered it.

    It has its data directory for itself: `LogLocked` where another server runs there. What a method
    has written the next one sees. Every method raises errors of `streams.errors`: `InputError` for
    what cannot be taken, `Overloaded` where the same may succeed later, `LogError`,
    `ProjectionError`. The answers are those of the tools of the same names over MCP.
    """

    def __init__(
        self, data_dir: str | Path | None = None, *, port: int | None = None, **settings: Any
    ) -> None:
        """``port``: also serve HTTP and MCP there (0 takes a free one; then `url` says where);
        None: nothing listens. ``settings``: fields of `streams.config.Settings`, before the
        environment and ``.env``. `ConfigError` says what is wrong with any of them."""
        given = dict(settings)
        if data_dir is not None:
            given["data_dir"] = Path(data_dir)
        # What nobody can reach needs no token, whatever the environment says of an address.
        given = {"host": "127.0.0.1", **given} if port is None else {**given, "port": port}
        self._server = Server(
            load_settings(os.environ, Path(".env"), **given), listens=port is not None
        )
        self._stack = AsyncExitStack()
        self._written: dict[tuple[str, int], int] = {}

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Where HTTP and MCP are served; empty where nothing listens."""
        return self._server.url

    @property
    def metrics_registry(self) -> CollectorRegistry:
        """What ``GET /metrics`` shows, for `prometheus_client.generate_latest`. That reads the
        database for some milliseconds: call it in a thread where they matter. Metrics of your own
        may be registered here."""
        return self._server.telemetry.registry

    async def until_ready(self) -> None:
        """Returns once answers are complete: at once, but for a start that rebuilds the database.
        Measurements are taken meanwhile."""
        await self._server.until_ready()

    async def collect(
        self, points: Iterable[MetricPoint], *, source: str = SOURCE
    ) -> dict[str, Any]:
        """Durable when it returns. One bad point does not lose the good ones: ``rejected`` says
        which and why; where all are bad it is an `InputError`. At most 1,000,000 at once."""
        return await self.call("collect_metrics", source=source, metrics=[*map(_sent, points)])

    async def query(self, metric_name: str | None = None, **arguments: Any) -> dict[str, Any]:
        """``await server.query("cpu_usage", aggregation="avg", group_by=["host"])``, or
        ``promql=`` an expression; times are datetimes, ISO 8601 or relative (``"-1h"``)."""
        return await self.call("query_metrics", metric_name=metric_name, **arguments)

    async def evaluate(self, condition: str) -> Evaluation:
        """Whether a condition of an alert holds now, and for what; it makes no alert. A condition
        that compares nothing holds for every series that has a value."""
        if problem := condition_problem(condition):
            raise InputError(f"condition {problem}", field="condition")
        # Late, as everywhere: the engine takes memory.
        from projections.promql_queries import PromqlQueries

        points = {key: offset for key, offset in self._written.items() if key[0] == POINTS}
        server, now_ms = self._server, wall_clock_ms()
        if points:
            await server.projector.wait_for(points, CAUGHT_UP_WAIT_S)
        queries = PromqlQueries(server.projector)
        answer = await server.toolbox.alert_parts.in_thread(
            lambda: queries.instant(condition, now_ms)
        )
        return Evaluation(
            condition,
            datetime.fromtimestamp(now_ms / 1000, UTC),
            tuple(
                Active(dict(labels), value)
                for labels, value in zip(answer.labels, answer.value.tolist(), strict=True)
            ),
        )

    async def health_check(self, target: str = "all", **arguments: Any) -> dict[str, Any]:
        """Checks now: ``"all"`` targets, ``"system"``, one target, or ``endpoints=[url, …]``."""
        return await self.call("health_check", target=target, **arguments)

    async def create_alert(
        self,
        name: str,
        condition: str,
        severity: AlertSeverity = AlertSeverity.MEDIUM,
        **arguments: Any,
    ) -> dict[str, Any]:
        """A rule that is evaluated from now on (``for_="5m"``, ``notify=[…]``, …)."""
        return await self.call(
            "create_alert", name=name, condition=condition, severity=severity, **arguments
        )

    async def manage_alerts(self, action: str = "list", **arguments: Any) -> dict[str, Any]:
        """``"list"``, ``"history"``, ``"disable"``, … with ``alert_id=``."""
        return await self.call("manage_alerts", action=action, **arguments)

    async def overview(self, time_range: str = "24h", **arguments: Any) -> dict[str, Any]:
        """Health, alerts and this machine at one glance."""
        return await self.call("system_overview", time_range=time_range, **arguments)

    async def export(
        self, file_format: str = "json", **arguments: Any
    ) -> AsyncGenerator[bytes, None]:
        """A file of raw samples (``metric_names=[…]``, ``start_time=…``) in pieces, of any size up
        to 5,000,000 samples: ``async for piece in server.export("csv"): …``"""
        asked = self._arguments("export_metrics", {"format": file_format, **arguments})
        stream = await self._server.toolbox.open_export(asked)
        try:
            while (chunk := await asyncio.to_thread(next, stream.chunks, None)) is not None:
                yield chunk
        finally:
            if (close := getattr(stream.chunks, "close", None)) is not None:
                await asyncio.to_thread(close)

    async def status(self) -> dict[str, Any]:
        """Version, uptime, components, how far everything is."""
        return await self.call("get_server_status")

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Any tool, as over MCP; ``for_`` stands for ``for``, None for what is not given."""
        answer = await self._server.calls.done(tool, self._arguments(tool, arguments), actor=ACTOR)
        if position := answer.content.get("position"):
            for key, offset in parse_position(position).items():
                self._written[key] = max(self._written.get(key, 0), offset)
        return answer.content

    def _arguments(self, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {
            name.removesuffix("_"): _text_of(value) if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }
        spec = SPECS_BY_NAME.get(tool)
        if self._written and spec is not None and "min_position" in spec.input_schema["properties"]:
            seen = (Position(*key, offset) for key, offset in self._written.items())
            arguments.setdefault("min_position", position_token(seen))
        return arguments


def _sent(point: MetricPoint) -> dict[str, Any]:
    """As `collect_metrics` takes it."""
    value: Any = point.value
    sent = {
        "name": point.name,
        "value": json_number(value) if isinstance(value, float) else value,
        "metric_type": point.metric_type,
        "tags": point.tags,
        "unit": point.unit,
    }
    if point.timestamp is not None:
        sent["timestamp"] = _text_of(point.timestamp)
    return sent


def _text_of(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
