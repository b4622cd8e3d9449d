"""The file that ``ALERT_RECEIVERS`` names: receivers, routes, inhibitions, mute times.

TOML, or JSON (a name that ends in ``.json``, or the text itself where it begins with ``{``)::

    alerts_max = 50

    [receivers.ops]
    kind = "email"
    url = "smtp://alerts:${SMTP_PASSWORD}@mail.example.org:587/?to=ops@example.org&from=al@example.org"

    [receivers.chat]
    kind = "webhook"
    url = "${CHAT_WEBHOOK}"

    [receivers.watchdog]
    kind = "heartbeat"
    url = "https://hc-ping.com/${PING_KEY}"
    every_s = 60

    [route]
    receiver = "ops"
    group_by = ["alertname"]
    group_wait = "30s"
    group_interval = "5m"
    repeat_interval = "4h"

    [[route.routes]]
    matchers = ['severity="critical"']
    receiver = "chat"
    escalate = {after = "15m", to = "ops"}
    mute = ["weekends"]

    [[inhibit]]
    source = ['severity="critical"']
    target = ['severity=~"low|medium"']
    equal = ["alertname"]

    [times.weekends]
    weekdays = [6, 7]
    at = "00:00"
    minutes = 1440
    timezone = "Europe/Berlin"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from streams.domain.alert_routing import ALERTS_MAX, Escalation, Inhibition, Route, Routing
from streams.domain.durations import parse_duration_ms
from streams.domain.silences import check_recurrence, parse_matcher
from streams.errors import ConfigError, InputError
from streams.events.rules import Recurrence
from streams.notifications.receivers import Receiver, ReceiverText, read_receiver

ROUTES_MAX = 1_000
RECEIVERS_MAX = 1_000
INHIBITIONS_MAX = 100
DEPTH_MAX = 16

_INTERVAL_MS_MIN = 1_000


@dataclass(frozen=True, slots=True)
class Configuration:
    """Without a file: no receivers, and a route that tells nobody."""

    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    routing: Routing = field(default_factory=Routing)


class _Escalate(msgspec.Struct, forbid_unknown_fields=True):
    after: str
    to: str


class _Route(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out is as its parent has it."""

    receiver: str | None = None
    matchers: tuple[str, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: str | None = None
    group_interval: str | None = None
    repeat_interval: str | None = None
    go_on: bool = msgspec.field(default=False, name="continue")
    mute: tuple[str, ...] | None = None
    escalate: _Escalate | None = None
    routes: tuple[_Route, ...] = ()


class _Inhibit(msgspec.Struct, forbid_unknown_fields=True):
    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...] = ()


class _File(msgspec.Struct, forbid_unknown_fields=True):
    receivers: dict[str, ReceiverText] = {}
    route: _Route = msgspec.field(default_factory=_Route)
    inhibit: tuple[_Inhibit, ...] = ()
    times: dict[str, Recurrence] = {}
    alerts_max: int = ALERTS_MAX


def load_configuration(source: str | None, environ: Mapping[str, str]) -> Configuration:
    """What ``ALERT_RECEIVERS`` says: a path, JSON, or nothing.

    ``environ``: where references to variables are looked up. `ConfigError` names the place in the
    file, what was got and what is valid; never a secret.
    """
    if not source:
        return Configuration()
    try:
        file = msgspec.convert(_plain(source), _File)
        return _checked(file, environ)
    except (msgspec.ValidationError, ConfigError) as problem:
        raise ConfigError(f"ALERT_RECEIVERS: {problem}") from None


def _plain(source: str) -> Any:
    try:
        if source.lstrip().startswith("{"):
            return json.loads(source)
        path = Path(source).expanduser()
        text = path.read_text()
        return json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # of JSON, TOML and UTF-8
        raise ConfigError(f"it is neither TOML nor JSON: {error}") from None


def _checked(file: _File, environ: Mapping[str, str]) -> Configuration:
    if len(file.receivers) > RECEIVERS_MAX or len(file.inhibit) > INHIBITIONS_MAX:
        raise ConfigError(
            f"{len(file.receivers)} receivers and {len(file.inhibit)} inhibitions; valid: up to "
            f"{RECEIVERS_MAX} and {INHIBITIONS_MAX}"
        )
    receivers = {
        name: read_receiver(name, text, environ, f"receivers.{name}")
        for name, text in file.receivers.items()
    }
    if not 1 <= file.alerts_max <= 1_000:
        raise ConfigError(f"alerts_max is {file.alerts_max}; valid: 1 to 1000")
    for name, recurrence in file.times.items():
        _valid(f"times.{name}", lambda each=recurrence: check_recurrence(each))
    tree = _Tree(receivers, file.times)
    if file.route.matchers or file.route.go_on:
        raise ConfigError("route has matchers or continue; valid: only for those below it")
    return Configuration(
        receivers,
        Routing(
            route=tree.route(file.route, Route(), "route"),
            inhibitions=tuple(
                _inhibition(each, f"inhibit[{i}]") for i, each in enumerate(file.inhibit)
            ),
            times=file.times,
            alerts_max=file.alerts_max,
        ),
    )


