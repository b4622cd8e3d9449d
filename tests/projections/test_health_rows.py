"""What the projection holds of targets and their health."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from projections.health_queries import HealthQueries
from projections.health_rows import CHECKS_BLOCK, CHECKS_MAX
from projections.projector import Projector
from projections.verify import projection_hashes, verify
from streams.events.catalogue import EventData, Ticked
from streams.events.health import (
    HealthChanged,
    HealthChecked,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from streams.events.topics import HEALTH_RESULTS
from streams.log.protocol import Append, Entry
from streams.log.sqlite_log import SqliteLog
from tests.projections.alert_making import fact
from tests.projections.making import BEGIN_MS, append_message, open_log

API = Target(name="api", kind="http", endpoint="http://api.example.org/health")
CHECK = HealthChecked(
    target="api", endpoint=API.endpoint, at_ms=BEGIN_MS, cause="ok", status_code=200, latency_ms=1.5
)
TURN = HealthChanged(
    target="api", before="unknown", after="healthy", at_ms=BEGIN_MS, reason="it answers"
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = open_log(tmp_path, partitions=2)
    yield log
    log.close()


def tell(log: SqliteLog, *data: EventData, partition: int = 0) -> None:
    for each in data:
        message = fact(each, BEGIN_MS, actor="configuration")
        append_message(log, message, topic=HEALTH_RESULTS, partition=partition)


@pytest.fixture
def projector(log: SqliteLog, tmp_path: Path) -> Iterator[Projector]:
    projector = Projector(log, tmp_path / "projection.duckdb")
    yield projector
    projector.stop()


async def queries(log: SqliteLog, projector: Projector) -> HealthQueries:
    projector.start()
    ends = {place: end for place, end in log.ends().items() if place[0] == HEALTH_RESULTS}
    await projector.wait_for({place: end - 1 for place, end in ends.items() if end})
    return HealthQueries(projector)


async def test_a_target_has_its_state_and_its_last_check(
    log: SqliteLog, projector: Projector
) -> None:
    tell(log, TargetRegistered(API), CHECK, TURN, Ticked(BEGIN_MS))
    (status,) = (await queries(log, projector)).targets()
    assert (status.target, status.registered_by) == (API, "configuration")
    assert (status.state, status.since_ms, status.reason) == ("healthy", BEGIN_MS, "it answers")
    assert status.last == CHECK


async def test_a_target_that_was_never_checked_is_unknown(
    log: SqliteLog, projector: Projector
) -> None:
    tell(log, TargetRegistered(API))
    asked = await queries(log, projector)
    status = asked.target("api")
    assert status is not None
    assert (status.state, status.since_ms, status.last) == ("unknown", None, None)
    assert asked.target("other") is None


async def test_a_removed_target_has_a_history_only(log: SqliteLog, projector: Projector) -> None:
    tell(log, TargetRegistered(API), CHECK, TURN, TargetRemoved("api"))
    asked = await queries(log, projector)
    assert asked.targets() == ()
    history = asked.history("api")
    assert (history.changes, history.checks) == ((TURN,), (CHECK,))
    assert asked.checks() == 1


async def test_copies_for_other_partitions_say_nothing(
    log: SqliteLog, projector: Projector
) -> None:
    tell(log, TargetRegistered(API))
    copy = HealthChanged(
        target="api", before="unknown", after="unhealthy", at_ms=1, reason="", copy=True
    )
    tell(log, TargetRegistered(API, copy=True), copy, partition=1)
    tell(log, TargetRemoved("api", copy=True), partition=1)
    (status,) = (await queries(log, projector)).targets()
    assert status.state == "unknown"


async def test_the_tables_of_health_are_the_fold_of_the_log(
    log: SqliteLog, projector: Projector
) -> None:
    tell(log, TargetRegistered(API), CHECK, TURN, CHECK)
    await queries(log, projector)
    with projector.reading(60.0) as reader:
        stored = projection_hashes(reader)
    assert stored.tables["health_checks"].rows == 2
    assert stored.tables["health_last"].rows == 1
    assert verify(log, stored).equal


async def test_of_very_many_checks_the_newest_of_each_target_stay(
    log: SqliteLog, projector: Projector
) -> None:
    rare = msgspec.structs.replace(CHECK, target="rare")
    entries = []
    for number in range(2 * CHECKS_BLOCK + 500):
        data = rare if number % 1_000 == 0 else CHECK
        entries.append(Entry(HEALTH_RESULTS, 1, fact(data, BEGIN_MS)))
    for first in range(0, len(entries), 500):
        log.submit(Append(tuple(entries[first : first + 500]))).result(60)
    asked = await queries(log, projector)
    assert asked.checks() == len(entries)
    assert len(asked.history("rare", limit=CHECKS_MAX).checks) == 21
    with projector.reading(60.0) as reader:
        stored = projection_hashes(reader)
        [kept] = reader.rows("SELECT count(*) AS n FROM health_checks WHERE target = 'api'")
    assert kept["n"] == CHECKS_MAX + 499
    assert verify(log, stored).equal
