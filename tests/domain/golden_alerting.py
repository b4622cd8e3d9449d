"""The events of alerting that the golden files hold; never edited, as those are never written
again."""

from __future__ import annotations

from streams.events.alerting import (
    Alert,
    AlertCleared,
    AlertFired,
    AlertNoData,
    AlertPending,
    AlertRecovering,
    AlertResolved,
    AlertUnknown,
    EvaluationStalled,
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    NotificationSuppressed,
    OutageSeen,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    SamplesRouted,
    TickRouted,
)
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.rules import (
    AcknowledgeAlert,
    AlertAcknowledged,
    CommandRefused,
    CreateAlert,
    CreateSilence,
    DeleteAlert,
    DisableAlert,
    EnableAlert,
    ExpireSilence,
    Recurrence,
    Rule,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    SilenceCreated,
    SilenceExpired,
    TestAlert,
    TestRequested,
    UpdateAlert,
)
from tests.domain.golden_events import AT_MS, SAMPLES

RULE = Rule(
    id="high-cpu",
    version=3,
    name="High CPU Usage",
    condition='avg by (host) (cpu_usage{straße="ö"}) > 80',
    severity="high",
    description="The processor is busy.",
    enabled=False,
    for_ms=60_000,
    keep_firing_for_ms=120_000,
    cooldown_ms=0,
    no_data="alert",
    clear_condition="cpu_usage < 70",
    labels={"team": "core"},
    annotations={"summary": "{{ $labels.host }} is at {{ $value | humanize }} %"},
    notify=("ops", "mail"),
    series_max=50,
    interval_ms=30_000,
)
PLAIN_RULE = Rule(id="r", version=1, name="load:avg", condition="avg(load)", record="load:avg")
SILENCE = Silence(
    id="s1",
    matchers=('service=~"api-.*"', 'team!="core"'),
    starts_ms=AT_MS,
    ends_ms=AT_MS + 86_400_000,
    comment="moving house",
    recurrence=Recurrence(weekdays=(1, 7), at="22:00", minutes=90, timezone="Europe/Berlin"),
)
ALERT = Alert(
    alert_id="high-cpu",
    version=3,
    fingerprint="0123456789abcdef",
    name="High CPU Usage",
    severity="high",
    labels={"alertname": "High CPU Usage", "host": "ä", "severity": "high"},
    active_ms=AT_MS - 60_000,
    value=91.25,
)


def _told(id_: str, data: EventData, source: str) -> Event:
    envelope = Envelope(
        id=id_,
        source=source,
        time_ms=AT_MS,
        actor="token",
        correlation_id="0123456789abcdef0123456789abcdef",
        causation_id="rules/0/6",
    )
    return Event(envelope, data)


def _asked(data: EventData) -> Event:
    return _told("0123456789abcdef0123456789abcdef", data, "mcp")


def _decided(data: EventData) -> Event:
    return _told("commands/0/7", data, "processor/commands")


def _evaluated(data: EventData) -> Event:
    return _told("evaluate/1/8", data, "processor/evaluate")


def _notified(data: EventData) -> Event:
    return _told("notify/0/9", data, "processor/notify")


