"""The shapes of an overview: what was known at one time, and what came before it in a range.

Times are Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.events.health import HealthChecked, HealthState, Target
from streams.events.rules import Rule, Severity


@dataclass(frozen=True, slots=True)
class Moment:
    """``at_ms``: the time of the overview. ``start_ms``: where its range begins. ``until_ms``:
    events up to then count; ``AT_MS_MAX`` where the overview is of now, since some clock may be
    ahead."""

    at_ms: int
    start_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class TargetThen:
    """A target that was registered then. ``last``: its newest check, None before the first.

    ``up_ms`` of ``known_ms``: how long in the range it was healthy or degraded, of the time between
    checks in which it was not unknown; ``turns``: how often its state changed in the range.
    """

    target: Target
    state: HealthState
    since_ms: int | None
    reason: str
    suppressed_by: str
    last: HealthChecked | None
    turns: int
    up_ms: int
    known_ms: int


@dataclass(frozen=True, slots=True)
class RuleThen:
    """A rule as it stood then. ``firing``: alerts of it that had fired and were not resolved;
    ``active``: those and the ones that were pending or without data. ``triggered_ms``: when one
    last fired; ``fired``: how often in the range."""

    rule: Rule
    firing: int
    active: int
    triggered_ms: int | None
    fired: int


@dataclass(frozen=True, slots=True)
class FiringThen:
    """An alert that had fired and was not resolved; ``fired_ms``: when it fired."""

    rule_id: str
    name: str
    severity: Severity
    labels: Mapping[str, str]
    value: float | None
    fired_ms: int


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest sample of a series, not older than the look-back; ``labels`` without the name."""

    labels: Mapping[str, str]
    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything of one snapshot.

    ``began_ms``: the first decision that is stored; None before it. ``targets`` by name, ``rules``
    by name, ``firing`` the longest first. ``points``: samples stored of times up to then.
    ``newest``: by metric. ``busiest``: metrics with the most samples in the range, and how many.
    ``positions``: the next offset to be read of each (topic, partition).
    """

    began_ms: int | None
    targets: tuple[TargetThen, ...]
    rules: tuple[RuleThen, ...]
    firing: tuple[FiringThen, ...]
    points: int
    newest: Mapping[str, tuple[Newest, ...]]
    busiest: tuple[tuple[str, int], ...]
    newest_ms: int | None
    positions: Mapping[tuple[str, int], int]