class _Tree:
    """Routes with what they have from their parents."""

    def __init__(self, receivers: Mapping[str, Receiver], times: Mapping[str, Recurrence]) -> None:
        self._receivers = receivers
        self._times = times
        self._count = 0

    def route(self, text: _Route, parent: Route, place: str, depth: int = 0) -> Route:
        self._count += 1
        if self._count > ROUTES_MAX or depth > DEPTH_MAX:
            raise ConfigError(
                f"{place} is one too many; valid: {ROUTES_MAX} routes, {DEPTH_MAX} deep"
            )
        _matchers(text.matchers, f"{place}.matchers")
        receiver = parent.receiver if text.receiver is None else text.receiver
        self._known(receiver, f"{place}.receiver")
        mute = parent.mute if text.mute is None else text.mute
        for name in mute:
            if name not in self._times:
                raise ConfigError(f"{place}.mute is {name!r}; {_one_of('times', self._times)}")
        wait_ms = _span(text.group_wait, parent.group_wait_ms, f"{place}.group_wait", 0)
        interval_ms = _span(
            text.group_interval, parent.group_interval_ms, f"{place}.group_interval"
        )
        repeat_ms = _span(
            text.repeat_interval, parent.repeat_interval_ms, f"{place}.repeat_interval"
        )
        own = Route(
            receiver=receiver,
            matchers=text.matchers,
            group_by=parent.group_by if text.group_by is None else text.group_by,
            group_wait_ms=wait_ms,
            group_interval_ms=interval_ms,
            repeat_interval_ms=repeat_ms,
            go_on=text.go_on,
            mute=mute,
            escalation=self._escalation(text, parent, f"{place}.escalate"),
        )
        routes = tuple(
            self.route(each, own, f"{place}.routes[{i}]", depth + 1)
            for i, each in enumerate(text.routes)
        )
        return msgspec.structs.replace(own, routes=routes)

    def _escalation(self, text: _Route, parent: Route, place: str) -> Escalation | None:
        if text.escalate is None:
            return parent.escalation
        if not text.escalate.to:
            raise ConfigError(f"{place}.to is empty; {_one_of('receivers', self._receivers)}")
        self._known(text.escalate.to, f"{place}.to")
        return Escalation(_span(text.escalate.after, 0, f"{place}.after"), text.escalate.to)

    def _known(self, receiver: str, place: str) -> None:
        found = self._receivers.get(receiver)
        if receiver and found is None:
            raise ConfigError(f"{place} is {receiver!r}; {_one_of('receivers', self._receivers)}")
        if found is not None and found.kind == "heartbeat":
            raise ConfigError(f"{place} is {receiver!r}, a heartbeat, which is told of no alerts")


def _inhibition(text: _Inhibit, place: str) -> Inhibition:
    for name, matchers in (("source", text.source), ("target", text.target)):
        if not matchers:
            raise ConfigError(f"{place}.{name} is empty; valid: at least one matcher")
        _matchers(matchers, f"{place}.{name}")
    return Inhibition(source=text.source, target=text.target, equal=text.equal)


def _matchers(matchers: Iterable[str], place: str) -> None:
    for matcher in matchers:
        _valid(place, lambda each=matcher: parse_matcher(each))


def _span(text: str | None, parent_ms: int, place: str, least_ms: int = _INTERVAL_MS_MIN) -> int:
    if text is None:
        return parent_ms
    try:
        span_ms = parse_duration_ms(text)
    except ValueError as problem:
        raise ConfigError(f"{place}: {problem}") from None
    if span_ms < least_ms:
        raise ConfigError(f"{place} is {text!r}; valid: 1s or more")
    return span_ms


def _valid(place: str, check: Any) -> None:
    try:
        check()
    except InputError as problem:
        raise ConfigError(f"{place}: {problem}") from None


def _one_of(what: str, known: Iterable[str]) -> str:
    names = ", ".join(sorted(known))
    return f"valid: one of {names}" if names else f"there are no {what}"
