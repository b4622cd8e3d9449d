"""The shapes of what a rule would have done: plain frozen values. Times are Unix milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Labels = Mapping[str, str]

FLAP_MS = 900_000
"""An alert that fires again so soon after its end flaps."""

FIRINGS_KEPT_MAX = 10_000
"""Firings that are told one by one, and compared with what happened; all are counted."""

MOVES_TOLD_MAX = 20_000
"""Transitions for which it is worked out who would have been told."""


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert fired from ``fired_ms`` to ``ended_ms`` (None: it still does at the range's end)."""

    fingerprint: str
    labels: Labels
    fired_ms: int
    ended_ms: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Notifications:
    """Who would have been told how often, and why alerts were held back how often.

    As if the rule was the only one: silences count, acknowledgements and other rules' alerts do
    not. ``until_ms``: they were worked out up to there, which is before the range's end where there
    were too many transitions.
    """

    receivers: Mapping[str, int]
    reasons: Mapping[str, int]
    suppressed: Mapping[str, int]
    until_ms: int


@dataclass(frozen=True, slots=True)
class Difference:
    """From the firings of the rule that did happen: firings of one alert that overlap are the same.

    ``happened``: all of those. ``only_now``: would have been, and were not; ``only_then``: the
    other way round. ``until_ms``: they were compared up to there.
    """

    happened: int
    same: int
    only_now: tuple[Firing, ...]
    only_then: tuple[Firing, ...]
    until_ms: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a rule would have done at each ``step_ms`` from ``start_ms`` to ``end_ms``.

    ``until_ms``: how far it came before it was ended. It begins without alerts: what holds at the
    start begins then. ``data_from_ms``: of the oldest sample that it read. ``evaluations``, of
    which ``failed`` could not be, the first for ``problem``. ``series``: alerts that fired at all;
    ``firings``: how often, ``firing_ms`` and ``longest_ms`` for how long; ``flaps``: again within
    `FLAP_MS`. ``nearly``: alerts that were pending and did not fire; ``no_data``: times that data
    was missing for one; ``exceeded``: times that the rule had too many series.
    """

    start_ms: int
    end_ms: int
    until_ms: int
    step_ms: int
    data_from_ms: int | None
    evaluations: int
    failed: int
    problem: str
    series: int
    firings: int
    firing_ms: int
    longest_ms: int
    flaps: int
    nearly: int
    no_data: int
    exceeded: int
    kept: tuple[Firing, ...]
    notifications: Notifications
    difference: Difference
