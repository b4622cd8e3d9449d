"""The log's topics. Their names are forever."""

from __future__ import annotations

from typing import Final

POINTS: Final = "metrics.points"
WINDOWS: Final = "metrics.windows"
COMMANDS: Final = "commands"
RULE_INPUTS: Final = "rules.inputs"
ALERTS: Final = "alerts.events"
HEALTH_RESULTS: Final = "health.results"
DEADLETTER: Final = "deadletter"
TOPICS: Final = (POINTS, WINDOWS, DEADLETTER, COMMANDS, RULE_INPUTS, ALERTS, HEALTH_RESULTS)

WHOLE: Final = (COMMANDS, ALERTS)
"""Topics of one partition, since what they hold concerns all; they are kept for ever."""


def partitions_of(topic: str, partitions: int) -> int:
    """How many partitions a topic has in a log that is made with ``partitions`` of each."""
    return 1 if topic in WHOLE else partitions
