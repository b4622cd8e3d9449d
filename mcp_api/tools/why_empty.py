"""Why a query found nothing, with what the caller could ask instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_api.tools.arguments import nearest
from mcp_api.tools.times import iso
from projections.answers import Described, LabelValues, Matcher, Selection
from projections.queries import Queries

VALUES_SHOWN = 20
_CHARS_MAX = 3_000


def why_empty(queries: Queries, selection: Selection) -> dict[str, Any]:
    """``{"reason", …}`` with ``nearest_names``, ``tag_values`` or ``data_range`` as it applies."""
    metric = selection.metric or ""
    described = queries.describe(metric, limit=VALUES_SHOWN)
    if described is None:
        return unknown_metric(queries, metric)
    for matcher in selection.matchers:
        if reason := never_matches(metric, matcher, described):
            return {"reason": reason, "tag_values": _relevant(matcher, described)}
    found = queries.time_range(selection)
    if found is None:
        return {
            "reason": f"no series of {metric!r} has all of these tags together",
            "tag_values": shown_values(described.labels),
        }
    first, last = iso(found[0]), iso(found[1])
    return {
        "reason": f"no samples from {iso(selection.start_ms)} to {iso(selection.end_ms)}; "
        f"there are some from {first} to {last}",
        "data_range": {"start": first, "end": last},
    }


def unknown_metric(queries: Queries, metric: str) -> dict[str, Any]:
    """For a name that was never stored."""
    names = list(queries.nearest_names(metric, 5))
    if not names:
        return {"reason": "no metrics are stored yet; send some with collect_metrics"}
    return {"reason": f"no metric is named {metric!r}", "nearest_names": names}


def shown_values(labels: Mapping[str, LabelValues]) -> dict[str, list[str]]:
    """Values of labels, cut to what an answer can hold."""
    left, shown = _CHARS_MAX, {}
    for label, values in labels.items():
        kept: list[str] = []
        for value in values.values[:VALUES_SHOWN]:
            left -= len(value) + 3
            if left < 0:
                break
            kept.append(value)
        left -= len(label) + 6
        if left < 0:
            break
        shown[label] = kept
    return shown


def never_matches(metric: str, matcher: Matcher, described: Described) -> str | None:
    """Why no series of the metric can pass the matcher; None where one may."""
    if matcher.op in ("!=", "!~") or matcher.value == "":
        return None
    values = described.labels.get(matcher.label)
    if values is None:
        if matcher.op == "=~":  # it may match "", which a missing tag equals
            return None
        return (
            f"{metric!r} has no tag {matcher.label!r}; {nearest(matcher.label, described.labels)}"
        )
    listed = values.values
    if matcher.op == "=" and values.total <= len(listed) and matcher.value not in listed:
        return (
            f"tag {matcher.label!r} of {metric!r} never has the value {matcher.value[:80]!r}; "
            f"{nearest(matcher.value, listed, shown_max=5)}"
        )
    return None


def _relevant(matcher: Matcher, described: Described) -> dict[str, list[str]]:
    if matcher.label in described.labels:
        return shown_values({matcher.label: described.labels[matcher.label]})
    return shown_values(described.labels)
