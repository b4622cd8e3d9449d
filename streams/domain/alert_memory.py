"""What is remembered of a rule's alerts from tick to tick, and what a tick reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.errors import QueryError
from streams.events.alerting import State
from streams.events.rules import Rule
from streams.promql.frames import Labels, unnamed

Values = Mapping[Labels, float]
"""The values of series by their labels, without the metric's name."""

SAME_LABELS: Final = "two series of the result differ in the metric's name only: alerts have none"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert that is not inactive.

    ``since_ms``: when it came into its state. ``active_ms``: since when it is pending or firing,
    of which ``frozen_ms`` do not count. ``quiet_ms``: since when its condition does not hold, moved
    by what does not count; 0 while it holds. ``fired``: whether it has, and was not resolved.
    """

    series: Labels
    state: State
    since_ms: int
    active_ms: int
    frozen_ms: int = 0
    quiet_ms: int = 0
    fired: bool = False


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of a rule: of each series that is not inactive.

    ``version``, ``condition``: of the rule that was last evaluated. ``known``: series that had data
    (kept for ``no_data: alert`` only). ``exceeded_ms``: since when more series hold than the rule
    may have alerts of; 0 where they do not.
    """

    version: int = 0
    condition: str = ""
    kept: Mapping[Labels, Kept] = field(default_factory=dict)
    known: frozenset[Labels] = frozenset()
    exceeded_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule's expressions give at one time.

    ``active``: the condition. ``present``: `rule_syntax.presence` of it, asked for only where a
    series has left the condition's result; None where nobody can tell. ``clear``: the series of
    ``clear_condition``, asked for only where the rule has one.
    """

    active: Values
    present: Callable[[], Values | None]
    clear: Callable[[], Collection[Labels]] = tuple


def nameless(labels: tuple[Labels, ...], values: list[float]) -> dict[Labels, float]:
    """Values by series without the metric's name; `QueryError` where it alone told two apart."""
    named = dict(zip(map(unnamed, labels), values, strict=True))
    if len(named) != len(labels):
        raise QueryError(SAME_LABELS)
    return named


def due_ms(rule: Rule, alerts: Alerts, after_ms: int = 0) -> int | None:
    """The earliest time after ``after_ms`` at which time alone makes a transition, while what is
    read stays the same; None: there is none."""
    times = []
    for kept in alerts.kept.values():
        if kept.state == "pending":
            times.append(kept.active_ms + kept.frozen_ms + rule.for_ms)
        elif kept.state == "recovering":
            times.append(kept.quiet_ms + rule.keep_firing_for_ms)
    return min((at_ms for at_ms in times if at_ms > after_ms), default=None)


class _Packed(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    condition: str
    kept: tuple[Kept, ...] = ()
    known: tuple[Labels, ...] = ()
    exceeded_ms: int = 0


def pack(alerts: Alerts) -> bytes:
    """As JSON that follows from the value alone."""
    kept = tuple(each for _, each in sorted(alerts.kept.items()))
    known = tuple(sorted(alerts.known))
    return msgspec.json.encode(
        _Packed(alerts.version, alerts.condition, kept, known, alerts.exceeded_ms)
    )


def unpack(packed: bytes) -> Alerts:
    """The inverse of `pack`."""
    it = msgspec.json.decode(packed, type=_Packed)
    kept = {each.series: each for each in it.kept}
    return Alerts(it.version, it.condition, kept, frozenset(it.known), it.exceeded_ms)
