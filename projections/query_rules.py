"""Queries about what stands now: rules, alerts, silences, answers to commands, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from projections.alert_answers import (
    AlertCounts,
    AlertNow,
    Alerts,
    CommandAnswer,
    Outcome,
    Rules,
    RuleState,
    RuleStatus,
    Silences,
    SilenceTold,
)
from projections.reading import Reader
from streams.events import health
from streams.events import rules as rule_events
from streams.events.alerting import State
from streams.events.rules import Rule, Silence
from streams.events.topics import ALERTS
from streams.log.protocol import Position

SERIOUS: tuple[State, ...] = (
    "firing",
    "recovering",
    "no_data",
    "unknown",
    "pending",
    "inactive",
)
"""Of the alerts of a rule the most serious state is the rule's."""

_FACTS = {**rule_events.WIRE_NAMES, **health.WIRE_NAMES}

_RULES = """
    WITH page AS (
        SELECT *, count(*) OVER () AS total FROM rules
        WHERE $asked IS NULL OR rule_id = $asked OR name = $asked
        ORDER BY name, rule_id LIMIT $limit OFFSET $skip),
    made AS (
        SELECT rule_id, arg_max(at_ms, log_offset) AS created_ms,
            arg_max(actor, log_offset) AS created_by
        FROM rule_changes SEMI JOIN page USING (rule_id) WHERE change = 'created' GROUP BY ALL),
    episodes AS (
        SELECT rule_id, fingerprint, active_ms, min(at_ms) AS fired_ms
        FROM transitions SEMI JOIN page USING (rule_id)
        WHERE state_after = 'firing' GROUP BY ALL),
    fired AS (
        SELECT rule_id, count(*) AS trigger_count, max(fired_ms) AS triggered_ms
        FROM episodes GROUP BY ALL),
    active AS (
        SELECT rule_id, histogram(state) AS alerts, min(nullif(active_ms, 0)) AS active_ms,
            count(*) FILTER (WHERE fired_ms > 0) AS firing
        FROM alerts SEMI JOIN page USING (rule_id) GROUP BY ALL),
    problems AS (
        SELECT rule_id, arg_max(kind, log_offset) AS kind, arg_max(reason, log_offset) AS reason,
            arg_max(at_ms, log_offset) AS problem_ms
        FROM evaluations SEMI JOIN page USING (rule_id) GROUP BY ALL)
    SELECT * FROM page LEFT JOIN made USING (rule_id) LEFT JOIN fired USING (rule_id)
        LEFT JOIN active USING (rule_id) LEFT JOIN problems USING (rule_id)
    ORDER BY page.name, rule_id"""

_ALERTS = """
    WITH page AS (
        SELECT *, count(*) OVER () AS total FROM alerts
        WHERE ($state IS NULL OR state = $state) AND ($rule IS NULL OR rule_id = $rule)
        ORDER BY began, log_offset LIMIT $limit),
    taken AS (
        SELECT page.fingerprint, arg_max(actor, acts.log_offset) AS acknowledged_by,
            arg_max(acts.at_ms, acts.log_offset) AS acknowledged_ms
        FROM page JOIN alert_actions AS acts ON acts.rule_id = page.rule_id
            AND acts.fingerprint IN ('', page.fingerprint) AND acts.log_offset > page.began
        WHERE acts.kind = 'acknowledged' GROUP BY ALL)
    SELECT * FROM page LEFT JOIN taken USING (fingerprint) ORDER BY began, page.log_offset"""

_SILENCES = """
    SELECT *, count(*) OVER () AS total FROM silences
    WHERE $at IS NULL OR (starts_ms <= $at AND $at < ends_ms
        AND (expired_ms IS NULL OR $at < expired_ms))
    ORDER BY log_offset DESC LIMIT $limit"""

_ANSWER = """
    SELECT * FROM command_answers WHERE causation_id = $id ORDER BY log_offset LIMIT 1"""

_COUNTS = """
    SELECT (SELECT count(*) FROM rules) AS rules,
        (SELECT count(*) FROM rules WHERE enabled) AS rules_enabled,
        (SELECT count(*) FROM (
            SELECT arg_max(kind, log_offset) AS kind FROM evaluations
            SEMI JOIN (FROM rules WHERE enabled) USING (rule_id) GROUP BY rule_id)
            WHERE kind = 'failed') AS rules_failing,
        (SELECT count(*) FROM alerts WHERE fired_ms > 0) AS firing,
        (SELECT histogram(state) FROM alerts) AS alerts,
        (SELECT histogram(outcome) FROM notifications) AS notifications"""


