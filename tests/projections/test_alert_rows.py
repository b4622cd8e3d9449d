"""Facts about alerts become rows, in the one transaction of everything else, however they come."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.projector import Projector
from projections.rebuild import rebuild_file
from projections.schema import ALERT_TABLES
from projections.verify import verify
from streams.errors import ProjectionError
from streams.events.alerting import (
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationSuppressed,
    RuleEvaluationFailed,
    RuleEvaluationRecovered,
    State,
)
from streams.events.catalogue import EventData
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
from streams.events.rules import TestRequested as AskedToTest  # pytest takes Test… for tests
from streams.events.topics import ALERTS, POINTS
from streams.log.protocol import Message
from streams.log.sqlite_log import SqliteLog
from streams.processors.outputs import PREVIOUS_HEADER
from tests.domain.golden_alerting import ALERTING_EVENTS
from tests.effort import examples
from tests.projections.alert_making import alert, fact, moved, requested, rule, tell
from tests.projections.making import (
    BEGIN_MS,
    append_message,
    collect,
    everything,
    hashes,
    open_log,
    text,
)


def rows(projection: DuckProjection, sql: str) -> list[tuple[object, ...]]:
    with closing(projection.cursor()) as cursor:
        return cursor.execute(sql).fetchall()  # type: ignore[no-any-return]


def counted(projection: DuckProjection) -> dict[str, int]:
    return {table: hashes(projection).tables[table].rows for table in ALERT_TABLES}


def test_every_fact_about_alerts_has_its_row(log: SqliteLog, projection: DuckProjection) -> None:
    for event in ALERTING_EVENTS.values():
        tell(log, event.data, actor="somebody")
    everything(log, projection)
    assert counted(projection) == {
        "rules": 1,
        "rule_changes": 3,
        "alerts": 1,
        "transitions": 7,
        "evaluations": 2,
        "interruptions": 2,
        "alert_actions": 2,
        "notifications": 1,
        "notification_attempts": 3,
        "suppressions": 1,
        "silences": 1,
        "command_answers": 8,
    }
    assert projection.poison() == 0
    assert verify(log, hashes(projection)).equal


def test_facts_that_are_told_to_the_points_are_not_counted_twice(
    log: SqliteLog, projection: DuckProjection
) -> None:
    append_message(log, fact(RuleCreated(rule()), BEGIN_MS), topic=POINTS)
    tell(log, RuleCreated(rule()))
    everything(log, projection)
    assert counted(projection)["rule_changes"] == 1


def test_rows_and_positions_are_one_transaction(log: SqliteLog, projection: DuckProjection) -> None:
    tell(log, RuleCreated(rule()))
    with closing(projection.cursor()) as cursor:
        cursor.execute("ALTER TABLE command_answers RENAME TO elsewhere")
    with pytest.raises(ProjectionError):
        everything(log, projection)
    assert rows(projection, "FROM rules") == []
    assert projection.positions()[ALERTS, 0] == 0
    with closing(projection.cursor()) as cursor:
        cursor.execute("ALTER TABLE elsewhere RENAME TO command_answers")
    everything(log, projection)
    assert rows(projection, "SELECT name FROM rules") == [("High CPU",)]
    assert verify(log, hashes(projection)).equal


def test_outputs_that_come_again_are_left_out_and_a_lost_one_is_loud(
    log: SqliteLog, projection: DuckProjection
) -> None:
    def output(home: int, number: int, previous: int | None) -> None:
        one = moved(alert(rule(), "a"), "firing", "firing", BEGIN_MS, reason=str(number))
        headers = {"ce_id": f"evaluate/{home}/{number}", "ce_source": "processor/evaluate"}
        if previous is not None:
            headers |= {PREVIOUS_HEADER: str(previous)}
        message = fact(one, BEGIN_MS)
        append_message(log, Message({**message.headers, **headers}, message.body), topic=ALERTS)

    for home, number, previous in ((0, 0, None), (1, 0, None), (0, 2, 0), (1, 0, None), (0, 2, 0)):
        output(home, number, previous)
    everything(log, projection)
    assert rows(projection, "SELECT reason FROM transitions") == [("0",), ("0",), ("2",)]
    assert projection.repeats() == 2
    output(1, 3, 1)
    with pytest.raises(ProjectionError, match=r"evaluate/1/3 comes after 1, but the newest .* 0"):
        everything(log, projection)


@pytest.mark.parametrize(
    "body",
    [
        b'{"alert_id":"\\ud800","fingerprint":"","comment":""}',
        b'{"alert_id":1,"fingerprint":"","comment":""}',
        b"{}",
    ],
)
def test_a_fact_that_no_column_can_hold_is_poison(
    log: SqliteLog, projection: DuckProjection, body: bytes
) -> None:
    message = fact(AlertAcknowledged("a", "", ""), BEGIN_MS)
    append_message(log, Message(message.headers, body), topic=ALERTS)
    tell(log, AlertAcknowledged("nul \0 is text", "", ""))
    everything(log, projection)
    assert projection.poison() == 1
    assert counted(projection)["alert_actions"] == counted(projection)["command_answers"] == 1


def test_numbers_and_values_that_no_column_can_hold_are_poison(
    log: SqliteLog, projection: DuckProjection
) -> None:
    tell(log, moved(alert(rule(), "a", value="much"), "inactive", "firing", BEGIN_MS))
    tell(log, moved(alert(rule(), "a"), "inactive", "firing", 2**63))
    tell(log, moved(alert(rule(), "a"), "inactive", "firing", BEGIN_MS, seen=(2**63,)))
    for value in ("NaN", "+Inf", "-Inf"):
        tell(log, moved(alert(rule(), "a", value=value), "firing", "firing", BEGIN_MS))
    everything(log, projection)
    assert projection.poison() == 3
    told = rows(projection, "SELECT value::VARCHAR FROM transitions")
    assert told == [("nan",), ("inf",), ("-inf",)]


STATES: list[State] = ["inactive", "pending", "firing", "recovering", "no_data", "unknown"]
names = st.sampled_from(["a", "b"])
times = st.integers(BEGIN_MS, BEGIN_MS + 5)
numbers = st.integers(1, 3)


def silence(id_: str) -> Silence:
    return Silence(id=id_, matchers=(), starts_ms=0, ends_ms=1)


transitions = st.builds(
    lambda n, b, a, t: moved(alert(rule(n), "h"), b, a, t),
    names,
    st.sampled_from(STATES),
    st.sampled_from(STATES),
    times,
)
facts: st.SearchStrategy[EventData] = st.one_of(
    transitions,
    st.builds(lambda n, v: RuleCreated(rule(n, v)), names, numbers),
    st.builds(lambda n, v: RuleUpdated(rule(n, v), "updated"), names, numbers),
    st.builds(lambda n, v: RuleDeleted(rule(n, v)), names, numbers),
    st.builds(lambda n: AskedToTest(rule(n)), names),
    st.builds(AlertAcknowledged, names, names, names),
    st.builds(CommandRefused, names, names, names),
    st.builds(lambda n: SilenceCreated(silence(n)), names),
    st.builds(SilenceExpired, names),
    st.builds(RuleEvaluationFailed, names, numbers, names, times, names),
    st.builds(RuleEvaluationRecovered, names, numbers, names, times),
    st.builds(lambda n: requested(n, "ops", alert(rule(n), "h")), names),
    st.builds(NotificationAttempted, names, names, numbers, times, st.booleans()),
    st.builds(NotificationDelivered, names, names, numbers, times, names),
    st.builds(NotificationFailed, names, names, numbers, times, names, st.none() | times),
    st.builds(NotificationSuppressed, names, names, times, st.just("silence"), names, names),
)


def cut(some: st.SearchStrategy[EventData]) -> st.SearchStrategy[list[tuple[EventData, bool, int]]]:
    """Each with whether a transaction ends after it, and when it was decided."""
    return st.lists(st.tuples(some, st.booleans(), times), max_size=25)


@settings(max_examples=examples(40), deadline=None)
@given(cut(facts) | cut(transitions))
def test_however_facts_are_cut_into_transactions_the_tables_are_the_same(
    told: list[tuple[EventData, bool, int]],
) -> None:
    """Also for facts in orders that no processor tells them in."""
    with tempfile.TemporaryDirectory() as name, closing(open_log(Path(name))) as log:
        for data, _, at_ms in told:
            tell(log, data, at_ms)
        records = log.read_now(ALERTS, 0, 0, records_max=100)
        with closing(DuckProjection.open(Path(name) / "cut.duckdb", log)) as projection:
            waiting = []
            for record, (_, cut, _) in zip(records, told, strict=True):
                waiting.append(record)
                if cut:
                    projection.apply(waiting)
                    waiting = []
            projection.apply(waiting)
            everything(log, projection)
            assert verify(log, hashes(projection)).differences == ()


def test_a_rebuilt_file_is_the_same_and_a_row_changed_by_hand_is_found(
    log: SqliteLog, path: Path
) -> None:
    one = alert(rule(), "a")
    tell(log, RuleCreated(rule()), actor="ann")
    tell(log, moved(one, "inactive", "firing", BEGIN_MS))
    collect(log, [(text("cpu_usage"), BEGIN_MS, 91.5)])
    with closing(DuckProjection.open(path, log)) as projection:
        everything(log, projection)
        before = hashes(projection)
    rebuild_file(path, log)
    with closing(DuckProjection.open(path, log)) as projection:
        assert hashes(projection) == before
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE rule_changes SET actor = 'bob'; DELETE FROM alerts")
    with closing(DuckProjection.open(path, log)) as projection:
        report = verify(log, hashes(projection))
    assert [line.split(":")[0] for line in report.differences] == ["rule_changes", "alerts"]


def test_a_file_of_the_version_without_alerts_is_set_aside_and_rebuilt(
    log: SqliteLog, path: Path
) -> None:
    tell(log, RuleCreated(rule()))
    collect(log, [(text("cpu_usage"), BEGIN_MS, 91.5)])
    with closing(DuckProjection.open(path, log)) as projection:
        everything(log, projection)
    with duckdb.connect(str(path)) as connection:
        drops = "; ".join(f"DROP TABLE {table}" for table in ALERT_TABLES)
        connection.execute(f"{drops}; UPDATE meta SET version = 2")
        connection.execute("DELETE FROM positions WHERE topic = $1", [ALERTS])
    projector = Projector(log, path)
    projector.start()
    projector.stop(20.0)
    assert list(path.parent.glob("metrics.duckdb.damaged-*"))
    with closing(DuckProjection.open(path, log)) as projection:
        assert rows(projection, "SELECT name FROM rules") == [("High CPU",)]
        assert verify(log, hashes(projection)).equal
