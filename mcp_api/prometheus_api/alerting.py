"""``rules`` and ``alerts``: what is alerted of, as Prometheus tells it.

https://prometheus.io/docs/prometheus/latest/querying/api/#rules

There are no rule files here: all rules are in one group. When a rule was evaluated is not known to
the read side, so ``lastEvaluation`` is the time that Prometheus has for never.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mcp_api.prometheus_api.encoding import Reply
from mcp_api.prometheus_api.parameters import invalid
from projections.alert_queries import ALERTS_MAX, RULES_MAX
from streams.events.codec import iso_time
from streams.promql.matchers import matches

if TYPE_CHECKING:
    from mcp_api.prometheus_api.endpoints import Asked
    from projections.alert_answers import AlertNow, RuleStatus
    from projections.promql_labels import Selectors

GROUP, FILE = "rules", "alerts.events"
"""The one group, and what it is read from: the log's topic."""

NEVER = "0001-01-01T00:00:00Z"
_TYPES = {"alert": "alerting", "record": "recording"}
_FLAGS = {"": False, "false": False, "true": True}


def rules(asked: Asked) -> Reply:
    """Rules that are enabled, with their active alerts; filters ``type``, ``rule_name[]``,
    ``rule_group[]``, ``file[]``, ``exclude_alerts``, and ``match[]`` by the rule's own labels, as
    they are configured: one that is a template is matched as it is written."""
    parameters = asked.parameters
    kind = parameters.text("type").lower()
    if kind and kind not in _TYPES:
        raise invalid("type", f"not supported value {kind[:80]!r}")
    selected = asked.matchers()
    without = _FLAGS.get(parameters.text("exclude_alerts").lower())
    if without is None:
        raise invalid("exclude_alerts", "it is true or false")
    if not (
        _wanted(parameters.all("rule_group[]"), GROUP) and _wanted(parameters.all("file[]"), FILE)
    ):
        return Reply.of({"groups": []})
    found = asked.alerts.rules(limit=RULES_MAX).rules
    active: dict[str, list[dict[str, Any]]] = {}
    cut = False
    if not without:
        listed = asked.alerts.alerts(limit=ALERTS_MAX)
        cut = listed.total > len(listed.alerts)
        for one in listed.alerts:
            active.setdefault(one.alert_id, []).extend(_alerts([one]))
    told = [
        _recording(one) if one.rule.record else _alerting(one, active.get(one.rule.id, []))
        for one in found
        if one.rule.enabled and _wanted(parameters.all("rule_name[]"), _name(one))
    ]
    told = [one for one in told if not kind or one["type"] == _TYPES[kind]]
    told = [one for one in told if not selected or _is_selected(one["labels"], selected)]
    group = {
        "name": GROUP,
        "file": FILE,
        "interval": 0,
        "limit": 0,
        "rules": told,
        "evaluationTime": 0,
        "lastEvaluation": NEVER,
    }
    return Reply.of({"groups": [group] if told else []}, truncated=cut)


def alerts(asked: Asked) -> Reply:
    """Alerts that are pending, or have fired and are not resolved."""
    found = asked.alerts.alerts(limit=ALERTS_MAX)
    cut = found.total > len(found.alerts)
    return Reply.of({"alerts": _alerts(found.alerts)}, truncated=cut)


def _wanted(names: Iterable[str], name: str) -> bool:
    asked = list(names)
    return not asked or name in asked


def _is_selected(labels: Mapping[str, str], selected: Selectors) -> bool:
    """Whether all matchers of one selector hold; a missing label is an empty one."""
    return any(
        all(matches(each, [labels.get(each.name, "")])[0] for each in matchers)
        for matchers in selected
    )


def _name(one: RuleStatus) -> str:
    return one.rule.record or one.rule.name


def _alerting(one: RuleStatus, active: list[dict[str, Any]]) -> dict[str, Any]:
    rule = one.rule
    labels = {"severity": rule.severity, **rule.labels}
    description = {"description": rule.description} if rule.description else {}
    return {
        "state": "firing" if one.firing else "pending" if one.alerts else "inactive",
        "name": rule.name,
        "query": rule.condition,
        "duration": rule.for_ms / 1_000,
        "keepFiringFor": rule.keep_firing_for_ms / 1_000,
        "labels": labels,
        "annotations": {**description, **rule.annotations},
        "alerts": active,
        **_health(one),
        "type": "alerting",
    }


def _recording(one: RuleStatus) -> dict[str, Any]:
    rule = one.rule
    return {
        "name": rule.record,
        "query": rule.condition,
        "labels": rule.labels,
        **_health(one),
        "type": "recording",
    }


def _health(one: RuleStatus) -> dict[str, Any]:
    health: dict[str, Any] = {"health": "ok", "evaluationTime": 0, "lastEvaluation": NEVER}
    return health | ({"health": "err", "lastError": one.problem} if one.problem else {})


def _alerts(found: Iterable[AlertNow]) -> list[dict[str, Any]]:
    """Missing data resolves nothing, so an alert that has fired is firing here until it is
    resolved; one of which nobody can tell and that had not fired is pending."""
    return [
        {
            "labels": dict(one.labels),
            "annotations": dict(one.annotations),
            "state": "firing" if one.fired_ms is not None else "pending",
            "activeAt": iso_time(one.active_ms or one.since_ms),
            **({"keepFiringSince": iso_time(one.since_ms)} if one.state == "recovering" else {}),
            "value": value_text(math.nan if one.value is None else one.value),
        }
        for one in found
    ]


def value_text(value: float) -> str:
    """As Go's ``%e`` with the shortest digits, which Prometheus has for an alert's value.

    >>> [value_text(v) for v in (1.0, 91.25, -0.00012, 1e22, float("inf"), float("nan"))]
    ['1e+00', '9.125e+01', '-1.2e-04', '1e+22', '+Inf', 'NaN']
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    digits = f"{value:.17e}"
    for places in range(17):
        digits = f"{value:.{places}e}"
        if float(digits) == value:
            break
    return digits
