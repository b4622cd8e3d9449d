"""Targets and their health as they were at a time, out of the facts told up to then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from projections.overview_shapes import Moment, TargetThen
from projections.reading import Reader
from streams.domain.health import Health, silent
from streams.domain.targets import TARGETS_MAX
from streams.events.health import HealthChecked, Target
from streams.events.labels import series_text
from streams.processors.health import UPTIME_RATIO

# The newest check of all, or that of the three days before: no interval is longer than one.
_TARGETS = """
    WITH facts AS (
        SELECT kind, fact, log_offset, at_ms,
            coalesce(fact->>'$.target.name', fact->>'$.name') AS target
        FROM command_answers
        WHERE kind IN ('health.target_registered.v1', 'health.target_removed.v1')
            AND at_ms <= $until),
    registered AS (
        SELECT target, arg_max(kind, log_offset) AS kind, arg_max(fact, log_offset) AS fact,
            coalesce(max(at_ms) FILTER (WHERE kind = 'health.target_removed.v1'), -1) AS removed_ms
        FROM facts GROUP BY target HAVING kind = 'health.target_registered.v1'),
    states AS (
        SELECT target, arg_max(state_after, log_offset) AS state,
            arg_max(at_ms, log_offset) AS since_ms,
            arg_max(reason, log_offset) AS reason,
            arg_max(suppressed_by, log_offset) AS suppressed_by,
            count(*) FILTER (WHERE at_ms > $start) AS turns
        FROM health_changes WHERE at_ms <= $until GROUP BY target),
    told AS (
        SELECT target, at_ms, log_offset, found FROM health_last WHERE at_ms <= $until
        UNION ALL
        SELECT target, at_ms, log_offset, found FROM health_checks
        WHERE at_ms BETWEEN $until - 3 * 86_400_000 AND $until),
    last AS (
        SELECT target, arg_max(found, log_offset) AS found
        FROM told JOIN registered USING (target) WHERE at_ms > removed_ms GROUP BY target)
    SELECT target, fact, state, since_ms, reason, suppressed_by, coalesce(turns, 0) AS turns, found
    FROM registered LEFT JOIN states USING (target) LEFT JOIN last USING (target)
    ORDER BY target LIMIT $limit"""

# A state lasts until the next one; but where that is unknown, or there is none, only the last
# check before says how long it held: the time in which nobody looked counts as neither. (A check
# that comes too late is at the very time of the turn.) Checks do not stay for ever, but each has a
# sample of the uptime. It is sought among the last of each hour and all of the hours that matter:
# to sort every check of a month takes ten times as long.
_UPTIMES = """
    WITH turns AS (
        SELECT target, state_after AS state, at_ms AS begins_ms,
            lead(at_ms) OVER course AS next_ms, lead(state_after) OVER course AS next
        FROM health_changes WHERE at_ms <= $until
        WINDOW course AS (PARTITION BY target ORDER BY log_offset)),
    spans AS (
        SELECT target, series_id, state, greatest(begins_ms, $start) AS begins_ms,
            coalesce(next_ms, $until + 1) AS ends_ms, coalesce(next, 'unknown') = 'unknown' AS open
        FROM turns JOIN chosen USING (target)
        WHERE state <> 'unknown' AND coalesce(next_ms, $until) >= $start),
    checks AS (
        SELECT series_id, at_ms, at_ms // 3_600_000 AS hour
        FROM points SEMI JOIN chosen USING (series_id) WHERE at_ms BETWEEN $start AND $until),
    marks AS (
        SELECT series_id, max(at_ms) AS at_ms FROM checks GROUP BY series_id, hour
        UNION ALL
        SELECT series_id, at_ms FROM checks SEMI JOIN (
            SELECT series_id, ends_ms // 3_600_000 AS hour FROM spans WHERE open)
            USING (series_id, hour)),
    looked AS (
        SELECT target, state, begins_ms, ends_ms FROM spans WHERE NOT open
        UNION ALL
        SELECT target, state, begins_ms, marks.at_ms AS ends_ms
        FROM (FROM spans WHERE open) AS spans ASOF JOIN marks
            ON spans.series_id = marks.series_id AND spans.ends_ms > marks.at_ms)
    SELECT target, sum(greatest(ends_ms - begins_ms, 0))::BIGINT AS known_ms,
        coalesce(sum(greatest(ends_ms - begins_ms, 0))
            FILTER (WHERE state IN ('healthy', 'degraded')), 0)::BIGINT AS up_ms
    FROM looked GROUP BY target"""


def targets_then(reader: Reader, moment: Moment, *, uptimes: bool) -> tuple[TargetThen, ...]:
    """Those registered then, by name; without ``uptimes`` the times are 0."""
    asked = {"until": moment.until_ms, "start": moment.start_ms}
    rows = reader.rows(_TARGETS, asked | {"limit": TARGETS_MAX})
    spans: dict[str, Mapping[str, Any]] = {}
    if uptimes:
        chosen = _uptime_series(reader, [row["target"] for row in rows])
        spans = {row["target"]: row for row in reader.rows(_UPTIMES, asked, chosen=chosen)}
    return tuple(_target(row, spans.get(row["target"], {}), moment.at_ms) for row in rows)


def _uptime_series(reader: Reader, targets: Sequence[str]) -> Any:
    """Of those targets that have one, which begins when something is known of them."""
    ids = {
        name: reader.series.ids.get(series_text(UPTIME_RATIO, {"server": name})) for name in targets
    }
    known = {name: number for name, number in ids.items() if number is not None}
    return pa.table(
        {
            "target": pa.array(known.keys(), pa.string()),
            "series_id": pa.array(known.values(), pa.int32()),
        }
    )


def _target(row: Mapping[str, Any], span: Mapping[str, Any], at_ms: int) -> TargetThen:
    target = msgspec.convert(msgspec.json.decode(row["fact"])["target"], Target)
    last = None
    if row["found"] is not None:
        last = msgspec.json.decode(row["found"], type=HealthChecked)
    # Of an outage of ours the facts tell only after it: at a time inside it the state is unknown.
    health = Health(
        state=row["state"] or "unknown", checked_ms=None if last is None else last.at_ms
    )
    _, turn = silent(target, health, at_ms)
    return TargetThen(
        target=target,
        state=health.state if turn is None else turn.after,
        since_ms=row["since_ms"] if turn is None else health.checked_ms,
        reason=(row["reason"] or "") if turn is None else turn.reason,
        suppressed_by=(row["suppressed_by"] or "") if turn is None else "",
        last=last,
        turns=row["turns"],
        up_ms=span.get("up_ms", 0),
        known_ms=span.get("known_ms", 0),
    )
