"""What a subscription follows, looked at and bounded before anything is done for it."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_api.live_feed.messages import Subscribe
from mcp_api.tools.positions import parse_position
from projections.source import TOPICS
from streams.domain.durations import duration_text, parse_duration_ms
from streams.errors import InputError
from streams.events.topics import ALERTS, HEALTH_RESULTS
from streams.log.protocol import EventLog

INTERVAL_MS_DEFAULT = 5_000
INTERVAL_MS_MIN, INTERVAL_MS_MAX = 1_000, 3_600_000
TYPES_MAX = 64
PROMQL_BYTES_MAX = 4_096

ALERT_TYPES = frozenset(
    f"alerts.{what}.v1"
    for what in (
        "pending",
        "fired",
        "recovering",
        "resolved",
        "cleared",
        "no_data",
        "unknown",
        "acknowledged",
    )
)
HEALTH_TYPES = frozenset(
    ("health.changed.v1", "health.target_registered.v1", "health.target_removed.v1")
)

Cursor = dict[tuple[str, int], int]
"""The next offset of each partition followed."""


@dataclass(frozen=True, slots=True)
class LogWanted:
    """Events of the log: of these topics, of these types (None: of all).

    ``feed``: alerts and health begin with a snapshot, events with the log's end; copies for other
    partitions are no events of health.
    """

    feed: str
    topics: frozenset[str]
    types: frozenset[str] | None

    def takes(self, topic: str, kind: str, *, copy: bool = False) -> bool:
        """Whether an event of this type is told; ``copy``: one for another partition."""
        if topic not in self.topics or (copy and self.feed == "health"):
            return False
        return self.types is None or kind in self.types


@dataclass(frozen=True, slots=True)
class MetricsWanted:
    """The value of an expression, looked at again after at least ``interval_ms``."""

    promql: str
    interval_ms: int


def wanted(asked: Subscribe) -> LogWanted | MetricsWanted:
    """What the request means; `InputError` names the field that does not go with its feed."""
    if asked.feed == "metrics":
        return _metrics(asked)
    for field in ("promql", "interval"):
        if getattr(asked, field) is not None:
            raise InputError(f"{field} goes with feed metrics only, not with {asked.feed}")
    if asked.feed == "events":
        return _events(asked)
    for field in ("topics", "types"):
        if getattr(asked, field) is not None:
            raise InputError(f"{field} goes with feed events only, not with {asked.feed}")
    if asked.feed == "alerts":
        return LogWanted("alerts", frozenset({ALERTS}), ALERT_TYPES)
    return LogWanted("health", frozenset({HEALTH_RESULTS}), HEALTH_TYPES)


def cursor_after(position: str, what: LogWanted, log: EventLog) -> Cursor:
    """Where a subscription goes on that has everything up to a position of its own.

    `InputError` for what is no position, or one of something else.
    """
    cursor = {
        (topic, number): 0
        for topic in sorted(what.topics)
        for number in range(log.partitions(topic))
    }
    for place, offset in parse_position(position, "after").items():
        if place not in cursor:
            raise InputError(
                f"after names {place[0]}/{place[1]}, which this subscription does not follow; "
                "send the position of its own last message"
            )
        cursor[place] = offset + 1
    return cursor


def _metrics(asked: Subscribe) -> MetricsWanted:
    for field in ("topics", "types", "after"):
        if getattr(asked, field) is not None:
            raise InputError(
                f"{field} does not go with feed metrics, which begins with a snapshot each time"
            )
    if not asked.promql or len(asked.promql.encode()) > PROMQL_BYTES_MAX:
        raise InputError(
            f"promql is missing, empty or over {PROMQL_BYTES_MAX:,} bytes; "
            "expected an expression such as cpu_usage > 80"
        )
    if asked.interval is None:
        return MetricsWanted(asked.promql, INTERVAL_MS_DEFAULT)
    try:
        interval_ms = parse_duration_ms(asked.interval)
    except ValueError as error:
        raise InputError(f"interval: {error}") from error
    if not INTERVAL_MS_MIN <= interval_ms <= INTERVAL_MS_MAX:
        least, most = duration_text(INTERVAL_MS_MIN), duration_text(INTERVAL_MS_MAX)
        raise InputError(f"interval is {asked.interval!r}; expected from {least} to {most}")
    return MetricsWanted(asked.promql, interval_ms)


def _events(asked: Subscribe) -> LogWanted:
    for topic in asked.topics or ():
        if topic not in TOPICS:
            raise InputError(f"topics names {topic[:60]!r}; expected of: {', '.join(TOPICS)}")
    types = asked.types
    if types is not None and not 0 < len(types) <= TYPES_MAX:
        raise InputError(f"types has {len(types)} names; expected 1 to {TYPES_MAX}")
    return LogWanted(
        "events", frozenset(asked.topics or TOPICS), None if types is None else frozenset(types)
    )
