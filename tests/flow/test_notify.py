"""Who is told what and when, as timetables on a manual clock."""

from __future__ import annotations

import msgspec
import pytest

from streams.domain.alert_routing import Escalation, Inhibition, Route, Routing
from streams.events.alerting import (
    AlertNoData,
    AlertRecovering,
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
)
from streams.events.catalogue import EventData
from streams.events.rules import (
    AlertAcknowledged,
    Recurrence,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    SilenceCreated,
    SilenceExpired,
)
from streams.events.rules import TestRequested as AskedToTest
from streams.log.protocol import Record
from streams.processors.notify_state import outstanding
from tests.flow.notify_rig import (
    BEGIN_MS,
    Rig,
    alert,
    cleared,
    fired,
    resolved,
    rule,
    silence,
    timetable,
)

OPS = Routing(route=Route(receiver="ops"))
MINUTE_MS = 60_000


def test_alerts_of_a_group_are_told_together_after_the_group_wait() -> None:
    script = [("0s", fired("a")), ("10s", fired("b"))]
    assert timetable(OPS, script, until="5m") == ["30s ops new: a b"]


def test_news_of_a_group_waits_for_the_group_interval() -> None:
    script = [("0s", fired("a")), ("1m", fired("b")), ("2m", fired("c"))]
    assert timetable(OPS, script, until="10m") == ["30s ops new: a", "5m30s ops changed: b c a"]


def test_the_same_is_told_again_after_the_repeat_interval() -> None:
    assert timetable(OPS, [("0s", fired("a"))], until="9h") == [
        "30s ops new: a",
        "4h30s ops repeat: a",
        "8h30s ops repeat: a",
    ]


def test_the_end_is_told_to_whoever_was_told_the_start() -> None:
    script = [
        ("0s", fired("a")),
        ("0s", fired("b")),
        ("10m", resolved("a")),
        ("20m", resolved("b")),
    ]
    assert timetable(OPS, script, until="9h") == [
        "30s ops new: a b",
        "10m ops changed: b / a",
        "20m ops resolved: / b",
    ]


def test_a_notification_goes_on_with_the_trace_of_what_it_tells_also_after_a_restart() -> None:
    rig = Rig(OPS)
    rig.happens(fired("a"), "trace of the start")
    rig.settle()
    rig.restart()
    rig.wait("1m")
    rig.happens(resolved("a"), "trace of the end")
    rig.wait("10m")
    traces = [
        record.headers["traceparent"]
        for record in rig.topic
        if record.headers["ce_type"] == "notifications.requested.v1"
    ]
    assert traces == ["trace of the start", "trace of the end"]


def test_an_alert_that_ends_before_the_group_wait_is_over_is_told_to_nobody() -> None:
    assert timetable(OPS, [("0s", fired("a")), ("29s", resolved("a"))], until="9h") == []


def test_an_alert_that_fires_again_before_its_end_was_told_is_nothing_new() -> None:
    script = [("0s", fired("a")), ("1m", resolved("a")), ("2m", fired("a")), ("10m", resolved("a"))]
    assert timetable(OPS, script, until="1h") == ["30s ops new: a", "10m ops resolved: / a"]


def test_recovering_and_missing_data_are_no_end() -> None:
    keeps = AlertRecovering(
        alert=alert("a"), before="firing", after="recovering", at_ms=BEGIN_MS, reason="kept"
    )
    missing = AlertNoData(
        alert=alert("a"), before="recovering", after="no_data", at_ms=BEGIN_MS, reason="no data"
    )
    script = [("0s", fired("a")), ("1m", keeps), ("2m", missing), ("30m", cleared("a"))]
    assert timetable(OPS, script, until="1h") == ["30s ops new: a", "30m ops resolved: / a"]


def test_a_rule_may_name_receivers_beside_those_of_the_routes() -> None:
    script = [("0s", RuleCreated(rule(notify=("ops", "boss")))), ("1s", fired("a"))]
    assert sorted(timetable(OPS, script, until="5m")) == ["31s boss new: a", "31s ops new: a"]


def test_a_rule_that_names_other_receivers_moves_its_alerts() -> None:
    script: list[tuple[str, EventData | str]] = [
        ("0s", RuleCreated(rule(notify=("boss",)))),
        ("1s", fired("a")),
        ("10s", RuleUpdated(rule(notify=("chief",)), "updated")),
    ]
    assert timetable(Routing(), script, until="5m") == ["40s chief new: a"]


def test_without_receivers_nobody_is_told_and_nothing_ticks() -> None:
    rig = Rig(Routing())
    rig.happens(fired("a"))
    rig.wait("9h")
    assert len(rig.topic) == 1


def test_what_is_silenced_is_an_event_with_its_reason_once() -> None:
    script = [("0s", silence()), ("1s", fired("a")), ("1s", fired("b"))]
    assert timetable(OPS, script, until="5h") == [
        "31s ops new: b",
        "31s not a: silence s1",
        "1h ops changed: a b",
        "5h ops repeat: a b",
    ]


