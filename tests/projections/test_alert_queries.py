"""What stands, what happened and why, and who was told, out of the file."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from projections.alert_answers import (
    AlertCounts,
    CommandAnswer,
)
from projections.alert_queries import AlertQueries
from projections.projector import Projector
from streams.events.alerting import (
    NotificationDelivered,
    NotificationFailed,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    State,
)
from streams.events.rules import (
    AlertAcknowledged,
    CommandRefused,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
    Silence,
    SilenceCreated,
    SilenceExpired,
)
from streams.events.topics import ALERTS
from streams.log.protocol import Position
from streams.log.sqlite_log import SqliteLog
from tests.projections.alert_making import alert, moved, requested, rule, tell, told
from tests.projections.making import BEGIN_MS, collect, text

T = BEGIN_MS
MINUTE = 60_000
CPU = rule("High CPU", severity="high", for_ms=MINUTE)
DISK = rule("Disk full")
A, B = alert(CPU, "a", active_ms=T), alert(CPU, "b", active_ms=T + MINUTE)


@pytest.fixture
def queries(projector: Projector) -> AlertQueries:
    return AlertQueries(projector)


async def test_rules_are_listed_with_who_made_them_and_how_they_fare(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    tell(log, RuleCreated(CPU), T, actor="ann")
    tell(log, RuleCreated(DISK), T + 1, actor="bob")
    newer = msgspec.structs.replace(CPU, version=2, condition="cpu_usage > 90")
    tell(log, RuleUpdated(newer, "updated"), T + 2, actor="bob")
    off = msgspec.structs.replace(DISK, version=2, enabled=False)
    tell(log, RuleUpdated(off, "disabled"), T + 3, actor="ann")
    course: list[tuple[int, State, State]] = [
        (T, "inactive", "pending"),
        (T + MINUTE, "pending", "no_data"),
        (T + 2 * MINUTE, "no_data", "firing"),
        (T + 3 * MINUTE, "firing", "unknown"),
        (T + 4 * MINUTE, "unknown", "firing"),
    ]
    for at_ms, before, after in course:
        tell(log, moved(A, before, after, at_ms))
    tell(log, moved(B, "inactive", "pending", T + MINUTE))
    tell(log, RuleEvaluationFailed(CPU.id, 2, CPU.name, T + 5 * MINUTE, "too many series"))
    await told(projector, log)
    found = queries.rules()
    assert [one.rule for one in found.rules] == [off, newer]
    disk, cpu = found.rules
    assert (disk.state, disk.created_by, disk.changed_by) == ("disabled", "bob", "ann")
    assert (disk.active_ms, disk.triggered_ms, disk.trigger_count, disk.alerts) == (
        None,
        None,
        0,
        {},
    )
    assert (cpu.created_ms, cpu.created_by, cpu.changed_ms, cpu.changed_by) == (
        T,
        "ann",
        T + 2,
        "bob",
    )
    assert (cpu.state, cpu.alerts, cpu.firing) == ("firing", {"firing": 1, "pending": 1}, 1)
    assert (cpu.active_ms, cpu.triggered_ms, cpu.trigger_count) == (T, T + 2 * MINUTE, 1)
    assert (cpu.problem, cpu.problem_ms) == ("too many series", T + 5 * MINUTE)
    assert queries.rule("High CPU") == queries.rule("high-cpu") == cpu
    assert queries.rule("no such") is None
    tell(log, RuleEvaluationRecovered(CPU.id, 2, CPU.name, T + 6 * MINUTE))
    await told(projector, log)
    cpu_now = queries.rule(CPU.id)
    assert cpu_now is not None
    assert (cpu_now.problem, cpu_now.problem_ms) == ("", None)


async def test_a_page_of_rules_says_how_many_there_are(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    assert queries.rules() == queries.rules(skip=5)
    for number in range(5):
        tell(log, RuleCreated(rule(f"rule {number}")))
    tell(log, RuleDeleted(rule("rule 3", 2)))
    await told(projector, log)
    page = queries.rules(limit=2, skip=1)
    assert ([one.rule.name for one in page.rules], page.total) == (["rule 1", "rule 2"], 4)
    assert queries.rules(skip=9).total == 4
    assert queries.rule("rule 3") is None


async def test_an_id_wins_over_another_rules_name(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    tell(log, RuleCreated(rule("a", id="x")))
    tell(log, RuleCreated(rule("x", id="y")))
    await told(projector, log)
    found = queries.rule("x")
    assert found is not None
    assert found.rule.name == "a"
    ledger = queries.history("x")
    assert ledger is not None
    assert ledger.name == "a"


async def test_alerts_are_those_that_are_not_over(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    tell(log, moved(B, "inactive", "pending", T))
    tell(log, moved(A, "inactive", "firing", T, annotations={"summary": "hot"}))
    other = alert(DISK, "a", value="NaN")
    tell(log, moved(other, "inactive", "firing", T))
    tell(log, moved(other, "firing", "recovering", T + MINUTE, reason="kept by keep_firing_for 5m"))
    tell(log, moved(B, "pending", "inactive", T + MINUTE))
    await told(projector, log)
    found = queries.alerts()
    assert [one.fingerprint for one in found.alerts] == [A.fingerprint, other.fingerprint]
    first, second = found.alerts
    assert (first.labels, first.annotations) == (A.labels, {"summary": "hot"})
    assert (first.value, first.active_ms, first.since_ms, first.fired_ms) == (91.5, T, T, T)
    assert (second.state, second.since_ms, second.fired_ms) == ("recovering", T + MINUTE, T)
    assert second.reason == "kept by keep_firing_for 5m"
    assert repr(queries.alerts(state="recovering").alerts) == repr((second,)), "NaN is not NaN"
    assert queries.alerts(alert_id=CPU.id).alerts == (first,)
    assert (queries.alerts(limit=1).alerts, queries.alerts(limit=1).total) == ((first,), 2)


async def test_an_acknowledgement_holds_for_its_episode(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    def by() -> list[str | None]:
        return [one.acknowledged_by for one in queries.alerts().alerts]

    tell(log, moved(A, "inactive", "firing", T))
    tell(log, moved(B, "inactive", "firing", T))
    tell(log, AlertAcknowledged(CPU.id, A.fingerprint, ""), T, actor="ann")
    tell(log, moved(A, "firing", "no_data", T + 1))
    await told(projector, log)
    assert by() == ["ann", None]
    tell(log, moved(A, "no_data", "firing", T + 2))
    tell(log, AlertAcknowledged(CPU.id, "", "all"), T, actor="bob")
    await told(projector, log)
    assert by() == ["bob", "bob"]
    tell(log, moved(B, "firing", "inactive", T + 3))
    tell(log, moved(B, "inactive", "firing", T + 4))
    await told(projector, log)
    assert by() == ["bob", None]


async def test_silences_know_their_maker_and_who_ended_them(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    def silence(id_: str, starts_ms: int, ends_ms: int) -> Silence:
        return Silence(id=id_, matchers=('a="b"',), starts_ms=starts_ms, ends_ms=ends_ms)

    now, later, ended = (
        silence("1", T, T + 10),
        silence("2", T + 10, T + 20),
        silence("3", T, T + 9),
    )
    for one in (now, later, ended):
        tell(log, SilenceCreated(one), T, actor="ann")
    tell(log, SilenceExpired("3"), T + 5, actor="bob")
    await told(projector, log)
    everything = queries.silences()
    assert [one.silence for one in everything.silences] == [ended, later, now]
    assert (everything.silences[0].expired_ms, everything.silences[0].expired_by) == (T + 5, "bob")
    assert (everything.silences[2].actor, everything.silences[2].expired_ms) == ("ann", None)

    def active(at_ms: int) -> list[str]:
        found = queries.silences(active_at_ms=at_ms).silences
        return sorted(one.silence.id for one in found)

    assert [active(at) for at in (T - 1, T, T + 5, T + 10, T + 20)] == [
        [],
        ["1", "3"],
        ["1"],
        ["2"],
        [],
    ]


async def test_a_command_is_answered_by_its_fact_or_its_refusal(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    assert queries.answer_to("c1") is None
    refusal = CommandRefused("commands.create_alert.v1", CPU.id, "the name is taken")
    tell(log, RuleCreated(CPU), T, cause="c1")
    tell(log, refusal, T + 1, cause="c2")
    tell(log, moved(A, "inactive", "firing", T), cause="c3")
    await told(projector, log)
    assert queries.answer_to("c1") == CommandAnswer(RuleCreated(CPU), Position(ALERTS, 0, 0), T)
    assert queries.answer_to("c2") == CommandAnswer(refusal, Position(ALERTS, 0, 1), T + 1)
    assert queries.answer_to("c3") is None


async def test_who_waits_for_an_answer_gets_it_when_it_comes(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    waiting = asyncio.create_task(queries.wait_for_answer("c1", 20.0))
    other = asyncio.create_task(queries.wait_for_answer("never", 0.2))
    for number in range(5):
        collect(log, [(text("cpu"), T + number, 1.0)])
        tell(log, CommandRefused("", "", ""), T, cause=f"other {number}")
        await told(projector, log)
    assert not waiting.done()
    tell(log, RuleCreated(CPU), T, cause="c1")
    answer = await waiting
    assert answer is not None
    assert answer.fact == RuleCreated(CPU)
    assert await other is None
    assert await queries.wait_for_answer("c1", 0.0) == answer


async def test_the_counts_are_of_alerts_that_fire_not_of_rules(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    empty = queries.counts()
    assert (empty.rules, empty.firing, set(empty.notifications.values())) == (0, 0, {0})
    tell(log, RuleCreated(CPU), T)
    tell(log, RuleCreated(msgspec.structs.replace(DISK, enabled=False)), T)
    tell(log, RuleEvaluationFailed(CPU.id, 1, CPU.name, T, "too much"))
    tell(log, RuleEvaluationFailed(DISK.id, 1, DISK.name, T, "too much"))
    tell(log, moved(A, "inactive", "firing", T))
    tell(log, moved(A, "firing", "no_data", T))
    tell(log, moved(B, "inactive", "pending", T))
    for id_ in ("1", "2", "3", "4"):
        tell(log, requested(id_, "ops", A))
    tell(log, NotificationDelivered("2", "ops", 1, T))
    tell(log, NotificationFailed("3", "ops", 1, T, "away", T + 9))
    tell(log, NotificationFailed("4", "ops", 1, T, "gone"))
    await told(projector, log)
    assert queries.counts() == AlertCounts(
        rules=2,
        rules_enabled=1,
        rules_failing=1,
        firing=1,
        alerts={"firing": 0, "recovering": 0, "no_data": 1, "unknown": 0, "pending": 1},
        notifications={"outstanding": 1, "retrying": 1, "delivered": 1, "failed": 1},
    )
