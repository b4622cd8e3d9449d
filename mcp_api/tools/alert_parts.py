"""What the tools of alerts work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mcp_api.tools.commanded import Desk
from projections.alert_queries import AlertQueries
from projections.backtest import Backtests
from projections.queries import Queries

T = TypeVar("T")


class InThread(Protocol):
    """Runs a read where it may block; bounded."""

    def __call__(self, read: Callable[[], T]) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class AlertParts:
    """``receivers``: their names, None where not known."""

    desk: Desk
    alerts: AlertQueries
    queries: Queries
    backtests: Backtests
    in_thread: InThread
    receivers: Collection[str] | None