ALERTING_EVENTS = {
    "commands.create_alert.v1": _asked(CreateAlert(RULE)),
    "commands.update_alert.v1": _asked(UpdateAlert(PLAIN_RULE)),
    "commands.enable_alert.v1": _asked(EnableAlert("high-cpu")),
    "commands.disable_alert.v1": _asked(DisableAlert("high-cpu")),
    "commands.delete_alert.v1": _asked(DeleteAlert("high-cpu")),
    "commands.acknowledge_alert.v1": _asked(
        AcknowledgeAlert("high-cpu", "0123456789abcdef", "I am at it")
    ),
    "commands.create_silence.v1": _asked(CreateSilence(SILENCE)),
    "commands.expire_silence.v1": _asked(ExpireSilence("s1")),
    "commands.test_alert.v1": _asked(TestAlert("high-cpu")),
    "rules.created.v1": _decided(RuleCreated(RULE)),
    "rules.updated.v1": _decided(RuleUpdated(RULE, "disabled")),
    "rules.deleted.v1": _decided(RuleDeleted(PLAIN_RULE)),
    "silences.created.v1": _decided(SilenceCreated(SILENCE)),
    "silences.expired.v1": _decided(SilenceExpired("s1")),
    "commands.refused.v1": _decided(
        CommandRefused("commands.update_alert.v1", "high-cpu", "version 2 was read, 3 is in force")
    ),
    "alerts.acknowledged.v1": _decided(AlertAcknowledged("high-cpu", "", "I am at it")),
    "alerts.test_requested.v1": _decided(TestRequested(RULE)),
    "rules.samples_routed.v1": _told(
        "route/3/10", SamplesRouted(SAMPLES, source=3, position=4_711), "processor/route"
    ),
    "rules.tick_routed.v1": _told(
        "route/3/11",
        TickRouted(
            source=3,
            at_ms=1_795_000_000_000,
            position=4_711,
            rules=(RULE, PLAIN_RULE),
            deleted=("gone",),
            outage_ms=30_000,
        ),
        "processor/route",
    ),
    "rules.evaluation_failed.v1": _evaluated(
        RuleEvaluationFailed("r", 1, "load:avg", AT_MS, "many-to-many matching not allowed")
    ),
    "rules.evaluation_recovered.v1": _evaluated(
        RuleEvaluationRecovered("r", 1, "load:avg", AT_MS + 5_000)
    ),
    "rules.evaluation_stalled.v1": _evaluated(
        EvaluationStalled(home=1, source=3, since_ms=AT_MS - 15_000, at_ms=AT_MS)
    ),
    "rules.outage_seen.v1": _evaluated(OutageSeen(home=1, from_ms=AT_MS - 30_000, to_ms=AT_MS)),
    "alerts.pending.v1": _evaluated(
        AlertPending(
            alert=ALERT, before="inactive", after="pending", at_ms=AT_MS, reason="91.25 > 80"
        )
    ),
    "alerts.fired.v1": _evaluated(
        AlertFired(
            alert=ALERT,
            before="pending",
            after="firing",
            at_ms=AT_MS,
            reason="91.25 > 80 for 1m",
            seen=(4_711, 0, 2**40),
            annotations={"summary": "ä is at 91.25 %"},
        )
    ),
    "alerts.recovering.v1": _evaluated(
        AlertRecovering(
            alert=ALERT, before="firing", after="recovering", at_ms=AT_MS, reason="79 is not > 80"
        )
    ),
    "alerts.resolved.v1": _evaluated(
        AlertResolved(
            alert=Alert(
                alert_id="high-cpu",
                version=3,
                fingerprint="0123456789abcdef",
                name="High CPU Usage",
                severity="high",
                labels={},
            ),
            before="recovering",
            after="inactive",
            at_ms=AT_MS,
            reason="kept for 2m",
        )
    ),
    "alerts.cleared.v1": _evaluated(
        AlertCleared(
            alert=ALERT, before="pending", after="inactive", at_ms=AT_MS, reason="79 is not > 80"
        )
    ),
    "alerts.no_data.v1": _evaluated(
        AlertNoData(
            alert=Alert(
                alert_id="high-cpu",
                version=3,
                fingerprint="0123456789abcdef",
                name="High CPU Usage",
                severity="high",
                labels={"host": "ä"},
                value="NaN",
            ),
            before="firing",
            after="no_data",
            at_ms=AT_MS,
            reason="no sample for 5m",
        )
    ),
    "alerts.unknown.v1": _evaluated(
        AlertUnknown(
            alert=ALERT, before="firing", after="unknown", at_ms=AT_MS, reason="nothing ticked"
        )
    ),
    "notifications.requested.v1": _notified(
        NotificationRequested(
            id="ops/0/9",
            receiver="ops",
            group={"alertname": "High CPU Usage"},
            status="firing",
            reason="digest",
            at_ms=AT_MS,
            alerts=(
                {
                    "alert_id": "high-cpu",
                    "fingerprint": "0123456789abcdef",
                    "labels": {"host": "ä"},
                    "value": 91.25,
                    "ends_ms": None,
                },
            ),
            left_out=12,
        )
    ),
    "notifications.attempted.v1": _told(
        "ops/0/9/2", NotificationAttempted("ops/0/9", "ops", 2, AT_MS, again=True), "delivery"
    ),
    "notifications.delivered.v1": _told(
        "ops/0/9/2/delivered",
        NotificationDelivered("ops/0/9", "ops", 2, AT_MS, "250 2.0.0 OK"),
        "delivery",
    ),
    "notifications.failed.v1": _told(
        "ops/0/9/1/failed",
        NotificationFailed("ops/0/9", "ops", 1, AT_MS, "time-out after 10 s", AT_MS + 30_000),
        "delivery",
    ),
    "notifications.suppressed.v1": _notified(
        NotificationSuppressed(
            "high-cpu", "0123456789abcdef", AT_MS, "silence", "s1", "moving house"
        )
    ),
}
