"""What `NotifyProcessor` knows, and how its table holds it: packed, sharded by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.domain.alert_groups import ActiveAlert, Group
from streams.domain.alert_routing import Routing, Source, sources_of
from streams.events.rules import Rule, Silence
from streams.processors.packed import Edit, PackedMap, stored

MARKS: Final = "marks"


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What notifications need of a rule. ``gone_ms``: when it was deleted; 0: it was not."""

    notify: tuple[str, ...] = ()
    cooldown_ms: int = 0
    enabled: bool = True
    gone_ms: int = 0

    @classmethod
    def of(cls, rule: Rule) -> Mark:
        """Of the rule as it stands."""
        return cls(rule.notify, rule.cooldown_ms, rule.enabled)


class Cooling(msgspec.Struct, frozen=True):
    """When the start of an alert was told last, and of which run of it."""

    told_ms: int
    fired_ms: int


class Outstanding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notification without a final outcome, by reference to the log.

    ``offset``: of its `NotificationRequested` in the alerts topic. ``group``: those of one receiver
    and group are sent in their order. ``attempt``: the last that was begun, 0 for none; ``open``:
    it has no outcome. ``retry_ms``: when it is to be tried again, after a failure.
    """

    id: str
    receiver: str
    group: str
    offset: int
    at_ms: int
    attempt: int = 0
    open: bool = False
    retry_ms: int = 0


class Times(msgspec.Struct, frozen=True, omit_defaults=True):
    """``now_ms``: of the newest record or tick. ``cooling_max``: entries until old ones go."""

    now_ms: int = 0
    tick_ms: int | None = None
    cooling_max: int = 1_000


@dataclass(frozen=True)
class NotifyState:
    """``sources`` and ``due_ms`` follow from the others: what holds back which alerts now, and when
    the first group is due."""

    times: Times = field(default_factory=Times)
    rules: PackedMap[Mark] = field(default_factory=PackedMap)
    silences: PackedMap[Silence] = field(default_factory=PackedMap)
    alerts: PackedMap[ActiveAlert] = field(default_factory=PackedMap)
    cooling: PackedMap[Cooling] = field(default_factory=PackedMap)
    groups: PackedMap[Group] = field(default_factory=PackedMap)
    sending: PackedMap[Outstanding] = field(default_factory=PackedMap)
    sources: Mapping[Source, Mapping[str, bool]] = field(default_factory=dict)
    due_ms: int | None = None


def outstanding(state: NotifyState) -> Sequence[Outstanding]:
    """What `streams.notifications.delivery.Delivery` has to send, the oldest first."""
    return sorted((each for _, each in state.sending.items()), key=lambda each: each.offset)


@dataclass
class Maps:
    """The maps of a state in change."""

    rules: Edit[Mark]
    silences: Edit[Silence]
    alerts: Edit[ActiveAlert]
    cooling: Edit[Cooling]
    groups: Edit[Group]
    sending: Edit[Outstanding]

    @classmethod
    def of(cls, state: NotifyState) -> Maps:
        """To be changed; the state stays as it is."""
        return cls(
            Edit(state.rules),
            Edit(state.silences),
            Edit(state.alerts),
            Edit(state.cooling),
            Edit(state.groups),
            Edit(state.sending),
        )

    def after(self, times: Times, sources: Mapping[Source, Mapping[str, bool]]) -> NotifyState:
        """The state as it stands."""
        groups = self.groups.after()
        return NotifyState(
            times,
            self.rules.after(),
            self.silences.after(),
            self.alerts.after(),
            self.cooling.after(),
            groups,
            self.sending.after(),
            sources,
            _due_ms(groups),
        )

    def changes(self, times: Times) -> dict[str, bytes | None]:
        """The table values to write."""
        return {
            MARKS: msgspec.json.encode(times),
            **self.rules.changes("rules"),
            **self.silences.changes("silences"),
            **self.alerts.changes("alerts"),
            **self.cooling.changes("cooling"),
            **self.groups.changes("groups"),
            **self.sending.changes("sending"),
        }


def restored(table: Mapping[str, bytes], routing: Routing) -> NotifyState:
    """The state that was written."""
    times = msgspec.json.decode(table[MARKS], type=Times) if MARKS in table else Times()
    alerts = stored(table, "alerts", ActiveAlert)
    groups = stored(table, "groups", Group)
    sources: dict[Source, dict[str, bool]] = {}
    for fingerprint, active in alerts.items():
        if active.ended_ms is None:
            for source, both in sources_of(routing, active.alert.labels).items():
                sources.setdefault(source, {})[fingerprint] = both
    return NotifyState(
        times,
        stored(table, "rules", Mark),
        stored(table, "silences", Silence),
        alerts,
        stored(table, "cooling", Cooling),
        groups,
        stored(table, "sending", Outstanding),
        sources,
        _due_ms(groups),
    )


def _due_ms(groups: PackedMap[Group]) -> int | None:
    dues = (group.due_ms for group in groups.values() if group.due_ms is not None)
    return min(dues, default=None)