def test_a_silence_that_is_ended_early_lets_its_alerts_through() -> None:
    script = [("0s", silence()), ("1s", fired("a")), ("10m", SilenceExpired("s1"))]
    assert timetable(OPS, script, until="1h") == ["31s not a: silence s1", "10m ops new: a"]


def test_an_end_under_a_silence_is_told_after_it() -> None:
    script = [("0s", fired("a")), ("1m", silence()), ("10m", resolved("a"))]
    assert timetable(OPS, script, until="2h") == [
        "30s ops new: a",
        "10m not a: silence s1",
        "1h ops resolved: / a",
    ]


def test_a_maintenance_window_silences_every_week_in_local_time() -> None:
    nights = Recurrence(weekdays=(5,), at="02:00", minutes=60, timezone="Europe/Berlin")
    weekly = Silence(
        id="nights",
        matchers=("series=a",),
        starts_ms=BEGIN_MS,
        ends_ms=BEGIN_MS + 365 * 86_400_000,
        recurrence=nights,
    )  # 02:00 in Berlin is 01:00 UTC
    script = [("0s", SilenceCreated(weekly)), ("1h30m", fired("a"))]
    assert timetable(OPS, script, until="2h30m") == [
        "1h30m30s not a: silence nights",
        "2h ops new: a",
    ]


def test_a_mute_time_of_a_route_holds_its_alerts_back() -> None:
    times = {"early": Recurrence(weekdays=(5,), at="00:00", minutes=15)}
    routing = Routing(route=Route(receiver="ops", mute=("early",)), times=times)
    assert timetable(routing, [("0s", fired("a"))], until="1h") == [
        "30s not a: silence early",
        "15m ops new: a",
    ]


def test_an_inhibited_alert_is_told_when_what_inhibits_it_ends() -> None:
    inhibition = Inhibition(source=("kind=down",), target=("kind=slow",), equal=("host",))
    routing = msgspec.structs.replace(OPS, inhibitions=(inhibition,))
    script = [
        ("0s", fired("a", "slow", kind="slow", host="one")),
        ("0s", fired("b", "slow", kind="slow", host="two")),
        ("1s", fired("d", "down", kind="down", host="one")),
        ("20m", resolved("d", "down", kind="down", host="one")),
    ]
    assert timetable(routing, script, until="1h") == [
        "30s ops new: b",
        "30s not a: inhibition d",
        "31s ops new: d",
        "20m ops resolved: / d",
        "20m ops changed: a b",
    ]


def test_what_is_acknowledged_is_not_repeated_but_its_end_is_told() -> None:
    script = [
        ("0s", fired("a")),
        ("1h", AlertAcknowledged("disk", "a", "mine")),
        ("5h", resolved("a")),
    ]
    assert timetable(OPS, script, until="9h") == [
        "30s ops new: a",
        "4h30s not a: acknowledged",
        "5h ops resolved: / a",
    ]


def test_an_acknowledgement_ends_with_the_alert() -> None:
    script = [
        ("0s", fired("a")),
        ("1h", AlertAcknowledged("disk", "", "mine")),
        ("2h", resolved("a")),
        ("3h", fired("a")),
    ]
    assert timetable(OPS, script, until="4h")[-1] == "3h30s ops new: a"


def test_what_nobody_acknowledges_in_time_is_escalated_once() -> None:
    route = Route(receiver="ops", escalation=Escalation(15 * MINUTE_MS, "boss"))
    script = [("0s", fired("a")), ("0s", fired("b")), ("5m", AlertAcknowledged("disk", "b", ""))]
    told = timetable(Routing(route=route), [*script, ("1h", resolved("a"))], until="2h")
    assert told == [
        "30s ops new: a b",
        "15m30s boss escalation: a",
        "15m30s not b: acknowledged",
        "1h ops resolved: / a",
        "1h boss resolved: / a",
    ]


def test_an_alert_that_flaps_is_told_once_in_its_cooldown() -> None:
    script: list[tuple[str, EventData | str]] = [
        ("0s", RuleCreated(rule(cooldown_ms=30 * MINUTE_MS)))
    ]
    for minute in range(0, 20, 4):
        script += [(f"{minute}m1s", fired("a")), (f"{minute + 2}m1s", resolved("a"))]
    script += [("22m", fired("a"))]
    assert timetable(OPS, script, until="1h") == [
        "31s ops new: a",
        "6m1s ops resolved: / a",
        "8m31s not a: cooldown",
        "12m31s not a: cooldown",
        "16m31s not a: cooldown",
        "22m30s not a: cooldown",
        "30m31s ops new: a",
    ]


