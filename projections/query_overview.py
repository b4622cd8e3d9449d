"""`OverviewQueries`: the whole system at a glance, now or at a past time, in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from projections.overview_shapes import FiringThen, Moment, Newest, Overview, RuleThen
from projections.projector import Projector
from projections.query_targets import targets_then
from projections.reading import Reader
from streams.events.batch import AT_MS_MAX
from streams.events.labels import parse_series
from streams.events.rules import Rule

LOOKBACK_MS = 300_000
"""As PromQL's: an older sample does not say how things are."""
BUSIEST = 5
RULES_MAX = 10_000

_BEGAN = """
    SELECT least((SELECT min(at_ms) FROM rule_changes),
        (SELECT min(at_ms) FROM command_answers)) AS began_ms"""

_TOTALS_NOW = """
    SELECT (SELECT count(*) FROM points) AS points, (SELECT max(at_ms) FROM latest) AS newest_ms"""
"""Without a look at the samples themselves."""

_TOTALS_THEN = """
    SELECT count(*) AS points, max(at_ms) AS newest_ms FROM points WHERE at_ms <= $until"""

_POSITIONS = """SELECT topic, "partition" AS number, next_offset FROM positions"""

# An alert's episode begins when it leaves inactive; it fires from its first firing to its end.
_FIRING = """
    WITH told AS (FROM transitions WHERE at_ms <= $until),
    active AS (
        SELECT fingerprint, arg_max(state_after, log_offset) AS state,
            coalesce(max(log_offset) FILTER (WHERE state_before = 'inactive'), -1) AS began
        FROM told GROUP BY fingerprint HAVING state <> 'inactive')
    SELECT fingerprint, arg_max(rule_id, log_offset) AS rule_id,
        arg_max(name, log_offset) AS name, arg_max(severity, log_offset) AS severity,
        arg_max(labels, log_offset) AS labels, arg_max_null(value, log_offset) AS value,
        min(at_ms) FILTER (WHERE state_after = 'firing') AS fired_ms
    FROM told JOIN active USING (fingerprint) WHERE log_offset >= began
    GROUP BY fingerprint ORDER BY fired_ms, rule_id, fingerprint"""

_RULES = """
    WITH standing AS (
        SELECT rule_id, arg_max(rule, log_offset) AS rule, arg_max(change, log_offset) AS change
        FROM rule_changes WHERE at_ms <= $until GROUP BY rule_id HAVING change <> 'deleted'),
    episodes AS (
        SELECT rule_id, fingerprint, active_ms, min(at_ms) AS fired_ms
        FROM transitions WHERE state_after = 'firing' AND at_ms <= $until GROUP BY ALL),
    fired AS (
        SELECT rule_id, max(fired_ms) AS triggered_ms,
            count(*) FILTER (WHERE fired_ms > $start) AS fired
        FROM episodes GROUP BY ALL)
    SELECT rule, triggered_ms, coalesce(fired, 0) AS fired
    FROM standing LEFT JOIN fired USING (rule_id) LIMIT $limit"""

_NEWEST = """
    SELECT series_id, max(at_ms) AS at_ms, arg_max_null(value, at_ms) AS value
    FROM points JOIN chosen USING (series_id) WHERE at_ms BETWEEN $start AND $until
    GROUP BY series_id HAVING value IS NOT NULL ORDER BY series_id"""

_BUSIEST = """
    SELECT name, sum(count)::BIGINT AS count FROM (
        SELECT series_id, count(*) AS count FROM points
        WHERE at_ms BETWEEN $start AND $until GROUP BY series_id) JOIN series USING (series_id)
    GROUP BY name ORDER BY count DESC, name LIMIT $limit"""


class OverviewQueries:
    """Reads of the live file; call them from a thread.

    Ends within ``timeout_s`` (`QueryTooExpensive`); `ProjectionError` where the file cannot be
    read.
    """

    def __init__(self, projector: Projector, *, timeout_s: float = 10.0) -> None:
        self.projector = projector
        self._timeout_s = timeout_s

    def overview(self, moment: Moment, metrics: Sequence[str], *, details: bool) -> Overview:
        """The system as it was. ``metrics``: whose newest samples are wanted. ``details``: also
        what costs more: uptimes and the busiest metrics."""
        asked = {"until": moment.until_ms}
        with self.projector.reading(self._timeout_s) as reader:
            is_now = moment.until_ms == AT_MS_MAX
            [totals] = reader.rows(_TOTALS_NOW) if is_now else reader.rows(_TOTALS_THEN, asked)
            alerts = reader.rows(_FIRING, asked)
            return Overview(
                began_ms=reader.rows(_BEGAN)[0]["began_ms"],
                targets=targets_then(reader, moment, uptimes=details),
                rules=_rules(reader, moment, alerts),
                firing=tuple(_firing(row) for row in alerts if row["fired_ms"] is not None),
                points=totals["points"],
                newest={name: _newest(reader, name, moment.at_ms) for name in metrics},
                busiest=_busiest(reader, moment) if details else (),
                newest_ms=totals["newest_ms"],
                positions={
                    (row["topic"], row["number"]): row["next_offset"]
                    for row in reader.rows(_POSITIONS)
                },
            )


def _rules(
    reader: Reader, moment: Moment, alerts: Sequence[Mapping[str, Any]]
) -> tuple[RuleThen, ...]:
    active: dict[str, int] = {}
    firing: dict[str, int] = {}
    for row in alerts:
        rule_id = row["rule_id"]
        active[rule_id] = active.get(rule_id, 0) + 1
        firing[rule_id] = firing.get(rule_id, 0) + (row["fired_ms"] is not None)
    asked = {"until": moment.until_ms, "start": moment.start_ms, "limit": RULES_MAX}
    found = []
    for row in reader.rows(_RULES, asked):
        rule = msgspec.json.decode(row["rule"], type=Rule)
        found.append(
            RuleThen(
                rule=rule,
                firing=firing.get(rule.id, 0),
                active=active.get(rule.id, 0),
                triggered_ms=row["triggered_ms"],
                fired=row["fired"],
            )
        )
    return tuple(sorted(found, key=lambda one: (one.rule.name, one.rule.id)))


def _firing(row: Mapping[str, Any]) -> FiringThen:
    return FiringThen(
        rule_id=row["rule_id"],
        name=row["name"],
        severity=row["severity"],
        labels=msgspec.json.decode(row["labels"]),
        value=row["value"],
        fired_ms=row["fired_ms"],
    )


def _newest(reader: Reader, name: str, at_ms: int) -> tuple[Newest, ...]:
    ids = pa.table({"series_id": pa.array(reader.series.named(name), pa.int32())})
    asked = {"start": at_ms - LOOKBACK_MS, "until": at_ms}
    return tuple(
        Newest(parse_series(reader.series.texts[row["series_id"]])[1], row["at_ms"], row["value"])
        for row in reader.rows(_NEWEST, asked, chosen=ids)
    )


def _busiest(reader: Reader, moment: Moment) -> tuple[tuple[str, int], ...]:
    asked = {"start": moment.start_ms, "until": moment.at_ms, "limit": BUSIEST}
    return tuple((row["name"], row["count"]) for row in reader.rows(_BUSIEST, asked))
