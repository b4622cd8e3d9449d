"""What came of a rule's transitions, counted; and compared with what did happen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from projections.backtest_report import (
    FIRINGS_KEPT_MAX,
    FLAP_MS,
    Difference,
    Firing,
)
from streams.domain.alert_states import Move
from streams.events.alerting import AlertCleared, AlertFired, AlertNoData, AlertResolved


class Tally:
    """Transitions in their order of time; memory grows with the series that fire, not with how
    often they do."""

    def __init__(self, name: str) -> None:
        """``name``: of the rule; alerts of another name are of its having too many series."""
        self._name = name
        self._open: dict[str, tuple[int, Firing]] = {}
        self._ended_ms: dict[str, int] = {}
        self._kept: list[Firing] = []
        self._full_ms: int | None = None
        self.firings = self.firing_ms = self.longest_ms = self.flaps = 0
        self.nearly = self.no_data = self.exceeded = 0

    @property
    def series(self) -> int:
        """Alerts that fired at all."""
        return len(self._ended_ms.keys() | self._open.keys())

    def take(self, move: Move) -> None:
        """Counts one transition."""
        if move.alert.name != self._name:
            self.exceeded += isinstance(move, AlertFired)
            return
        match move:
            case AlertFired():
                self._fired(move)
            case AlertResolved():
                self._ended(move.alert.fingerprint, move.at_ms)
            case AlertCleared(before="pending"):
                self.nearly += 1
            case AlertNoData():
                self.no_data += 1
            case _:
                pass

    def result(self, until_ms: int) -> tuple[tuple[Firing, ...], int]:
        """The firings that were kept, in their order, and up to when those are all; afterwards
        nothing is taken any more."""
        for _, firing in self._open.values():
            self._last(until_ms - firing.fired_ms)
        full_ms = until_ms if self._full_ms is None else self._full_ms
        return tuple(self._kept), full_ms

    def _fired(self, move: AlertFired) -> None:
        alert, at_ms = move.alert, move.at_ms
        if alert.fingerprint in self._open:
            return  # it fires again after a recovery or missing data: the same firing
        self.firings += 1
        ended_ms = self._ended_ms.get(alert.fingerprint)
        self.flaps += ended_ms is not None and at_ms - ended_ms < FLAP_MS
        firing = Firing(alert.fingerprint, alert.labels, at_ms, None, move.reason)
        place = len(self._kept)
        if place < FIRINGS_KEPT_MAX:
            self._kept.append(firing)
        elif self._full_ms is None:
            self._full_ms = at_ms - 1
        self._open[alert.fingerprint] = (place, firing)

    def _ended(self, fingerprint: str, at_ms: int) -> None:
        place, firing = self._open.pop(fingerprint)
        self._ended_ms[fingerprint] = at_ms
        self._last(at_ms - firing.fired_ms)
        if place < len(self._kept) and self._kept[place] is firing:
            self._kept[place] = replace(firing, ended_ms=at_ms)

    def _last(self, span_ms: int) -> None:
        self.firing_ms += span_ms
        self.longest_ms = max(self.longest_ms, span_ms)


def difference(would: Sequence[Firing], did: Sequence[Firing], until_ms: int) -> Difference:
    """Of the firings up to a time; both in the order of their beginning."""
    would = [firing for firing in would if firing.fired_ms <= until_ms]
    did = [firing for firing in did if firing.fired_ms <= until_ms]
    only_now = tuple(_without(would, _by_alert(did), until_ms))
    only_then = tuple(_without(did, _by_alert(would), until_ms))
    same = len(would) - len(only_now)
    return Difference(len(did), same, only_now, only_then, until_ms)


def _by_alert(firings: Sequence[Firing]) -> Mapping[str, list[Firing]]:
    found: dict[str, list[Firing]] = {}
    for firing in firings:
        found.setdefault(firing.fingerprint, []).append(firing)
    return found


def _without(
    firings: Sequence[Firing], others: Mapping[str, list[Firing]], until_ms: int
) -> list[Firing]:
    """Those that overlap with none of the others. Of one alert no two firings of one side do, so
    others that ended before are never looked at again."""
    passed: dict[str, int] = {}
    found = []
    for firing in firings:
        there = others.get(firing.fingerprint, [])
        place = passed.get(firing.fingerprint, 0)
        while place < len(there) and _end_ms(there[place], until_ms) < firing.fired_ms:
            place += 1
        passed[firing.fingerprint] = place
        if place == len(there) or there[place].fired_ms > _end_ms(firing, until_ms):
            found.append(firing)
    return found


def _end_ms(firing: Firing, until_ms: int) -> int:
    return until_ms if firing.ended_ms is None else firing.ended_ms
