"""How alerts and targets stand, and the position in the log at which they stand so.

Both come from one snapshot of the database, so what is told from that position on is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_api.live_feed.messages import json_text, snapshot_tails
from mcp_api.live_feed.outbox import Shared
from mcp_api.live_feed.subscriptions import Cursor
from mcp_api.tools.positions import absorbed_token
from projections import query_rules
from projections.alert_answers import AlertNow
from projections.alert_queries import ALERTS_MAX
from projections.projector import Projector
from projections.reading import Reader
from streams.domain.alert_words import number
from streams.domain.targets import TARGETS_MAX
from streams.events.alerting import Alert
from streams.events.topics import ALERTS, HEALTH_RESULTS

TIMEOUT_S = 10.0
SHARED_S = 1.0
"""A snapshot is shared by those who begin within that time: each goes on from its position."""

_POSITIONS = """SELECT "partition", next_offset FROM positions WHERE topic = $topic"""

_TARGETS = """
    SELECT targets.target, definition ->> 'kind' AS kind, definition ->> 'endpoint' AS endpoint,
        coalesce(state_after, 'unknown') AS state, at_ms AS since_ms,
        coalesce(reason, '') AS reason, coalesce(suppressed_by, '') AS suppressed_by
    FROM health_targets AS targets LEFT JOIN health_states AS states USING (target)
    ORDER BY targets.target LIMIT $limit"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``tails``: of its messages, the last with the position that ``cursor`` goes on from."""

    tails: tuple[Shared, ...]
    cursor: Cursor


class Snapshots:
    """Asked for on the event loop, made in threads, one at a time."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._making = asyncio.Lock()
        self._made: dict[str, tuple[float, Snapshot]] = {}

    async def of(self, feed: str) -> Snapshot:
        """Of feed alerts or health. `ProjectionError`, `QueryTooExpensive`."""
        async with self._making:
            loop = asyncio.get_running_loop()
            made = self._made.get(feed)
            if made is not None and loop.time() - made[0] < SHARED_S:
                return made[1]
            asked = loop.time()
            snapshot = await asyncio.to_thread(self._read, feed)
            self._made[feed] = (asked, snapshot)
            loop.call_later(SHARED_S, self._forget, feed, snapshot)
            return snapshot

    def _forget(self, feed: str, snapshot: Snapshot) -> None:
        if (made := self._made.get(feed)) is not None and made[1] is snapshot:
            del self._made[feed]

    def _read(self, feed: str) -> Snapshot:
        topic, field, read = _READS[feed]
        with self._projector.reading(TIMEOUT_S) as reader:
            items = read(reader)
            places = reader.rows(_POSITIONS, {"topic": topic})
        cursor = {(topic, row["partition"]): row["next_offset"] for row in places}
        last = f'"position":"{absorbed_token(cursor)}"'
        tails = snapshot_tails(field, map(json_text, items), last)
        return Snapshot(tuple(map(Shared, tails)), cursor)


def _alerts(reader: Reader) -> list[Any]:
    return [_alert(one) for one in query_rules.alerts(reader, None, None, ALERTS_MAX).alerts]


def _alert(one: AlertNow) -> Mapping[str, Any]:
    """As events tell it, and what stands beside it there."""
    return {
        "alert": Alert(
            alert_id=one.alert_id,
            version=one.version,
            fingerprint=one.fingerprint,
            name=one.name,
            severity=one.severity,
            labels=dict(one.labels),
            active_ms=one.active_ms,
            value=None if one.value is None else number(one.value),
        ),
        "state": one.state,
        "since_ms": one.since_ms,
        "fired_ms": one.fired_ms,
        "reason": one.reason,
        "annotations": one.annotations,
        "acknowledged_by": one.acknowledged_by,
    }


def _targets(reader: Reader) -> list[Any]:
    return reader.rows(_TARGETS, {"limit": TARGETS_MAX})


_READS: Mapping[str, tuple[str, str, Callable[[Reader], list[Any]]]] = {
    "alerts": (ALERTS, "alerts", _alerts),
    "health": (HEALTH_RESULTS, "targets", _targets),
}
"""By feed: the topic, what the items are called, and reading them."""
