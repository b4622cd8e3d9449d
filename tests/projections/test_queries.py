"""The answers of `Queries` against plain Python over the same samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.projector import Projector
from projections.queries import EACH_SERIES, FUNCTIONS, Function, Group, Matcher, Queries, Selection
from streams.errors import InputError, QueryTooExpensive
from streams.events.batch import STALE
from streams.log.sqlite_log import SqliteLog
from tests.effort import examples
from tests.projections.making import BEGIN_MS, Sample, collect, open_log, text

STEP_MS = 10_000
HOSTS = {
    "a": text("cpu", host="a", zone="x"),
    "b": text("cpu", host="b", zone="x"),
    "c": text("cpu", host="c"),
}
VALUES = st.one_of(
    st.integers(-100, 100).map(float), st.sampled_from([math.nan, math.inf, -math.inf, STALE])
)
SAMPLES = st.lists(
    st.tuples(st.sampled_from(sorted(HOSTS)), st.integers(-5, 25), VALUES),
    max_size=40,
    unique_by=lambda sample: sample[:2],
)


class House:
    """A log, its projector and the queries."""

    def __init__(self, folder: Path) -> None:
        self.log: SqliteLog = open_log(folder)
        self.projector = Projector(self.log, folder / "metrics.duckdb")
        self.projector.start()
        self.queries = Queries(self.projector)

    async def collect(self, samples: list[Sample]) -> None:
        position = collect(self.log, samples)
        await self.projector.wait_for({(position.topic, position.partition): position.offset})

    def close(self) -> None:
        self.projector.stop()
        self.log.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def selection(*matchers: Matcher, end: int = 1_000, metric: str | None = "cpu") -> Selection:
    return Selection(metric, matchers, BEGIN_MS, BEGIN_MS + end * 1_000)


def is_value(value: float) -> bool:
    return math.copysign(1, value) > 0 or not math.isnan(value)


def expected(
    function: Function, series: dict[str, list[tuple[int, float]]], seconds: float
) -> float:
    """``series``: samples by text, in order of time."""
    values = [value for rows in series.values() for _, value in rows]
    numbers = [value for value in values if not math.isnan(value)]
    match function:
        case "avg":
            return sum(values) / len(values)
        case "sum":
            return sum(values)
        case "count":
            return float(len(values))
        case "min":
            return min(numbers, default=math.nan)
        case "max":
            return max(numbers, default=math.nan)
        case "last":
            return max((t, key, v) for key, rows in series.items() for t, v in rows)[2]
        case "stddev":
            finite = all(map(math.isfinite, values))
            return statistics.pstdev(values) if finite else math.nan
        case "quantile":
            ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
            place = 0.5 * (len(ordered) - 1)
            low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
            return low if low == high else low + (high - low) * (place % 1)
        case "increase" | "rate":
            total = 0.0
            for rows in series.values():
                for (_, before), (_, after) in pairwise(rows):
                    total += after if after < before else after - before
            return total / seconds if function == "rate" else total


def close(left: float, right: float) -> bool:
    return (
        left == right
        or (math.isnan(left) and math.isnan(right))
        or math.isclose(left, right, abs_tol=1e-9)
    )


@settings(max_examples=examples(25), deadline=None)
@given(SAMPLES)
async def test_every_function_agrees_with_plain_python(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[str, int, float]]
) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    made = [(HOSTS[host], BEGIN_MS + second * 1_000, value) for host, second, value in samples]
    if made:
        await house.collect(made)
    asked = selection(end=20)
    series: dict[str, list[tuple[int, float]]] = {}
    for key, at_ms, value in sorted(made, key=lambda sample: sample[:2]):
        stale = repr(value) == "nan" and value is STALE
        if asked.start_ms <= at_ms <= asked.end_ms and not stale:
            series.setdefault(key, []).append((at_ms, value))
    for function in FUNCTIONS:
        quantile = 0.5 if function == "quantile" else None
        answer = house.queries.aggregate(
            asked, function=function, quantile=quantile, step_ms=STEP_MS
        )
        assert answer.groups_total == bool(series)
        for group in answer.groups:
            found, wanted = group.value, expected(function, series, 20.0)
            mixed = function == "quantile" and not math.isfinite(wanted)
            assert close(found, wanted) or mixed, function
            check_summary(group, series)
            check_steps(group, function, series)
    house.close()


def check_summary(group: Group, series: dict[str, list[tuple[int, float]]]) -> None:
    rows = [(t, key, v) for key, some in series.items() for t, v in some]
    assert (group.count, group.series) == (len(rows), len(series))
    assert (group.first_ms, group.last_ms) == (min(rows)[0], max(rows)[0])
    assert close(group.avg, expected("avg", series, 1.0))
    assert close(group.min, expected("min", series, 1.0))
    assert close(group.max, expected("max", series, 1.0))
    assert close(group.last, expected("last", series, 1.0))
    assert close(group.first, min(rows, key=lambda row: row[:2])[2])


def check_steps(
    group: Group, function: Function, series: dict[str, list[tuple[int, float]]]
) -> None:
    starts = sorted({t // STEP_MS * STEP_MS for rows in series.values() for t, _ in rows})
    assert [t for t, _ in group.points] == starts
    if function in ("increase", "rate", "quantile"):
        return
    for start, value in group.points:
        inside = {
            key: [row for row in rows if start <= row[0] < start + STEP_MS]
            for key, rows in series.items()
        }
        inside = {key: rows for key, rows in inside.items() if rows}
        assert close(value, expected(function, inside, 10.0)), function


async def test_growth_is_counted_in_the_step_of_the_later_sample(house: House) -> None:
    points = [(0, 5.0), (9, 7.0), (11, 10.0), (15, 2.0), (31, 3.0)]
    await house.collect([(HOSTS["a"], BEGIN_MS + s * 1_000, v) for s, v in points])
    asked = selection(end=40)
    answer = house.queries.aggregate(asked, function="increase", step_ms=STEP_MS)
    assert answer.groups[0].value == 2 + 3 + 2 + 1
    assert [value for _, value in answer.groups[0].points] == [2.0, 5.0, 1.0]
    assert house.queries.aggregate(asked, function="increase").groups[0].value == 8
    rate = house.queries.aggregate(asked, function="rate", step_ms=STEP_MS).groups[0]
    assert rate.value == pytest.approx(8 / 40)
    assert [value for _, value in rate.points] == pytest.approx([0.2, 0.5, 0.1])


async def test_groups_come_in_order_of_their_labels_and_a_missing_label_is_empty(
    house: House,
) -> None:
    await house.collect([(series, BEGIN_MS, float(i)) for i, series in enumerate(HOSTS.values())])
    asked = selection()
    by_zone = house.queries.aggregate(asked, function="sum", group_by=("zone",))
    assert [(g.labels, g.value) for g in by_zone.groups] == [
        ({"zone": ""}, 2.0),
        ({"zone": "x"}, 1.0),
    ]
    each = house.queries.aggregate(asked, function="sum", group_by=EACH_SERIES)
    assert [dict(g.labels) for g in each.groups] == [
        {"host": "a", "zone": "x"},
        {"host": "b", "zone": "x"},
        {"host": "c"},
    ]
    both = house.queries.aggregate(
        selection(Matcher("zone", "=", "x")), function="max", group_by=None
    )
    assert [dict(g.labels) for g in both.groups] == [{"zone": "x"}]
    named = house.queries.aggregate(
        selection(metric=None), function="count", group_by=("__name__",)
    )
    assert [dict(g.labels) for g in named.groups] == [{"__name__": "cpu"}]


async def test_what_is_over_the_limits_is_cut_or_refused(house: House) -> None:
    samples = [(s, BEGIN_MS + t * 1_000, 1.0) for s in HOSTS.values() for t in range(30)]
    await house.collect(samples)
    cut = house.queries.aggregate(
        selection(), function="avg", group_by=EACH_SERIES, groups_max=2, step_ms=STEP_MS
    )
    assert (len(cut.groups), cut.groups_total, cut.truncated) == (2, 3, True)
    with pytest.raises(QueryTooExpensive, match="larger step"):
        house.queries.aggregate(selection(), function="avg", step_ms=1_000, points_max=10)
    with pytest.raises(InputError, match="between 0 and 1"):
        house.queries.aggregate(selection(), function="quantile", quantile=95)
    with pytest.raises(InputError, match="valid are avg"):
        house.queries.aggregate(selection(), function="median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="above 0"):
        house.queries.aggregate(selection(), function="avg", step_ms=0)


async def test_a_query_over_its_time_says_how_to_ask_for_less(house: House) -> None:
    await house.collect([(HOSTS["a"], BEGIN_MS, 1.0)])
    with pytest.raises(QueryTooExpensive, match="shorter range"):
        Queries(house.projector, timeout_s=0.0).aggregate(selection(), function="avg")
    with house.projector.reading(0.2) as reader, pytest.raises(Exception, match=r"(?i)interrupt"):
        reader.rows(
            "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range < b.range"
        )


async def test_an_unknown_metric_has_no_groups(house: House) -> None:
    answer = house.queries.aggregate(selection(metric="nothing"), function="avg")
    assert (answer.groups, answer.groups_total, answer.truncated) == ((), 0, False)
