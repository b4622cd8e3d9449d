"""PromQL over a projector's file: answers, limits, and what there is to be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.projector import Projector
from projections.promql_queries import Declared, PromqlQueries
from projections.reading import Ending
from streams.errors import (
    QueryCancelled,
    QueryError,
    QuerySyntaxError,
    QueryTimeout,
    QueryTooLarge,
)
from streams.events.batch import STALE
from streams.log.sqlite_log import SqliteLog
from streams.promql.limits import Limits
from tests.projections.making import BEGIN_MS, Sample, collect, open_log, text
from tests.promql.timelines import labels_of

A, B = labels_of("up", job="a"), labels_of("up", job="b", zone="x")
LOAD = labels_of("load", job="a")
TEXTS = {A: text("up", job="a"), B: text("up", job="b", zone="x"), LOAD: text("load", job="a")}
ALWAYS = (-(2**62), 2**62)


class House:
    """A log, its projector and the queries."""

    def __init__(self, folder: Path) -> None:
        self.log: SqliteLog = open_log(folder)
        self.projector = Projector(self.log, folder / "metrics.duckdb")
        self.projector.start()
        self.queries = PromqlQueries(self.projector)

    async def collect(self, samples: list[Sample], *, kind: str = "gauge", unit: str = "") -> None:
        position = collect(self.log, samples, kind=kind, unit=unit)
        await self.projector.wait_for({(position.topic, position.partition): position.offset})

    def close(self) -> None:
        self.projector.stop()
        self.log.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


@pytest.fixture
async def filled(house: House) -> House:
    """``up`` every minute, of job b from the third minute on; ``load`` ends with a stale marker."""
    ups = [(TEXTS[A], after(minute), float(minute)) for minute in range(6)]
    ups += [(TEXTS[B], after(minute), 10.0 * minute) for minute in range(2, 6)]
    await house.collect(ups, kind="counter", unit="s")
    await house.collect([(TEXTS[LOAD], after(0), 1.0), (TEXTS[LOAD], after(1), STALE)])
    return house


def after(minutes: int) -> int:
    return BEGIN_MS + 60_000 * minutes


async def test_an_instant_query_sees_what_is_projected(filled: House) -> None:
    answer = filled.queries.instant("sum(up) + 1", after(5))
    assert (answer.kind, answer.labels, answer.value.tolist()) == ("vector", ((),), [56.0])
    await filled.collect([(TEXTS[A], after(6), 100.0)])
    assert filled.queries.instant("sum(up)", after(6)).value.tolist() == [150.0]


async def test_a_range_query_answers_at_each_step_and_a_marker_ends_a_series(filled: House) -> None:
    answer = filled.queries.range_('{__name__=~"up|load"}', after(0), after(3), 60_000)
    assert answer.labels == (LOAD, A, B)
    assert answer.offsets.tolist() == [0, 1, 5, 7]
    assert answer.value.tolist() == [1.0, 0.0, 1.0, 2.0, 3.0, 20.0, 30.0]


async def test_the_look_back_can_be_chosen(filled: House) -> None:
    at_ms = after(5) + 90_000
    assert len(filled.queries.instant("up", at_ms).labels) == 2
    assert not filled.queries.instant("up", at_ms, lookback_ms=90_000).labels
    for wrong in (0, -1, 10**15):
        with pytest.raises(QuerySyntaxError, match="look-back"):
            filled.queries.instant("up", at_ms, lookback_ms=wrong)


async def test_a_query_over_its_time_is_a_timeout(filled: House) -> None:
    for seconds in (0.0, -1.0):
        with pytest.raises(QueryTimeout, match="shorter range"):
            filled.queries.instant("up", after(5), timeout_s=seconds)
    hurried = PromqlQueries(filled.projector, timeout_s=0.0)
    with pytest.raises(QueryTimeout, match="took longer than 0 s"):
        hurried.instant("up", after(5), timeout_s=60.0)


async def test_a_computation_without_samples_ends_in_time_too(filled: House) -> None:
    costly = " + ".join(["sum(sum_over_time(vector(1)[2000000s:1s]))"] * 64)
    with pytest.raises(QueryTimeout, match=r"took longer than 0\.2 s"):
        filled.queries.instant(costly, after(5), timeout_s=0.2)
    assert filled.queries.instant("up", after(5)).labels


async def test_a_query_that_nobody_waits_for_ends_early(filled: House) -> None:
    ending = Ending()
    queries = PromqlQueries(filled.projector, timeout_s=600.0, ending=ending)
    assert queries.instant("up", after(5)).labels
    costly = " + ".join(["sum(sum_over_time(vector(1)[1000000s:1s]))"] * 64)
    running = asyncio.create_task(asyncio.to_thread(queries.instant, costly, after(5)))
    await asyncio.sleep(0)
    ending.end()
    with pytest.raises(QueryCancelled):
        await running
    with pytest.raises(QueryCancelled, match="no longer waits"):
        queries.labels([], *ALWAYS, limit=9)


async def test_a_query_of_too_many_samples_is_refused(filled: House) -> None:
    few = PromqlQueries(filled.projector, limits=Limits(samples_max=5))
    assert few.instant("count_over_time(up{job='b'}[1h])", after(5)).value.tolist() == [4.0]
    with pytest.raises(QueryTooLarge, match="more than 5 samples at once"):
        few.instant("count_over_time(up[1h])", after(5))
    some = PromqlQueries(filled.projector, limits=Limits(samples_max=9))
    assert len(some.instant("up", after(5)).labels) == 2
    with pytest.raises(QueryTooLarge, match="more than 9 samples at once"):
        some.instant("up + up", after(5))


async def test_series_are_those_with_samples_in_the_range(filled: House) -> None:
    ask = filled.queries.series
    assert ask([], *ALWAYS, limit=9).labels == (LOAD, A, B)
    assert ask(["up"], after(0), after(1), limit=9).labels == (A,)
    assert ask(["up", "load"], after(0), after(0), limit=9).labels == (LOAD, A)
    assert ask(['up{job=~"b|c"}', 'up{zone="x"}'], *ALWAYS, limit=9).labels == (B,)
    assert ask(["up"], after(0) + 1, after(1) - 1, limit=9).labels == ()
    assert ask(["up"], after(5) + 1, after(9), limit=9).labels == ()
    first = ask([], *ALWAYS, limit=2)
    assert (first.labels, first.truncated) == ((LOAD, A), True)
    assert not ask([], *ALWAYS, limit=3).truncated


async def test_labels_and_their_values_are_those_of_the_series_found(filled: House) -> None:
    ask = filled.queries
    assert ask.labels([], *ALWAYS, limit=9).values == ("__name__", "job", "zone")
    assert ask.labels(["up"], after(0), after(1), limit=9).values == ("__name__", "job")
    assert ask.label_values("job", [], *ALWAYS, limit=9).values == ("a", "b")
    assert ask.label_values("job", ["load"], *ALWAYS, limit=9).values == ("a",)
    assert ask.label_values("__name__", ['{job="a"}'], *ALWAYS, limit=9).values == ("load", "up")
    assert ask.label_values("nosuch", [], *ALWAYS, limit=9).values == ()
    one = ask.label_values("job", [], *ALWAYS, limit=1)
    assert (one.values, one.truncated) == (("a",), True)


@pytest.mark.parametrize(
    "selector", ["up offset 5m", "up @ 3", "up[5m]", "sum(up)", "1", "up{", "{}", "up @ end()"]
)
async def test_what_is_no_plain_selector_selects_no_series(house: House, selector: str) -> None:
    with pytest.raises(QuerySyntaxError):
        house.queries.series([selector], *ALWAYS, limit=9)


async def test_metadata_tells_types_and_units(filled: House) -> None:
    counter, gauge = Declared("counter", "s"), Declared("gauge", "")
    assert filled.queries.metadata(limit=9) == {"load": (gauge,), "up": (counter,)}
    assert filled.queries.metadata(metric="up", limit=9) == {"up": (counter,)}
    assert list(filled.queries.metadata(limit=1)) == ["load"]
    assert filled.queries.metadata(metric="nosuch", limit=9) == {}
    await filled.collect([(text("up", job="c"), after(6), 1.0)])
    assert filled.queries.metadata(metric="up", limit=9) == {"up": (counter, gauge)}


async def test_cardinality_counts_series_by_what_makes_them(filled: House) -> None:
    found = filled.queries.cardinality(limit=2)
    assert (found.series, found.label_pairs) == (3, 5)
    assert (found.first_ms, found.last_ms) == (after(0), after(5))
    assert list(found.series_by_metric.items()) == [("up", 2), ("load", 1)]
    assert list(found.values_by_label.items()) == [("__name__", 2), ("job", 2)]
    assert list(found.bytes_by_label.items()) == [("__name__", 8), ("job", 3)]
    assert list(found.series_by_pair.items()) == [(("__name__", "up"), 2), (("job", "a"), 2)]


async def test_an_empty_projection_answers_nothing(house: House) -> None:
    assert house.queries.instant("up", BEGIN_MS).labels == ()
    assert house.queries.instant("1 + 1", BEGIN_MS).value.tolist() == [2.0]
    assert house.queries.series([], *ALWAYS, limit=9).labels == ()
    assert house.queries.metadata(limit=9) == {}
    found = house.queries.cardinality(limit=9)
    assert (found.series, found.first_ms, found.last_ms) == (0, None, None)
    with pytest.raises(QueryError, match="parse error"):
        house.queries.instant("up{", BEGIN_MS)
