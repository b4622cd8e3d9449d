"""The ledger of a rule: who made it, why it fired, who was told and what became of it."""

from __future__ import annotations

import msgspec
import pytest

from mcp_api.tools.ledger import ledger_content
from mcp_api.tools.times import iso
from projections.alert_answers import (
    Acknowledged,
    Attempt,
    EvaluationTold,
    Interrupted,
    NotificationTold,
    RuleChange,
    Suppressed,
    TransitionTold,
)
from projections.alert_answers import Tested as AskedForTest  # pytest takes Test… for tests
from projections.alert_queries import AlertQueries
from projections.projector import Projector
from streams.events.alerting import (
    EvaluationStalled,
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationSuppressed,
    OutageSeen,
    RuleEvaluationFailed,
)
from streams.events.rules import (
    AlertAcknowledged,
    RuleCreated,
    RuleDeleted,
    RuleUpdated,
)
from streams.events.rules import TestRequested as AskedToTest
from streams.events.topics import POINTS
from streams.log.sqlite_log import SqliteLog
from streams.processors.routing import home_of
from tests.projections.alert_making import alert, moved, requested, rule, tell, told
from tests.projections.making import BEGIN_MS

T = BEGIN_MS
MINUTE = 60_000
CPU = rule("High CPU", severity="high", for_ms=MINUTE)
DISK = rule("Disk full")
A, B = alert(CPU, "a", active_ms=T), alert(CPU, "b", active_ms=T + MINUTE)


@pytest.fixture
def queries(projector: Projector) -> AlertQueries:
    return AlertQueries(projector)


NEWER = msgspec.structs.replace(CPU, version=2, name="CPU")
FIRED = T + MINUTE
MADE = RuleChange(0, T, "created", "ann", "command-1", CPU)
CHANGED = RuleChange(13, T + 3 * MINUTE, "updated", "bob", "command-2", NEWER)


def a_whole_story(log: SqliteLog) -> None:
    """Offsets 0 to 13 are of one rule, the last is of another."""
    tell(log, RuleCreated(CPU), T, actor="ann", cause="command-1")
    tell(log, moved(A, "inactive", "pending", T))
    fired = moved(A, "pending", "firing", FIRED, "value 91.5: it holds", seen=(7, 9))
    tell(log, fired, cause="route/0/12")
    tell(log, requested("n1", "ops", A, B, at_ms=FIRED, left_out=3))
    tell(log, NotificationAttempted("n1", "ops", 1, FIRED + 1))
    tell(log, NotificationFailed("n1", "ops", 1, FIRED + 2, "time-out", FIRED + 9))
    tell(log, NotificationAttempted("n1", "ops", 2, FIRED + 9))
    tell(log, NotificationAttempted("n1", "ops", 2, FIRED + 20, again=True))
    tell(log, NotificationDelivered("n1", "ops", 2, FIRED + 21, "202"))
    tell(log, NotificationSuppressed(CPU.id, B.fingerprint, FIRED, "silence", "s1", "night"))
    tell(log, RuleEvaluationFailed(CPU.id, 1, CPU.name, FIRED, "too much"))
    tell(log, AlertAcknowledged(CPU.id, "", "mine"), T + 2 * MINUTE, actor="bob")
    tell(log, AskedToTest(CPU), T + 2 * MINUTE, actor="bob")
    tell(log, RuleUpdated(NEWER, "updated"), T + 3 * MINUTE, actor="bob", cause="command-2")
    tell(log, RuleCreated(DISK), T)


