"""Short text for a model that sees no structured content: the same facts, fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp_api.tools.values import short_number, tags_text

TEXT_CHARS_MAX = 4_000
_POINTS_SHOWN = 12
_GROUPS_WITH_POINTS = 3
_LINES_MAX = 20


def query_text(content: Mapping[str, Any]) -> str:
    """One line a group; points (evenly picked) where there are at most three groups."""
    span = content["range"]
    asked = f"{content['aggregation']} of {content['metric_name']}"
    if content["metric_name"] is None:
        asked = content["promql"][:500]
    lines = [f"{asked}, {span['start']} to {span['end']}:"]
    results = content["results"]
    for result in results[:_LINES_MAX]:
        lines.append(_result_line(result, content.get("unit", "")))
        if len(results) <= _GROUPS_WITH_POINTS and len(result["points"]) > 1:
            lines.append(f"  by {span['step']}: {_points_text(result['points'])}")
    if len(results) > _LINES_MAX:
        lines.append(f"- and {len(results) - _LINES_MAX} more groups in the structured content")
    expression = content.get("promql", "")
    if content["metric_name"] is not None and 0 < len(expression) <= 500:
        lines.append(f"By {span['step']} in PromQL: {expression}")
    lines += [f"Warning: {note}" for note in content.get("warnings", ())]
    return finish(lines, content)


def metrics_text(content: Mapping[str, Any]) -> str:
    """The metrics' names, with type, unit, series and tags."""
    metrics = content["metrics"]
    lines = [f"{content.get('total', 0)} metrics:"] if metrics else []
    lines += [_metric_line(metric) for metric in metrics[:60]]
    return finish(lines, content)


def tags_answer_text(content: Mapping[str, Any]) -> str:
    """Each tag with its most telling values."""
    lines = [_metric_line(metric) for metric in content.get("metrics", ())]
    if not lines:
        lines = [f"Tags of {content['metric_name'] or 'all metrics'}:"]
    for name, tag in content["tags"].items():
        values = ", ".join(list(tag["values"])[:10])
        more = ", …" if tag["total"] > 10 else ""
        lines.append(f"- {name} ({tag['total']} values): {values[:300]}{more}")
    return finish(lines, content)


def collect_text(content: Mapping[str, Any]) -> str:
    """What was stored, what was refused and why, and the position."""
    lines = [f"Stored {content['collected_count']} points from {content['source']}."]
    if content.get("duplicate"):
        lines = ["This request was stored before; it counts once. " + lines[0]]
    if count := content.get("rejected_count"):
        lines.append(f"Refused {count}:")
        lines += [f"- metrics[{r['index']}]: {r['reason']}" for r in content["rejected"][:10]]
    if content["position"]:
        lines.append(f"Position: {content['position']}")
    return finish(lines, content)


def status_text(content: Mapping[str, Any]) -> str:
    """Status, version, what is stored, what is behind."""
    metrics = content["metrics"]
    stored = metrics["total_metrics_stored"]
    lines = [
        f"{content['server_name']} {content['version']} is {content['status']}, up "
        f"{content['uptime']:.0f} s; "
        f"{'unknown' if stored is None else stored} samples are stored.",
        *(f"Problem: {problem}" for problem in content["problems"]),
        "Components: " + ", ".join(f"{k} {v}" for k, v in content["components"].items()),
        "Lag: " + ", ".join(f"{k} {v['records']} records" for k, v in content["lag"].items()),
        f"Log: {content['log']['kind']}"
        + ("" if content["log"]["durable"] else ", which one broker's loss would damage"),
    ]
    return finish(lines, content)


def export_text(content: Mapping[str, Any]) -> str:
    """How many rows of what, the first lines of them, and where the whole is."""
    span = content["range"]
    names = ", ".join(content["metric_names"])[:300] or "all metrics"
    lines = [f"{content['format']} export of {names}, {span['start']} to {span['end']}."]
    if "content" in content:
        lines[0] += f" {content['row_count']} rows inline in content; the first lines:"
        lines.append(content["content"][:1_000])
    url = content["url"] if len(content["url"]) <= 2_000 else "the url in the structured content"
    lines.append(f"Download: {url}")
    return finish(lines, content)


def finish(lines: Sequence[str], content: Mapping[str, Any]) -> str:
    """The lines, then what the answer says of itself (errors, emptiness, a hint, how fresh it is),
    which is never cut."""
    last = []
    if error := content.get("error"):
        last.append(f"Nothing was stored: {error['message']}.")
    if why := content.get("why_empty"):
        last.append(f"Nothing found: {why['reason']}.")
        if names := why.get("nearest_names"):
            last.append(f"Nearest names: {', '.join(names)}.")
    if hint := content.get("hint"):
        last.append(f"Note: {hint}.")
    if cursor := content.get("next_cursor"):
        last.append(f"next_cursor: {cursor}")
    if (as_of := content.get("as_of")) and as_of["time"]:
        last.append(f"As of {as_of['time']}.")
    body, tail = "\n".join(lines), "\n".join(last)[:TEXT_CHARS_MAX]
    room = TEXT_CHARS_MAX - len(tail) - 1
    if len(body) > room:
        body = body[: max(room - 1, 0)] + "…"
    return f"{body}\n{tail}".strip()


def _result_line(result: Mapping[str, Any], unit: str) -> str:
    low, high, first, last = (
        _short(result["summary"][name]) for name in ("min", "max", "first", "last")
    )
    counted = f"{result['count']} steps"
    if "series" in result:
        counted = f"{result['count']} samples of {result['series']} series"
    return (
        f"- {tags_text(result['tags'])}: {_short(result['value'])}{unit and f' {unit}'} "
        f"({counted}; min {low}, max {high}, first {first}, last {last} at {result['timestamp']})"
    )


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str) else short_number(float(value))


def _points_text(points: Sequence[Sequence[Any]]) -> str:
    count = min(len(points), _POINTS_SHOWN)
    picked = [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]
    return ", ".join(f"{at} {value}" for at, value in picked)


def _metric_line(metric: Mapping[str, Any]) -> str:
    unit = f", {metric['unit']}" if "unit" in metric else ""
    tags = ", ".join(metric["tags"]) or "none"
    return f"- {metric['name']} ({metric['type']}{unit}; {metric['series']} series; tags: {tags})"
