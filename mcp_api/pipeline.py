"""The processors as the settings want them, in the order in which one feeds the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.config import Settings
from streams.domain.alert_routing import Routing
from streams.events.topics import HEALTH_RESULTS, POINTS, RULE_INPUTS
from streams.processors.commands import CommandsProcessor
from streams.processors.evaluate import EvaluateProcessor
from streams.processors.health import HealthProcessor
from streams.processors.notify import NotifyProcessor
from streams.processors.route import RouteProcessor
from streams.processors.seam import Processor
from streams.processors.windows import WindowsProcessor


def all_processors(
    settings: Settings,
    partitions: Callable[[str], int],
    routing: Routing,
    *,
    deduplicates: bool = False,
) -> list[Processor[Any]]:
    """``partitions``: of a topic in the log, never changed. ``deduplicates``: where the log may
    hold a request twice."""
    windows = WindowsProcessor(
        sizes_ms=tuple(size * 1000 for size in settings.window_sizes_s),
        grace_ms=settings.window_grace_s * 1000,
        deduplicates=deduplicates,
    )
    return [*alert_processors(settings, partitions, routing), windows]


def alert_processors(
    settings: Settings, partitions: Callable[[str], int], routing: Routing
) -> list[Processor[Any]]:
    """Those that decide commands, fold health checks, evaluate rules and tell of alerts."""
    return [
        CommandsProcessor(points_partitions=partitions(POINTS)),
        RouteProcessor(partitions=partitions(RULE_INPUTS), tick_ms=settings.tick_s * 1000),
        HealthProcessor(partitions(HEALTH_RESULTS)),
        EvaluateProcessor(sources=partitions(POINTS), evaluation_ms=evaluation_ms(settings)),
        NotifyProcessor(routing),
    ]


def evaluation_ms(settings: Settings) -> int:
    """Between the evaluations of a rule that says nothing else."""
    return 1_000 * (settings.alert_evaluation_interval_s or settings.tick_s)