def rules(reader: Reader, asked: str | None, limit: int, skip: int) -> Rules:
    """See `projections.alert_queries.AlertQueries.rules`; ``asked``: an id or a name."""
    found = reader.rows(_RULES, {"asked": asked, "limit": limit, "skip": skip})
    if not found and skip:
        total = reader.rows("SELECT count(*) AS total FROM rules")[0]["total"]
        return Rules((), total)
    return Rules(tuple(_rule(row) for row in found), found[0]["total"] if found else 0)


def alerts(reader: Reader, state: State | None, rule_id: str | None, limit: int) -> Alerts:
    """See `projections.alert_queries.AlertQueries.alerts`."""
    found = reader.rows(_ALERTS, {"state": state, "rule": rule_id, "limit": limit})
    return Alerts(tuple(_alert(row) for row in found), found[0]["total"] if found else 0)


def silences(reader: Reader, at_ms: int | None, limit: int) -> Silences:
    """See `projections.alert_queries.AlertQueries.silences`."""
    found = reader.rows(_SILENCES, {"at": at_ms, "limit": limit})
    told = tuple(
        SilenceTold(
            msgspec.json.decode(row["silence"], type=Silence),
            row["actor"],
            row["at_ms"],
            row["expired_ms"],
            row["expired_by"],
        )
        for row in found
    )
    return Silences(told, found[0]["total"] if found else 0)


def answer(reader: Reader, causation_id: str) -> CommandAnswer | None:
    """See `projections.alert_queries.AlertQueries.answer_to`."""
    for row in reader.rows(_ANSWER, {"id": causation_id}):
        fact: Any = msgspec.json.decode(row["fact"], type=_FACTS[row["kind"]])
        return CommandAnswer(fact, Position(ALERTS, 0, row["log_offset"]), row["at_ms"])
    return None


def counts(reader: Reader) -> AlertCounts:
    """See `projections.alert_queries.AlertQueries.counts`."""
    [row] = reader.rows(_COUNTS)
    states, outcomes = dict(row["alerts"] or ()), dict(row["notifications"] or ())
    return AlertCounts(
        row["rules"],
        row["rules_enabled"],
        row["rules_failing"],
        row["firing"],
        {state: states.get(state, 0) for state in SERIOUS if state != "inactive"},
        {outcome: outcomes.get(outcome, 0) for outcome in get_args(Outcome)},
    )


def _rule(row: Mapping[str, Any]) -> RuleStatus:
    rule = msgspec.json.decode(row["rule"], type=Rule)
    states: dict[State, int] = dict(row["alerts"] or ())
    failing = row["kind"] == "failed"
    state: RuleState = "disabled"
    if rule.enabled:
        state = next((one for one in SERIOUS if one in states), "inactive")
    return RuleStatus(
        rule=rule,
        created_ms=row["created_ms"],
        created_by=row["created_by"],
        changed_ms=row["changed_ms"],
        changed_by=row["changed_by"],
        state=state,
        active_ms=row["active_ms"],
        triggered_ms=row["triggered_ms"],
        trigger_count=row["trigger_count"] or 0,
        alerts=states,
        firing=row["firing"] or 0,
        problem=row["reason"] if failing else "",
        problem_ms=row["problem_ms"] if failing else None,
    )


def _alert(row: Mapping[str, Any]) -> AlertNow:
    return AlertNow(
        fingerprint=row["fingerprint"],
        alert_id=row["rule_id"],
        version=row["version"],
        name=row["name"],
        severity=row["severity"],
        state=row["state"],
        labels=msgspec.json.decode(row["labels"]),
        annotations=msgspec.json.decode(row["annotations"]),
        value=row["value"],
        active_ms=row["active_ms"],
        since_ms=row["since_ms"],
        fired_ms=row["fired_ms"] or None,
        reason=row["reason"],
        offset=row["log_offset"],
        acknowledged_by=row["acknowledged_by"],
        acknowledged_ms=row["acknowledged_ms"],
    )
