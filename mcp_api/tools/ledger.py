"""A rule's ledger as an answer: who made and changed it, why it fired, who was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from mcp_api.tools.positions import absorbed_token
from mcp_api.tools.rule_arguments import rule_content
from mcp_api.tools.times import iso
from mcp_api.tools.values import json_chars, short_number
from projections.alert_answers import (
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
from streams.domain.durations import duration_text
from streams.events.rules import Rule
from streams.events.topics import POINTS

CHARS_MAX = 3_800
"""Of all entries: with the rest, and the same as text, an answer stays under 2,000 tokens."""
_WHAT_CHARS_MAX = 700
_SEEN_SHOWN = 3
_OWN_LABELS = ("alertname", "severity")
_EVENTS = {"inactive": "resolved", "no_data": "no data"}


def ledger_content(history: History) -> dict[str, Any]:
    """``made``, ``in_force`` and ``history``, the newest first, cut to `CHARS_MAX`."""
    rules = {history.made.rule.version: history.made.rule}
    entries = [_entry(entry, rules) for entry in history.entries]
    entries.reverse()
    made = history.made
    content: dict[str, Any] = {
        "alert_id": history.alert_id,
        "made": {"time": iso(made.at_ms), "by": made.actor or "unknown", "name": history.name},
        "history": entries,
        "total_count": history.total,
        "truncated": False,
    }
    if history.in_force is not None:
        since = history.in_force
        content["in_force"] = {
            "version": since.rule.version,
            "since": iso(since.at_ms),
            "by": since.actor or "unknown",
            "condition": since.rule.condition[:500],
        }
    sizes = [json_chars(entry) + 1 for entry in entries]
    while entries and sum(sizes) > CHARS_MAX:
        entries.pop()
        sizes.pop()
    if len(entries) < history.total:
        content["truncated"] = True
        if entries:
            content["hint"] = (
                f"{history.total - len(entries)} earlier entries are left out: ask with end_time "
                f"{entries[-1]['time']}, or a shorter range"
            )
    return content


def summary(history: History) -> str:
    """The last firing in one breath: when, why, by whose rule, who was told; "" without one."""
    firings = [
        entry
        for entry in history.entries
        if isinstance(entry, TransitionTold) and entry.after == "firing"
    ]
    if not firings:
        return ""
    last = firings[-1]
    told = [
        f"{entry.receiver} ({entry.outcome})"
        for entry in history.entries
        if isinstance(entry, NotificationTold) and entry.offset > last.offset
    ]
    quiet = [
        f"{entry.cause}: {entry.reason}" if entry.reason else entry.cause
        for entry in history.entries
        if isinstance(entry, Suppressed)
        and entry.offset > last.offset
        and entry.fingerprint == last.fingerprint
    ]
    rule = history.in_force or history.made
    return (
        f"Last fired at {iso(last.at_ms)}{_of(last.labels)}: {last.reason}. Rule version "
        f"{last.version}; version {rule.rule.version} by {rule.actor or 'unknown'}, made by "
        f"{history.made.actor or 'unknown'}. Told: {', '.join(told[:8]) or 'nobody'}"
        + (f" (held back: {'; '.join(quiet[:3])})" if quiet else "")
        + "."
    )


def _entry(entry: LedgerEntry, rules: dict[int, Rule]) -> dict[str, Any]:
    told: dict[str, Any] = {"time": iso(entry.at_ms)}
    match entry:
        case RuleChange():
            told |= {"event": entry.change, "what": _change(entry, rules)}
            rules[entry.rule.version] = entry.rule
        case TransitionTold():
            told |= {
                "event": "fired" if entry.after == "firing" else _event(entry),
                "what": _transition(entry),
                "labels": _shown_labels(entry.labels),
                "fingerprint": entry.fingerprint,
            }
        case EvaluationTold():
            event = "evaluation failed" if entry.kind == "failed" else "evaluation recovered"
            told |= {"event": event, "what": entry.reason or "it is evaluated again"}
        case Interrupted():
            told |= _interruption(entry)
        case Acknowledged():
            what = entry.fingerprint or "all alerts of the rule that were active"
            told |= {
                "event": "acknowledged",
                "what": f"by {entry.actor}: {what}" + (f": {entry.comment}" * bool(entry.comment)),
            }
        case Tested():
            told |= {"event": "tested", "what": f"by {entry.actor}"}
        case Suppressed():
            by = f" by {entry.by}" if entry.by else ""
            reason = f": {entry.reason}" if entry.reason else ""
            told |= {
                "event": "not told",
                "what": f"{entry.cause}{by}{reason}",
                "fingerprint": entry.fingerprint,
            }
        case NotificationTold():
            told |= {"event": f"notification {entry.outcome}", "what": _notification(entry)}
        case _:
            assert_never(entry)
    told["what"] = _cut(told["what"])
    return told


def _interruption(entry: Interrupted) -> dict[str, str]:
    since = iso(entry.from_ms)
    if entry.kind == "outage":
        held = duration_text(entry.at_ms - entry.from_ms)
        return {"event": "outage", "what": f"nothing was evaluated since {since}, for {held}"}
    waits = f"evaluation waits for partition {entry.source} of the points, silent since {since}"
    return {"event": "evaluation stalled", "what": waits}


def _event(entry: TransitionTold) -> str:
    if entry.after == "inactive" and entry.before not in {"firing", "recovering"}:
        return "cleared"
    return _EVENTS.get(entry.after, entry.after)


def _transition(entry: TransitionTold) -> str:
    """The reason, and where to look: the rule's version and the samples that it had seen."""
    next_offsets = {(POINTS, number): end for number, end in enumerate(entry.seen)}
    seen = absorbed_token(dict(list(next_offsets.items())[:_SEEN_SHOWN]))
    more = ", …" if len(entry.seen) > _SEEN_SHOWN else ""
    value = "" if entry.value is None else f", value {short_number(entry.value)}"
    up_to = f", samples up to {seen}{more}" if seen else ""
    return f"{entry.reason} (was {entry.before}{value}, rule version {entry.version}{up_to})"


