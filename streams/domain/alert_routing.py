"""Who is told of an alert: the tree of routes by labels, and which alerts hold which others back.

Both are Alertmanager's, as its users know them
(https://prometheus.io/docs/alerting/latest/configuration/#route and ``#inhibit_rule``), with
escalation besides: what nobody acknowledges in time is told to somebody else, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from streams.domain.silences import all_match
from streams.events.rules import Recurrence

ALL_LABELS = "..."
"""In ``group_by``: each alert is a group of its own."""

NOTIFY_PATH = "notify/"
"""Begins the path of the routes that a rule's ``notify`` adds."""

ALERTS_MAX = 50
"""Of a notification, unless the configuration says less or more."""


class Escalation(msgspec.Struct, frozen=True):
    """Alerts that were told ``after_ms`` ago and are not acknowledged are told to ``to``."""

    after_ms: int
    to: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with alerts that pass its ``matchers``; children come first, as far as they
    match. ``receiver``: "" tells nobody. ``go_on``: its siblings after it are asked, too.
    ``mute``: names of times in which it tells nobody."""

    receiver: str = ""
    matchers: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ("alertname",)
    group_wait_ms: int = 30_000
    group_interval_ms: int = 300_000
    repeat_interval_ms: int = 4 * 3_600_000
    go_on: bool = False
    mute: tuple[str, ...] = ()
    escalation: Escalation | None = None
    routes: tuple[Route, ...] = ()


class Inhibition(msgspec.Struct, frozen=True, kw_only=True):
    """While an alert passes ``source``, those that pass ``target`` and have the same values of the
    ``equal`` labels are not told. One that passes both is not held back by another such."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...] = ()


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The whole. ``times``: named weekly windows. ``alerts_max``: a notification of more alerts
    lists so many and counts the others."""

    route: Route = Route()
    inhibitions: tuple[Inhibition, ...] = ()
    times: dict[str, Recurrence] = {}
    alerts_max: int = ALERTS_MAX


class Target(msgspec.Struct, frozen=True):
    """A group that an alert belongs to: the path of its route, which stays what it is while the
    route's matchers and receiver do, and the labels that its alerts have in common."""

    path: str
    labels: dict[str, str]

    @property
    def key(self) -> str:
        """Unique among groups."""
        return f"{self.path}:{msgspec.json.encode(sorted(self.labels.items())).decode()}"


class Router:
    """Where alerts go by a `Routing`."""

    def __init__(self, routing: Routing) -> None:
        """Its matchers are valid; `streams.notifications.receivers` sees to that."""
        self.routing = routing
        self._routes = dict(_paths(routing.route, ""))

    def targets(self, labels: Mapping[str, str], notify: Iterable[str] = ()) -> tuple[Target, ...]:
        """The groups of an alert: by the routes, then for each receiver of ``notify`` that these
        did not choose."""
        chosen = {
            path: route for path, route in _chosen(self.routing.route, "", labels) if route.receiver
        }
        receivers = {route.receiver for route in chosen.values()}
        for receiver in sorted(set(notify) - receivers):
            chosen[f"{NOTIFY_PATH}{receiver}"] = self._notifying(receiver)
        return tuple(Target(path, _common(route, labels)) for path, route in chosen.items())

    def receivers(self, labels: Mapping[str, str], notify: Iterable[str] = ()) -> tuple[str, ...]:
        """Those that would be told of such an alert, each once."""
        routes = (self.route(target.path) for target in self.targets(labels, notify))
        return tuple(dict.fromkeys(route.receiver for route in routes if route is not None))

    def route(self, path: str) -> Route | None:
        """The route of a path; None where the configuration has it no more."""
        if path.startswith(NOTIFY_PATH):
            return self._notifying(path.removeprefix(NOTIFY_PATH))
        return self._routes.get(path)

    def _notifying(self, receiver: str) -> Route:
        root = self.routing.route
        return msgspec.structs.replace(
            root, receiver=receiver, matchers=(), mute=(), escalation=None, routes=()
        )


Source = tuple[int, tuple[str, ...]]
"""What an alert holds back: the number of the inhibition and the values of its equal labels."""


def sources_of(routing: Routing, labels: Mapping[str, str]) -> dict[Source, bool]:
    """What a firing alert with these labels holds back; and whether it could be held back by the
    same inhibition itself."""
    return {
        (number, _values(inhibition, labels)): all_match(inhibition.target, labels)
        for number, inhibition in enumerate(routing.inhibitions)
        if all_match(inhibition.source, labels)
    }


def inhibitor(
    routing: Routing,
    labels: Mapping[str, str],
    sources: Mapping[Source, Mapping[str, bool]],
    fingerprint: str,
) -> str:
    """The alert that holds this one back, the first by fingerprint; "" for none.

    ``sources``: what holds back now, by `sources_of`, with the alerts that do.
    """
    for number, inhibition in enumerate(routing.inhibitions):
        found = sources.get((number, _values(inhibition, labels)))
        if not found or not all_match(inhibition.target, labels):
            continue
        is_source = all_match(inhibition.source, labels)
        by = [each for each, both in found.items() if each != fingerprint]
        by = [each for each in by if not (is_source and found[each])]
        if by:
            return min(by)
    return ""


def _chosen(route: Route, above: str, labels: Mapping[str, str]) -> Iterator[tuple[str, Route]]:
    """Nothing where the route does not match; else its children's choice, or itself."""
    if not all_match(route.matchers, labels):
        return
    path = _path(route, above)
    found = False
    for child in route.routes:
        for each in _chosen(child, path, labels):
            yield each
            found = True
        if all_match(child.matchers, labels) and not child.go_on:
            return
    if not found:
        yield path, route


def _paths(route: Route, above: str) -> Iterator[tuple[str, Route]]:
    path = _path(route, above)
    yield path, route
    for child in route.routes:
        yield from _paths(child, path)


def _path(route: Route, above: str) -> str:
    return f"{above}/{{{','.join(route.matchers)}}}{route.receiver}"


def _common(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    names = labels if ALL_LABELS in route.group_by else route.group_by
    return {name: labels[name] for name in sorted(names) if name in labels}


def _values(inhibition: Inhibition, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in inhibition.equal)