async def test_the_ledger_says_who_made_it_why_it_fired_and_who_was_told(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    a_whole_story(log)
    await told(projector, log)
    whole = queries.history(CPU.id)
    assert whole is not None
    assert (whole.made, whole.in_force, whole.name) == (MADE, CHANGED, "CPU")
    assert queries.history("High CPU") == queries.history("CPU") == whole
    created, _pending, fired, sent, *rest = whole.entries
    assert created == MADE
    assert fired == TransitionTold(
        offset=2,
        at_ms=FIRED,
        fingerprint=A.fingerprint,
        version=1,
        before="pending",
        after="firing",
        labels=A.labels,
        value=91.5,
        reason="value 91.5: it holds",
        seen=(7, 9),
        annotations={},
        causation_id="route/0/12",
    )
    assert sent == NotificationTold(
        offset=3,
        at_ms=FIRED,
        id="n1",
        receiver="ops",
        status="firing",
        reason="new",
        alerts=5,
        of_rule=2,
        outcome="delivered",
        attempts=(
            Attempt(1, FIRED + 1, False, "failed", FIRED + 2, "time-out", FIRED + 9),
            Attempt(2, FIRED + 9, False, None, None, "", None),
            Attempt(2, FIRED + 20, True, "delivered", FIRED + 21, "202", None),
        ),
    )
    assert rest == [
        Suppressed(9, FIRED, B.fingerprint, "silence", "s1", "night"),
        EvaluationTold(10, FIRED, "failed", 1, "too much"),
        Acknowledged(11, T + 2 * MINUTE, "bob", "", "mine"),
        AskedForTest(12, T + 2 * MINUTE, "bob"),
        CHANGED,
    ]
    assert whole.total == len(whole.entries)


async def test_the_ledger_of_a_range_still_says_who_made_the_rule(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    tell(log, RuleCreated(CPU), T, actor="ann")
    for minute in range(1, 5):
        tell(log, moved(A, "inactive", "firing", T + minute * MINUTE))
        tell(log, moved(A, "firing", "inactive", T + minute * MINUTE + 1))
        tell(log, moved(B, "inactive", "firing", T + minute * MINUTE))
    newer = msgspec.structs.replace(CPU, version=2)
    tell(log, RuleUpdated(newer, "updated"), T + 4 * MINUTE, actor="bob")
    tell(log, RuleDeleted(msgspec.structs.replace(CPU, version=3)), T + 9 * MINUTE, actor="bob")
    await told(projector, log)
    some = queries.history(
        CPU.id, start_ms=T + MINUTE, end_ms=T + 3 * MINUTE, fingerprint=A.fingerprint
    )
    assert some is not None
    assert (some.made.actor, some.in_force) == ("ann", some.made)
    assert [one.at_ms - T for one in some.entries] == [60_000, 60_001, 120_000, 120_001, 180_000]
    newest = queries.history(CPU.name, limit=3)
    assert newest is not None
    assert [type(one).__name__ for one in newest.entries] == [
        "TransitionTold",
        "RuleChange",
        "RuleChange",
    ]
    assert newest.total == 15
    assert newest.in_force is not None
    assert newest.in_force.change == "deleted"
    before = queries.history(CPU.id, end_ms=T - 1)
    assert before is not None
    assert (before.in_force, before.entries, before.total) == (None, (), 0)
    assert queries.history("no such") is None


async def test_of_many_attempts_the_newest_are_told(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    tell(log, RuleCreated(CPU), T)
    tell(log, requested("n1", "ops", A, at_ms=T))
    for number in range(1, 31):
        tell(log, NotificationAttempted("n1", "ops", number, T + number))
        tell(log, NotificationFailed("n1", "ops", number, T + number, "away", None))
    await told(projector, log)
    ledger = queries.history(CPU.id)
    assert ledger is not None
    sent = ledger.entries[-1]
    assert isinstance(sent, NotificationTold)
    assert [one.number for one in sent.attempts] == list(range(11, 31))
    assert sent.outcome == "failed"


async def test_the_ledger_says_when_the_rule_was_not_evaluated(
    log: SqliteLog, projector: Projector, queries: AlertQueries
) -> None:
    home, partitions = home_of(CPU.id, log.partitions(POINTS)), log.partitions(POINTS)
    tell(log, OutageSeen(home, T - 9 * MINUTE, T - 1))  # before the rule was made
    tell(log, RuleCreated(CPU), T, actor="ann")
    tell(log, EvaluationStalled(home, 0, T + MINUTE, T + 2 * MINUTE))
    tell(log, OutageSeen(home, T + 2 * MINUTE, T + 5 * MINUTE))
    tell(log, OutageSeen((home + 1) % (partitions + 1), T, T + 5 * MINUTE))  # of other rules
    await told(projector, log)
    ledger = queries.history(CPU.id)
    assert ledger is not None
    assert list(ledger.entries[1:]) == [
        Interrupted(2, T + 2 * MINUTE, "stalled", T + MINUTE, 0),
        Interrupted(3, T + 5 * MINUTE, "outage", T + 2 * MINUTE, None),
    ]
    newest, before, _ = ledger_content(ledger)["history"]
    assert (newest["event"], before["event"]) == ("outage", "evaluation stalled")
    assert newest["what"] == f"nothing was evaluated since {iso(T + 2 * MINUTE)}, for 3m"
    assert before["what"].startswith("evaluation waits for partition 0 of the points, silent since")
