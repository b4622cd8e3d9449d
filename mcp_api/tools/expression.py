"""The PromQL expression behind the points of a `query_metrics` question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from projections.answers import EACH_SERIES, Function, Matcher, Selection
from streams.domain.durations import duration_text
from streams.errors import QuerySyntaxError
from streams.events.labels import NAME
from streams.promql.limits import Limits

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)

_OVER_TIME: Mapping[Function, tuple[str, str | None]] = {
    "avg": ("avg_over_time", None),
    "sum": ("sum_over_time", "sum"),
    "min": ("min_over_time", "min"),
    "max": ("max_over_time", "max"),
    "count": ("count_over_time", "sum"),
    "last": ("last_over_time", None),
    "stddev": ("stddev_over_time", None),
    "quantile": ("quantile_over_time", None),
}
"""The function over a series' samples, and what joins its values to that of many series."""


def points_expression(
    selection: Selection,
    function: Function,
    quantile: float | None,
    *,
    group_by: tuple[str, ...] | None,
    step_ms: int,
    alone: bool,
) -> str | None:
    """Its value at the last millisecond of a step is that step's point.

    ``alone``: each group told has one series. Equal up to rounding, for any samples but infinite
    ones beside a percentile. None where PromQL has none: for ``rate`` and ``increase``, which here
    count the growth between neighbouring samples wherever the steps' bounds lie and estimate none;
    for ``last``, ``stddev`` and percentiles over the samples of several series together. None too
    where it could not be asked: it is too long, or the parser refuses a name or a regular
    expression.

    >>> cpu = Selection("cpu", (Matcher("zone", "!=", "b"),), 0, 3_600_000)
    >>> points_expression(cpu, "max", None, group_by=("host",), step_ms=60_000, alone=False)
    'max by (host) (max_over_time(cpu{zone!="b"}[1m]))'
    """
    if function not in _OVER_TIME:
        return None
    over_time, join = _OVER_TIME[function]
    window = f"{_selector(selection)}[{duration_text(step_ms)}]"
    values = f"{over_time}({window})"
    if quantile is not None:
        values = f"{over_time}({quantile:.12g}, {window})"
    by = "" if group_by is None else f" by ({', '.join(map(_label, group_by))}) "
    if alone and (group_by is None or group_by == EACH_SERIES):
        text = values
    elif join or alone:
        text = f"{join or 'avg'}{by}({values})"
    elif function == "avg":  # of all samples alike, however many each series has
        text = f"sum{by}(sum_over_time({window})) / sum{by}(count_over_time({window}))"
    else:
        return None
    return text if _can_be_asked(text) else None


def _selector(selection: Selection) -> str:
    name, matchers = selection.metric or "", selection.matchers
    if not _METRIC.fullmatch(name):
        name, matchers = "", (Matcher(NAME, "=", name), *matchers)
    conditions = ", ".join(f"{_label(m.label)}{m.op}{_quoted(m.value)}" for m in matchers)
    return f"{name}{{{conditions}}}" if conditions else name


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # JSON's escapes are among Go's, which PromQL's strings have.
    return json.dumps(text, ensure_ascii=False)


def _can_be_asked(text: str) -> bool:
    # Late: a server that nobody asks does without the parser in memory.
    from streams.promql.parsing import parse

    try:
        parse(text, Limits())
    except QuerySyntaxError:
        return False
    return True
