"""`SyncLogfireMCPServer`: the server in a program without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from prometheus_client import CollectorRegistry

from mcp_api.embedded import SOURCE, AlertSeverity, Evaluation, LogfireMCPServer, MetricPoint

T = TypeVar("T")


class SyncLogfireMCPServer:
    """`LogfireMCPServer` with the same names, without ``await``: ``with SyncLogfireMCPServer() as
    server``. It runs in a thread of its own; any number of threads may call it, and each waits for
    its answer."""

    def __init__(
        self, data_dir: str | Path | None = None, *, port: int | None = None, **settings: Any
    ) -> None:
        self._server = LogfireMCPServer(data_dir, port=port, **settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="logfire-mcp", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._server.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._server.__aexit__())
        finally:
            self._end()

    @property
    def url(self) -> str:
        """As `LogfireMCPServer.url`."""
        return self._server.url

    @property
    def metrics_registry(self) -> CollectorRegistry:
        """As `LogfireMCPServer.metrics_registry`."""
        return self._server.metrics_registry

    def until_ready(self) -> None:
        """As `LogfireMCPServer.until_ready`."""
        self._run(self._server.until_ready())

    def collect(self, points: Iterable[MetricPoint], *, source: str = SOURCE) -> dict[str, Any]:
        """As `LogfireMCPServer.collect`."""
        return self._run(self._server.collect(points, source=source))

    def query(self, metric_name: str | None = None, **arguments: Any) -> dict[str, Any]:
        """As `LogfireMCPServer.query`."""
        return self._run(self._server.query(metric_name, **arguments))

    def evaluate(self, condition: str) -> Evaluation:
        """As `LogfireMCPServer.evaluate`."""
        return self._run(self._server.evaluate(condition))

    def health_check(self, target: str = "all", **arguments: Any) -> dict[str, Any]:
        """As `LogfireMCPServer.health_check`."""
        return self._run(self._server.health_check(target, **arguments))

    def create_alert(
        self,
        name: str,
        condition: str,
        severity: AlertSeverity = AlertSeverity.MEDIUM,
        **arguments: Any,
    ) -> dict[str, Any]:
        """As `LogfireMCPServer.create_alert`."""
        return self._run(self._server.create_alert(name, condition, severity, **arguments))

    def manage_alerts(self, action: str = "list", **arguments: Any) -> dict[str, Any]:
        """As `LogfireMCPServer.manage_alerts`."""
        return self._run(self._server.manage_alerts(action, **arguments))

    def overview(self, time_range: str = "24h", **arguments: Any) -> dict[str, Any]:
        """As `LogfireMCPServer.overview`."""
        return self._run(self._server.overview(time_range, **arguments))

    def export(self, file_format: str = "json", **arguments: Any) -> Iterator[bytes]:
        """As `LogfireMCPServer.export`."""
        pieces = self._server.export(file_format, **arguments)
        try:
            while (piece := self._run(_next(pieces))) is not None:
                yield piece
        finally:
            self._run(pieces.aclose())

    def status(self) -> dict[str, Any]:
        """As `LogfireMCPServer.status`."""
        return self._run(self._server.status())

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """As `LogfireMCPServer.call`."""
        return self._run(self._server.call(tool, **arguments))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
