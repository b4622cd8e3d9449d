"""What is said of an alert: its labels, its fingerprint, and the reason of a transition. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from streams.domain.alert_memory import Kept
from streams.domain.durations import duration_text
from streams.domain.templates import expand
from streams.events.alerting import Alert, Number
from streams.events.rules import Rule
from streams.promql.frames import Labels

CONDITION_CHARS_MAX = 200
TEXTS_BYTES_MAX = 262_144
"""Of the labels of an alert, and of its annotations, as JSON."""
EXCEEDED = "RuleSeriesExceeded"


def number(value: float) -> Number:
    """A value as JSON has it.

    >>> number(1.5), number(float("nan")), number(float("-inf"))
    (1.5, 'NaN', '-Inf')
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def fingerprint(rule_id: str, labels: Iterable[tuple[str, str]]) -> str:
    """Of an alert: 16 hex digits, the same in every process and version."""
    text = msgspec.json.encode([rule_id, dict(labels)], order="deterministic")
    return blake2b(text, digest_size=8).hexdigest()


def alert_of(rule: Rule, series: Labels, value: float | None, active_ms: int) -> Alert:
    """The alert of a series. A label of the rule wins over one of the series, and over the
    severity; templates in it are expanded."""
    said = math.nan if value is None else value
    own = {name: expand(text, dict(series), said) for name, text in rule.labels.items()}
    labels = {**dict(series), "severity": rule.severity, **own, "alertname": rule.name}
    return Alert(
        alert_id=rule.id,
        version=rule.version,
        fingerprint=fingerprint(rule.id, series),
        name=rule.name,
        severity=rule.severity,
        labels=_bounded({name: text for name, text in sorted(labels.items()) if text}),
        active_ms=active_ms,
        value=None if value is None else number(value),
    )


def exceeded_alert(rule: Rule, active_ms: int, series: int) -> Alert:
    """That a rule has more series than it may."""
    labels = {"alertname": EXCEEDED, "rule": rule.name}
    return Alert(
        alert_id=rule.id,
        version=rule.version,
        fingerprint=fingerprint(rule.id, labels.items()),
        name=EXCEEDED,
        severity=rule.severity,
        labels=labels,
        active_ms=active_ms,
        value=series,
    )


def annotations_of(rule: Rule, series: Labels, value: float | None) -> dict[str, str]:
    """Expanded; an error of a template stands in its text."""
    said = math.nan if value is None else value
    return _bounded(
        {name: expand(text, dict(series), said) for name, text in rule.annotations.items()}
    )


def holding(rule: Rule, value: float | None, kept: Kept, at_ms: int, *, again: bool) -> str:
    """Why an alert is pending or fires."""
    if value is None:
        why = "no data, which this rule takes as its condition"
    else:
        why = f"value {_said(value)}: {_condition(rule)} holds"
    if again:
        return f"{why} again"
    counted = at_ms - kept.active_ms - kept.frozen_ms
    if kept.state == "pending":
        over = duration_text(counted)
        return f"{why}; fires after {duration_text(rule.for_ms)}, of which {over} are over"
    frozen = f", not counting {duration_text(kept.frozen_ms)}" if kept.frozen_ms else ""
    return f"{why} for {duration_text(counted)}{frozen}" if rule.for_ms else why


def quiet(rule: Rule, value: float | None, *, keeps: str, after_ms: int) -> str:
    """Why an alert recovers or is gone; ``keeps``: what still keeps it; ``after_ms``: how long it
    was kept."""
    if value is None:
        why = "no data, which this rule takes as well (no_data: ok)"
    else:
        why = f"value {_said(value)}: {_condition(rule)} does not hold"
    if keeps:
        return f"{why}; kept by {keeps}"
    return f"{why}, for {duration_text(after_ms)}" if after_ms else why


def no_data(*, told: bool) -> str:
    """Why an alert is in want of data."""
    if told:
        return "its series has no data: it is neither resolved nor does time count for it"
    return "whether its series has data cannot be told: what the condition compares failed"


def exceeded(rule: Rule, series: int) -> str:
    """Why a rule is alerted of itself."""
    return (
        f"{series} series, of which {rule.series_max} (series_max) have alerts: aggregate, add "
        "matchers or raise series_max"
    )


def _bounded(texts: dict[str, str]) -> dict[str, str]:
    """With all values cut where together they would be too large for an event."""
    if len(msgspec.json.encode(texts)) <= TEXTS_BYTES_MAX:
        return texts
    chars = TEXTS_BYTES_MAX // 12 // len(texts)  # a control character has 6 bytes as JSON
    return {
        name: text if len(text) <= chars else text[:chars] + "…" for name, text in texts.items()
    }


def _said(value: float) -> str:
    """A value to read: six digits are enough to see why."""
    said = number(value)
    return said if isinstance(said, str) else f"{said:.6g}"


def _condition(rule: Rule) -> str:
    text = " ".join(rule.condition.split())
    cut = text if len(text) <= CONDITION_CHARS_MAX else text[:CONDITION_CHARS_MAX] + "…"
    return f"`{cut}`"
