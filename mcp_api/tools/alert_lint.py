"""What is probably wrong with a rule, told when it is made: it is created all the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import median

from mcp_api.tools.why_empty import VALUES_SHOWN, never_matches
from projections.answers import EACH_SERIES, Aggregated, Matcher, Selection
from projections.queries import Queries
from streams.domain.durations import duration_text
from streams.domain.rule_syntax import ABSENCE, COMPARISONS, type_of
from streams.events.rules import Rule
from streams.promql.limits import Limits
from streams.promql.parsing import NAME, parse
from streams.promql.syntax import (
    Aggregate,
    Binary,
    Call,
    Expression,
    RangeSelector,
    Selector,
    children,
)

SELECTORS_LOOKED_AT = 8
SERIES_SAMPLED = 20
RECENT_MS = 3_600_000
"""Sample intervals and series are those of the last hour."""
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Look:
    """A selector of the condition; ``range_ms`` 0: of an instant."""

    selector: Selector
    range_ms: int = 0


def lint(
    queries: Queries, rule: Rule, *, receivers: Collection[str] | None, now_ms: int
) -> list[str]:
    """One sentence each: unknown metrics (with the nearest names), tags that never match, ranges
    under two sample intervals, more series than the rule may have, conditions without a comparison,
    unknown receivers (``receivers`` None: who they are is not known here). Reads; call it in a
    thread. `QuerySyntaxError` where the condition is no PromQL.
    """
    expr = parse(rule.condition, Limits())
    warnings: list[str] = []
    for look in list(_looks(expr))[:SELECTORS_LOOKED_AT]:
        warnings += _of_selector(queries, rule, look, _keeps_series(expr), now_ms)
    if not rule.record and type_of(expr) == "vector" and not _compares(expr):
        warnings.append(
            "condition compares nothing: it holds for every series that has a value, 0 included"
        )
    for name in rule.notify if receivers is not None else ():
        if name not in (receivers or ()):
            known = ", ".join(sorted(receivers or ())[:12]) or "none are configured"
            warnings.append(f"no receiver is named {name!r} ({known}): it gets nothing")
    return list(dict.fromkeys(warnings))


def _of_selector(
    queries: Queries, rule: Rule, look: _Look, keeps_series: bool, now_ms: int
) -> Iterator[str]:
    matchers = look.selector.matchers
    metric = next((m.value for m in matchers if m.name == NAME and m.op == "="), "")
    if not metric:
        return
    described = queries.describe(metric, limit=VALUES_SHOWN)
    if described is None:
        names = queries.nearest_names(metric, _NAMES_SHOWN)
        near = f"; the nearest: {', '.join(names)}" if names else ""
        yield f"no metric is named {metric!r} yet{near}"
        return
    asked = tuple(Matcher(m.name, m.op, m.value) for m in matchers if m.name != NAME)
    for matcher in asked:
        if reason := never_matches(metric, matcher, described):
            yield f"it matches nothing yet: {reason}"
            return
    selection = Selection(metric, asked, now_ms - RECENT_MS, now_ms)
    recent = queries.aggregate(
        selection, function="count", group_by=EACH_SERIES, groups_max=SERIES_SAMPLED
    )
    interval_ms = _interval_ms(recent)
    if interval_ms and 0 < look.range_ms < 2 * interval_ms:
        yield (
            f"the range [{duration_text(look.range_ms)}] of {metric} is under two sample intervals "
            f"(a sample every {duration_text(interval_ms)}): it will often be empty; "
            f"[{duration_text(4 * interval_ms)}] is safe"
        )
    if keeps_series and recent.groups_total > rule.series_max:
        yield (
            f"{metric} has {recent.groups_total:,} such series, and the rule may have alerts for "
            f"{rule.series_max:,} (series_max): aggregate, or select fewer"
        )


def _interval_ms(recent: Aggregated) -> int:
    """Between the samples of a series; to seconds where it is longer. 0: not known."""
    gaps = [(g.last_ms - g.first_ms) / (g.count - 1) for g in recent.groups if g.count > 1]
    if not gaps:
        return 0
    middle = median(gaps)
    return round(middle / 1_000) * 1_000 if middle >= 1_000 else round(middle)


def _looks(expr: Expression) -> Iterator[_Look]:
    """What is to be absent is no mistake."""
    match expr:
        case Call(name=name) if name in ABSENCE:
            return
        case RangeSelector(selector=selector, range_ms=range_ms):
            yield _Look(selector, range_ms)
        case Selector():
            yield _Look(expr)
        case _:
            for child in children(expr):
                yield from _looks(child)


def _keeps_series(expr: Expression) -> bool:
    return not any(isinstance(node, Aggregate) for node in _nodes(expr))


def _compares(expr: Expression) -> bool:
    """Whether something in it filters."""
    return any(
        (isinstance(node, Binary) and node.op in {*COMPARISONS, "and", "unless"})
        or (isinstance(node, Call) and node.name in ABSENCE)
        for node in _nodes(expr)
    )


def _nodes(expr: Expression) -> Iterator[Expression]:
    yield expr
    for child in children(expr):
        yield from _nodes(child)