def _change(entry: RuleChange, rules: Mapping[int, Rule]) -> str:
    rule, actor = entry.rule, entry.actor or "unknown"
    before = rules.get(rule.version - 1)
    if entry.change != "updated" or before is None:
        held = f", for {duration_text(rule.for_ms)}" if rule.for_ms else ""
        made = f": {rule.condition}{held}, severity {rule.severity}"
        return f"by {actor}, version {rule.version}" + made * (entry.change == "created")
    old, new = rule_content(before), rule_content(rule)
    fields = [name for name in {**old, **new} if name not in {"id", "version"}]
    changes = [
        f"{name} {_value(old.get(name))} → {_value(new.get(name))}"
        for name in fields
        if old.get(name) != new.get(name)
    ]
    return f"by {actor}, version {rule.version}: {', '.join(changes) or 'the same'}"


def _notification(entry: NotificationTold) -> str:
    of = f"{entry.alerts} alert{'s' * (entry.alerts != 1)}, {entry.status}, {entry.reason}"
    attempts = "; ".join(map(_attempt, entry.attempts[-3:]))
    return f"to {entry.receiver} ({of})" + (f": {attempts}" if attempts else "")


def _attempt(attempt: Attempt) -> str:
    again = ", perhaps for the second time" if attempt.again else ""
    if attempt.outcome is None:
        return f"attempt {attempt.number} at {iso(attempt.at_ms)} has no outcome yet"
    at = iso(attempt.at_ms if attempt.outcome_ms is None else attempt.outcome_ms)
    detail = f" ({attempt.detail[:200]})" if attempt.detail else ""
    retry = f", next at {iso(attempt.retry_ms)}" if attempt.retry_ms is not None else ""
    return f"attempt {attempt.number} {attempt.outcome} at {at}{again}{detail}{retry}"


def _shown_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in _OWN_LABELS}


def _of(labels: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in _shown_labels(labels).items())
    return f" for {shown[:200]}" if shown else ""


def _value(value: object) -> str:
    return "unset" if value is None else repr(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WHAT_CHARS_MAX else text[: _WHAT_CHARS_MAX - 1] + "…"