def test_an_alert_of_a_rule_that_is_disabled_ends_and_says_so() -> None:
    rig = Rig(OPS)
    for data in (RuleCreated(rule()), fired("a")):
        rig.happens(data)
    rig.wait("10m")
    for data in (RuleUpdated(rule(enabled=False), "disabled"), fired("b")):
        rig.happens(data)
    rig.wait("10m")
    assert rig.told() == ["30s ops new: a", "10m not b: disabled", "10m ops resolved: / a"]
    assert rig.requests()[-1].alerts[0]["reason"] == "the rule was disabled"


def test_an_alert_that_nobody_was_told_of_when_its_rule_goes_is_told_as_suppressed() -> None:
    script = [("0s", RuleCreated(rule())), ("1s", fired("a")), ("2s", RuleDeleted(rule()))]
    assert timetable(OPS, script, until="1h") == ["2s not a: disabled"]


def test_a_storm_is_a_digest() -> None:
    routing = msgspec.structs.replace(OPS, alerts_max=2)
    script = [("0s", fired(name)) for name in "abcde"]
    assert timetable(routing, script, until="1h") == ["30s ops digest: a b +3"]


def test_a_test_goes_at_once_to_all_receivers_of_the_rule() -> None:
    rig = Rig(OPS)
    rig.happens(AskedToTest(rule(notify=("boss",), labels={"team": "db"})))
    rig.settle()
    assert [(each.receiver, each.status) for each in rig.requests()] == [
        ("ops", "test"),
        ("boss", "test"),
    ]
    assert rig.requests()[0].alerts[0]["labels"]["team"] == "db"


def test_a_notification_holds_what_its_receiver_is_told() -> None:
    rig = Rig(OPS)
    rig.happens(fired("a"))
    rig.wait("1m")
    (request,) = rig.requests()
    assert request.group == {"alertname": "Disk"}
    assert request.alerts[0]["annotations"] == {"summary": "the disk is nearly full"}
    assert request.alerts[0]["reason"] == "91.5 is over 90"
    assert request.alerts[0]["value"] == 91.5


def test_a_restart_changes_nothing() -> None:
    script: list[tuple[str, EventData | str]] = [
        ("0s", silence(until_m=2)),
        ("1s", fired("a")),
        ("2s", fired("b")),
        ("1m", AlertAcknowledged("disk", "b", "")),
        ("10m", resolved("a")),
    ]
    restarted = [each for pair in script for each in (pair, (pair[0], "restart"))]
    assert timetable(OPS, restarted, until="9h") == timetable(OPS, script, until="9h")


def test_alerts_that_fire_go_by_a_new_configuration() -> None:
    rig = Rig(OPS)
    rig.happens(fired("a"))
    rig.wait("1m")
    rig.restart(Routing(route=Route(receiver="boss")))
    rig.wait("1m")
    rig.happens(resolved("a"))
    rig.wait("10m")
    assert rig.told() == ["30s ops new: a", "1m boss new: a", "6m boss resolved: / a"]


def test_what_is_outstanding_follows_from_the_log() -> None:
    rig = Rig(OPS)
    rig.happens(fired("a"))
    rig.wait("1m")
    (request,) = rig.requests()
    (waiting,) = outstanding(rig.tracked.state)
    assert (waiting.id, waiting.receiver, waiting.attempt) == (request.id, "ops", 0)
    assert rig.events()[waiting.offset] == request

    rig.happens(NotificationAttempted(request.id, "ops", 1, rig.now_ms))
    rig.settle()
    assert outstanding(rig.tracked.state)[0].open
    rig.happens(NotificationFailed(request.id, "ops", 1, rig.now_ms, "HTTP 503", rig.now_ms + 9))
    rig.settle()
    assert not outstanding(rig.tracked.state)[0].open
    assert outstanding(rig.tracked.state)[0].retry_ms == rig.now_ms + 9
    rig.happens(NotificationDelivered(request.id, "ops", 2, rig.now_ms))
    rig.settle()
    assert not outstanding(rig.tracked.state)


def test_a_poison_record_and_a_senseless_silence_harm_nobody() -> None:
    rig = Rig(OPS)
    rig.topic.append(Record(rig.processor.topic, 0, 0, rig.now_ms, {"ce_type": "x"}, b"?"))
    rig.happens(silence(matcher="series=~'('"))
    rig.happens(fired("a"))
    rig.wait("1m")
    assert rig.told() == ["30s ops new: a"]


@pytest.mark.parametrize("restart", [False, True])
def test_ten_thousand_alerts_at_once_are_one_digest(restart: bool) -> None:
    rig = Rig(OPS, records_max=1_000)
    for number in range(10_000):
        rig.happens(fired(f"{number:05d}"))
    rig.wait("10s")
    if restart:
        rig.restart()
    rig.wait("1m")
    (request,) = rig.requests()
    assert (len(request.alerts), request.left_out) == (50, 9_950)
