"""Rules and silences: what somebody asks for (commands), and what was decided (facts).

All are JSON, so an old shape can be upcast. Times are Unix milliseconds, spans are milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Severity = Literal["critical", "high", "medium", "low", "info"]
NoData = Literal["keep", "ok", "alert"]
_Span = Annotated[int, msgspec.Meta(ge=0, le=10 * 366 * 86_400_000)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule as one version of it stands. ``version`` counts from 1.

    ``condition``: PromQL; an alert is active for each series that it returns. ``record``: of a
    recording rule, the name of the series it makes; it has no alerts. ``notify``: receivers beside
    those that the routes choose. ``series_max``: active alerts of the rule; over it the rule itself
    is alerted of. ``interval_ms``: 0 for that of the settings.
    """

    id: str
    version: int
    name: str
    condition: str
    severity: Severity = "medium"
    description: str = ""
    enabled: bool = True
    for_ms: _Span = 0
    keep_firing_for_ms: _Span = 0
    cooldown_ms: _Span = 300_000
    no_data: NoData = "keep"
    clear_condition: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    notify: tuple[str, ...] = ()
    record: str = ""
    series_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    interval_ms: _Span = 0


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """A weekly maintenance window: on these ISO weekdays (1 is Monday) from ``at`` ("22:00", in
    ``timezone``, an IANA name) for ``minutes``."""

    weekdays: tuple[int, ...]
    at: str
    minutes: int
    timezone: str = "UTC"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts whose labels pass all ``matchers`` (each like ``service=~"api-.*"``) notify nobody
    from ``starts_ms`` to ``ends_ms``; with ``recurrence`` only in its windows between these."""

    id: str
    matchers: tuple[str, ...]
    starts_ms: int
    ends_ms: int
    comment: str = ""
    recurrence: Recurrence | None = None


# Commands: what somebody asks for. The envelope's actor says who.


class CreateAlert(msgspec.Struct, frozen=True):
    """``rule``: its version is made by whoever decides."""

    rule: Rule


class UpdateAlert(msgspec.Struct, frozen=True):
    """The rule as it is to be; ``rule.version`` is the version that was read, so that of two
    changes made at once the second is refused."""

    rule: Rule


class EnableAlert(msgspec.Struct, frozen=True):
    """The rule is evaluated from the next tick on."""

    alert_id: str


class DisableAlert(msgspec.Struct, frozen=True):
    """The rule is evaluated no more, and its alerts end."""

    alert_id: str


class DeleteAlert(msgspec.Struct, frozen=True):
    """The rule and its alerts end; its history stays."""

    alert_id: str


class AcknowledgeAlert(msgspec.Struct, frozen=True):
    """``fingerprint``: of one alert; "" for all active ones of the rule."""

    alert_id: str
    fingerprint: str = ""
    comment: str = ""


class CreateSilence(msgspec.Struct, frozen=True):
    """``silence``: its id is made by whoever asks."""

    silence: Silence


class ExpireSilence(msgspec.Struct, frozen=True):
    """The silence ends now."""

    silence_id: str


class TestAlert(msgspec.Struct, frozen=True):
    """A notification of the rule to its receivers that is marked as a test."""

    alert_id: str


# Facts: what was decided. Those of rules are also told to every partition of the points.


class RuleCreated(msgspec.Struct, frozen=True):
    """``rule``: its first version, or of a deleted one the next."""

    rule: Rule


class RuleUpdated(msgspec.Struct, frozen=True):
    """``change``: what was asked for."""

    rule: Rule
    change: Literal["updated", "enabled", "disabled"]


class RuleDeleted(msgspec.Struct, frozen=True):
    """``rule``: as it last stood, its version one higher."""

    rule: Rule


class AlertAcknowledged(msgspec.Struct, frozen=True):
    """As `AcknowledgeAlert` asked."""

    alert_id: str
    fingerprint: str
    comment: str


class SilenceCreated(msgspec.Struct, frozen=True):
    """As `CreateSilence` asked."""

    silence: Silence


class SilenceExpired(msgspec.Struct, frozen=True):
    """As `ExpireSilence` asked; one that ends by its time has no event."""

    silence_id: str


class TestRequested(msgspec.Struct, frozen=True):
    """``rule``: whose receivers get the test."""

    rule: Rule


class CommandRefused(msgspec.Struct, frozen=True):
    """``command``: its wire name; ``target``: the id that it addressed."""

    command: str
    target: str
    reason: str


Command = (
    CreateAlert
    | UpdateAlert
    | EnableAlert
    | DisableAlert
    | DeleteAlert
    | AcknowledgeAlert
    | CreateSilence
    | ExpireSilence
    | TestAlert
)
Fact = (
    RuleCreated
    | RuleUpdated
    | RuleDeleted
    | AlertAcknowledged
    | SilenceCreated
    | SilenceExpired
    | TestRequested
    | CommandRefused
)


WIRE_NAMES: dict[str, type[msgspec.Struct]] = {
    "commands.create_alert.v1": CreateAlert,
    "commands.update_alert.v1": UpdateAlert,
    "commands.enable_alert.v1": EnableAlert,
    "commands.disable_alert.v1": DisableAlert,
    "commands.delete_alert.v1": DeleteAlert,
    "commands.acknowledge_alert.v1": AcknowledgeAlert,
    "commands.create_silence.v1": CreateSilence,
    "commands.expire_silence.v1": ExpireSilence,
    "commands.test_alert.v1": TestAlert,
    "rules.created.v1": RuleCreated,
    "rules.updated.v1": RuleUpdated,
    "rules.deleted.v1": RuleDeleted,
    "silences.created.v1": SilenceCreated,
    "silences.expired.v1": SilenceExpired,
    "commands.refused.v1": CommandRefused,
    "alerts.acknowledged.v1": AlertAcknowledged,
    "alerts.test_requested.v1": TestRequested,
}
"""Forever."""
