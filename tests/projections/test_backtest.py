"""What a rule would have done over samples of the file, against what it did."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from projections.backtest import EVALUATIONS_MAX, Backtests
from projections.backtest_report import Backtest
from projections.projector import Projector
from streams.domain.alert_routing import Inhibition, Route, Routing
from streams.errors import InputError, Overloaded, QueryError
from streams.events.alerting import Alert, AlertFired, AlertResolved
from streams.events.catalogue import MetricsCollected
from streams.events.rules import Rule, RuleCreated, Silence, SilenceCreated, SilenceExpired
from streams.events.topics import ALERTS, POINTS
from streams.log.sqlite_log import SqliteLog
from tests.projections.alert_making import tell
from tests.projections.making import BEGIN_MS, append
from tests.projections.promql_making import column_batch
from tests.promql.timelines import labels_of

T = BEGIN_MS
EVERY_MS, MINUTE = 10_000, 60_000
RULE = Rule(id="hot", version=1, name="Hot", condition="cpu > 80", severity="high", cooldown_ms=0)
ROUTING = Routing(route=Route(receiver="ops", group_by=("...",), group_wait_ms=0))

Values = Sequence[float | None]


@pytest.fixture
def projector(log: SqliteLog, path: Path) -> Iterator[Projector]:
    projector = Projector(log, path)
    projector.start()
    yield projector
    projector.stop()


def collect(log: SqliteLog, hosts: Mapping[str, Values]) -> None:
    """A value each ten seconds."""
    columns = {}
    for host, values in hosts.items():
        there = [(n, value) for n, value in enumerate(values) if value is not None]
        at_ms = np.array([T + n * EVERY_MS for n, _ in there], dtype=np.int64)
        columns[labels_of("cpu", host=host)] = (at_ms, np.array([value for _, value in there]))
    append(log, MetricsCollected(column_batch(columns)))


async def tried(
    log: SqliteLog,
    projector: Projector,
    rule: Rule = RULE,
    *,
    ticks: int = 60,
    routing: Routing = ROUTING,
) -> Backtest:
    await seen(log, projector)
    return Backtests(projector, routing, EVERY_MS).run(rule, T, T + ticks * EVERY_MS)


async def seen(log: SqliteLog, projector: Projector) -> None:
    ends = {(topic, 0): (await log.end_positions(topic))[0] for topic in (POINTS, ALERTS)}
    await projector.wait_for({place: end - 1 for place, end in ends.items() if end}, 10.0)


def spans(found: Backtest) -> list[tuple[str, int, int | None]]:
    """Host, and the tenths of a minute from when to when it fired."""
    return [
        (
            one.labels["host"],
            (one.fired_ms - T) // EVERY_MS,
            None if one.ended_ms is None else (one.ended_ms - T) // EVERY_MS,
        )
        for one in found.kept
    ]


async def test_firings_are_told_with_their_times_and_counted(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [70] * 5 + [90] * 10 + [70] * 5 + [90] * 5 + [70] * 40, "b": [95] * 65})
    found = await tried(log, projector)
    assert spans(found) == [("b", 0, None), ("a", 5, 15), ("a", 20, 25)]
    assert (found.evaluations, found.failed, found.step_ms) == (61, 0, EVERY_MS)
    assert (found.series, found.firings, found.flaps) == (2, 3, 1)
    assert (found.firing_ms, found.longest_ms) == ((60 + 10 + 5) * EVERY_MS, 60 * EVERY_MS)
    assert (found.until_ms, found.data_from_ms) == (T + 60 * EVERY_MS, T)
    assert found.kept[1].reason == "value 90: `cpu > 80` holds"


async def test_the_life_cycle_is_that_of_live_alerts(log: SqliteLog, projector: Projector) -> None:
    values = [70.0] * 5 + [90.0] * 2 + [70.0] * 3 + [90.0] * 10 + [70.0] * 10
    collect(log, {"a": values})
    rule = msgspec.structs.replace(RULE, for_ms=30_000, keep_firing_for_ms=20_000)
    found = await tried(log, projector, rule)
    assert spans(found) == [("a", 13, 22)]
    assert found.nearly == 1


async def test_missing_data_resolves_nothing_and_is_counted(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 5 + [None] * 60 + [90.0] * 5})
    found = await tried(log, projector, ticks=70)
    assert spans(found) == [("a", 0, None)]
    assert found.no_data == 1
    resolving = msgspec.structs.replace(RULE, no_data="ok")
    # the newest sample counts for five minutes
    assert spans(await tried(log, projector, resolving, ticks=70)) == [
        ("a", 0, 34),
        ("a", 65, None),
    ]


async def test_it_says_who_would_have_been_told_and_what_silences_kept_back(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 10 + [70.0] * 55, "b": [70.0] * 30 + [90.0] * 5 + [70.0] * 30})
    found = (await tried(log, projector, ticks=65)).notifications
    assert found.receivers == {"ops": 4}
    assert found.reasons == {"new": 2, "resolved": 2}
    quiet = Silence(id="s", matchers=('host="a"',), starts_ms=T - 1, ends_ms=T + 20 * MINUTE)
    tell(log, SilenceCreated(quiet), T - 1)
    silenced = (await tried(log, projector, ticks=65)).notifications
    assert (silenced.receivers, silenced.suppressed) == ({"ops": 2}, {"silence": 1})
    tell(log, SilenceExpired("s"), T + 5 * EVERY_MS)
    ended = (await tried(log, projector, ticks=65)).notifications
    assert (ended.receivers, ended.suppressed) == ({"ops": 4}, {"silence": 1})


async def test_nobody_is_told_where_no_route_leads_to_a_receiver(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 10})
    alone = Routing(inhibitions=(Inhibition(source=('host="a"',), target=('host="b"',)),))
    assert (await tried(log, projector, routing=alone)).notifications.receivers == {}
    named = msgspec.structs.replace(RULE, notify=("pager",))
    told = (await tried(log, projector, named, routing=alone)).notifications
    assert told.receivers == {"pager": 1}


async def test_the_difference_from_what_did_happen_is_told(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 10 + [70.0] * 50, "b": [70.0] * 30 + [90.0] * 5 + [70.0] * 30})
    was = await tried(log, projector)
    prints = {one.labels["host"]: one.fingerprint for one in was.kept}
    assert was.difference.happened == 0
    assert len(was.difference.only_now) == 2
    tell(log, RuleCreated(RULE), T)
    _happened(log, prints["a"], "a", 1, 12)
    _happened(log, "c", "c", 3, 4)
    _happened(log, prints["b"], "b", -90, -80)  # before the range
    found = (await tried(log, projector)).difference
    assert (found.happened, found.same) == (2, 1)
    assert [one.labels["host"] for one in found.only_now] == ["b"]
    assert [one.labels["host"] for one in found.only_then] == ["c"]


async def test_a_rule_that_cannot_be_evaluated_at_some_ticks_says_so(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 40, "b": [None] * 20 + [90.0] * 5})
    rule = msgspec.structs.replace(RULE, condition="cpu / on () cpu > 0.5")
    found = await tried(log, projector, rule)
    assert (found.evaluations, found.failed) == (61, 34)  # b is there for five minutes
    assert "many-to-many" in found.problem
    assert found.firings == 1


async def test_what_cannot_be_tried_out_is_refused(log: SqliteLog, projector: Projector) -> None:
    backtests = Backtests(projector, ROUTING, EVERY_MS)
    with pytest.raises(InputError, match="recording rule"):
        backtests.run(msgspec.structs.replace(RULE, record="a:b"), T, T + MINUTE)
    with pytest.raises(InputError, match="has no evaluation"):
        backtests.run(RULE, T + MINUTE, T)
    with pytest.raises(InputError, match=f"at most {EVALUATIONS_MAX}"):
        backtests.run(RULE, 0, T)
    with pytest.raises(QueryError):
        backtests.run(msgspec.structs.replace(RULE, condition="cpu >"), T, T + MINUTE)


async def test_it_tells_how_far_it_is_and_ends_where_nobody_waits_any_more(
    log: SqliteLog, projector: Projector
) -> None:
    collect(log, {"a": [90.0] * 10})
    await seen(log, projector)
    backtests = Backtests(projector, ROUTING, EVERY_MS)
    shares: list[float] = []
    day_ms = 86_400_000
    backtests.run(RULE, T, T + day_ms, progress=shares.append)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares == sorted(shares)
    assert len(shares) > 2
    shares.clear()
    found = backtests.run(
        RULE, T, T + day_ms, progress=shares.append, cancelled=lambda: len(shares) > 1
    )
    assert 0 < found.evaluations < day_ms // EVERY_MS
    assert T < found.until_ms < T + day_ms
    assert found.firings == 1
    assert backtests.run(RULE, T, T + day_ms, cancelled=lambda: True).evaluations == 0


async def test_more_than_two_at_once_are_refused(log: SqliteLog, projector: Projector) -> None:
    await seen(log, projector)
    backtests = Backtests(projector, ROUTING, EVERY_MS)
    inside, leave = threading.Semaphore(0), threading.Event()

    def wait(_share: float) -> None:
        inside.release()
        leave.wait(30)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(backtests.run, RULE, T, T + MINUTE, progress=wait) for _ in range(2)]
        assert all(inside.acquire(timeout=30) for _ in running)
        with pytest.raises(Overloaded):
            backtests.run(RULE, T, T + MINUTE)
        leave.set()
    assert [one.result().evaluations for one in running] == [7, 7]


def _happened(log: SqliteLog, fingerprint: str, host: str, begin: int, end: int) -> None:
    begin_ms, end_ms = T + begin * EVERY_MS, T + end * EVERY_MS
    alert = Alert(
        alert_id=RULE.id,
        version=1,
        fingerprint=fingerprint,
        name=RULE.name,
        severity="high",
        labels={"alertname": RULE.name, "host": host},
        active_ms=begin_ms,
    )
    fired = AlertFired(
        alert=alert, before="inactive", after="firing", at_ms=begin_ms, reason="it holds"
    )
    resolved = AlertResolved(
        alert=alert, before="firing", after="inactive", at_ms=end_ms, reason="it does not hold"
    )
    tell(log, fired, begin_ms)
    tell(log, resolved, end_ms)
