"""The ledger of a rule: what was decided about it, by whom or why, and who was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from projections.alert_answers import (
    ATTEMPTS_MAX,
    Acknowledged,
    Attempt,
    EvaluationTold,
    History,
    Interrupted,
    LedgerEntry,
    NotificationTold,
    RuleChange,
    Suppressed,
    Tested,
    TransitionTold,
)
from projections.reading import Reader
from streams.events.rules import Rule
from streams.processors.routing import home_of

_Made = Callable[[Mapping[str, Any]], LedgerEntry]

_CHANGES = """
    SELECT * FROM rule_changes WHERE rule_id = (
        SELECT arg_max(rule_id, (rule_id = $asked, log_offset)) FROM rule_changes
        WHERE rule_id = $asked OR name = $asked)"""

_FIRST = f"{_CHANGES} AND change = 'created' ORDER BY log_offset DESC LIMIT 1"
_LAST = f"{_CHANGES} AND at_ms <= $end ORDER BY log_offset DESC LIMIT 1"

_ENTRIES = """
    SELECT *, count(*) OVER () AS total FROM {table}
    WHERE {concerns} AND at_ms BETWEEN $start AND $end
    ORDER BY log_offset DESC LIMIT $limit"""

_OF_RULE = "rule_id = $rule"
_OF_HOME = "home = $home AND at_ms >= $made"
_OF_ALERT = "rule_id = $rule AND ($alert IS NULL OR fingerprint IN ('', $alert))"
_NAMES = (
    "list_contains(rule_ids, $rule) AND ($alert IS NULL OR list_contains(fingerprints, $alert))"
)

_ATTEMPTS = """
    SELECT * FROM notification_attempts SEMI JOIN asked USING (notification_id)
    QUALIFY row_number() OVER (PARTITION BY notification_id ORDER BY log_offset DESC) <= $most
    ORDER BY log_offset"""


def history(
    reader: Reader,
    asked: str,
    span: tuple[int, int],
    fingerprint: str | None,
    limit: int,
    *,
    homes: int,
) -> History | None:
    """See `projections.alert_queries.AlertQueries.history`; both bounds of ``span`` inclusive.
    ``homes``: partitions in which rules are evaluated."""
    made = reader.rows(_FIRST, {"asked": asked})
    if not made:
        return None
    in_force = reader.rows(_LAST, {"asked": asked, "end": span[1]})
    first, last = _change(made[0]), [_change(row) for row in in_force]
    rule_id = first.rule.id
    bounds = {"start": span[0], "end": span[1], "limit": limit}
    entries: list[LedgerEntry] = []
    total = 0
    of_rule = {"rule": rule_id}
    parameters: dict[str, dict[str, Any]] = {
        _OF_RULE: of_rule,
        _OF_HOME: {"home": home_of(rule_id, homes), "made": first.at_ms},
    }
    for table, concerns, entry in _sources(rule_id):
        params = bounds | parameters.get(concerns, of_rule | {"alert": fingerprint})
        rows = reader.rows(_ENTRIES.format(table=table, concerns=concerns), params)
        entries += [entry(row) for row in rows]
        total += rows[0]["total"] if rows else 0
    newest = nlargest(limit, entries, key=attrgetter("offset"))[::-1]
    name = last[0].rule.name if last else first.rule.name
    told = tuple(_with_attempts(reader, newest))
    return History(rule_id, name, first, last[0] if last else None, told, total)


def _sources(rule_id: str) -> tuple[tuple[str, str, _Made], ...]:
    return (
        ("rule_changes", _OF_RULE, _change),
        ("transitions", _OF_ALERT, _transition),
        ("evaluations", _OF_RULE, _evaluation),
        ("interruptions", _OF_HOME, _interrupted),
        ("alert_actions", _OF_ALERT, _action),
        ("suppressions", _OF_ALERT, _suppressed),
        ("notifications", _NAMES, lambda row: _notification(row, rule_id)),
    )


def _with_attempts(reader: Reader, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    ids = [one.id for one in entries if isinstance(one, NotificationTold)]
    if not ids:
        return list(entries)
    asked = pa.table({"notification_id": ids})
    attempts: dict[str, list[Attempt]] = {}
    for row in reader.rows(_ATTEMPTS, {"most": 2 * ATTEMPTS_MAX}, asked=asked):
        _add_attempt(attempts.setdefault(row["notification_id"], []), row)
    return [
        replace(one, attempts=tuple(attempts.get(one.id, ())[-ATTEMPTS_MAX:]))
        if isinstance(one, NotificationTold)
        else one
        for one in entries
    ]


def _add_attempt(attempts: list[Attempt], row: Mapping[str, Any]) -> None:
    """An outcome ends the newest attempt that has its number."""
    if row["kind"] == "attempted":
        attempts.append(Attempt(row["attempt"], row["at_ms"], row["again"], None, None, "", None))
        return
    for i in reversed(range(len(attempts))):
        if attempts[i].number == row["attempt"]:
            attempts[i] = replace(
                attempts[i],
                outcome=row["kind"],
                outcome_ms=row["at_ms"],
                detail=row["detail"],
                retry_ms=row["retry_ms"],
            )
            return


def _change(row: Mapping[str, Any]) -> RuleChange:
    return RuleChange(
        row["log_offset"],
        row["at_ms"],
        row["change"],
        row["actor"],
        row["causation_id"],
        msgspec.json.decode(row["rule"], type=Rule),
    )


def _transition(row: Mapping[str, Any]) -> TransitionTold:
    return TransitionTold(
        offset=row["log_offset"],
        at_ms=row["at_ms"],
        fingerprint=row["fingerprint"],
        version=row["version"],
        before=row["state_before"],
        after=row["state_after"],
        labels=msgspec.json.decode(row["labels"]),
        value=row["value"],
        reason=row["reason"],
        seen=tuple(row["seen"]),
        annotations=msgspec.json.decode(row["annotations"]),
        causation_id=row["causation_id"],
    )


def _evaluation(row: Mapping[str, Any]) -> EvaluationTold:
    return EvaluationTold(
        row["log_offset"], row["at_ms"], row["kind"], row["version"], row["reason"]
    )


def _interrupted(row: Mapping[str, Any]) -> Interrupted:
    return Interrupted(row["log_offset"], row["at_ms"], row["kind"], row["from_ms"], row["source"])


def _action(row: Mapping[str, Any]) -> Acknowledged | Tested:
    if row["kind"] == "tested":
        return Tested(row["log_offset"], row["at_ms"], row["actor"])
    return Acknowledged(
        row["log_offset"], row["at_ms"], row["actor"], row["fingerprint"], row["comment"]
    )


def _suppressed(row: Mapping[str, Any]) -> Suppressed:
    return Suppressed(
        row["log_offset"],
        row["at_ms"],
        row["fingerprint"],
        row["cause"],
        row["caused_by"],
        row["reason"],
    )


def _notification(row: Mapping[str, Any], rule_id: str) -> NotificationTold:
    return NotificationTold(
        offset=row["log_offset"],
        at_ms=row["at_ms"],
        id=row["notification_id"],
        receiver=row["receiver"],
        status=row["status"],
        reason=row["reason"],
        alerts=len(row["rule_ids"]) + row["left_out"],
        of_rule=row["rule_ids"].count(rule_id),
        outcome=row["outcome"],
        attempts=(),
    )
