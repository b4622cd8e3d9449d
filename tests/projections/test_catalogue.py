"""Discovery, totals and exports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from projections.projector import Projector
from projections.queries import LabelValues, Matcher, MetricInfo, Queries, Selection, Totals
from projections.source import TOPICS
from streams.errors import InputError
from streams.events.batch import STALE
from streams.events.topics import POINTS, WINDOWS
from streams.log.sqlite_log import SqliteLog
from tests.projections.making import BEGIN_MS, close_windows, collect, text, tick

ALWAYS = Selection(None, (), 0, 2 * BEGIN_MS)


@pytest.fixture
def projector(log: SqliteLog, path: Path) -> Iterator[Projector]:
    collect(
        log,
        [
            (text("cpu", host="b", zone="x"), BEGIN_MS, 1.0),
            (text("cpu", host="a"), BEGIN_MS + 5, 2.0),
            (text("cpu", host="a"), BEGIN_MS + 5, 3.0),
            (text("cpu", host="a"), BEGIN_MS + 9, STALE),
        ],
        unit="percent",
    )
    collect(log, [(text("memory used%"), BEGIN_MS - 7, math.inf)], kind="counter", unit="By")
    tick(log, BEGIN_MS + 120_000)
    close_windows(log)
    projector = Projector(log, path)
    projector.start()
    yield projector
    projector.stop()


@pytest.fixture
async def queries(projector: Projector, log: SqliteLog) -> Queries:
    await projector.wait_for({(POINTS, 0): 2, (WINDOWS, 0): log.ends()[WINDOWS, 0] - 1})
    return Queries(projector)


async def test_metrics_are_listed_by_name_and_cut_at_the_limit(queries: Queries) -> None:
    cpu = MetricInfo("cpu", "gauge", "percent", 2, BEGIN_MS + 9, ("host", "zone"))
    memory = MetricInfo("memory used%", "counter", "By", 1, BEGIN_MS - 7, ())
    listed = queries.metrics()
    assert (listed.metrics, listed.total) == ((cpu, memory), 2)
    assert queries.metrics(prefix="mem").metrics == (memory,)
    assert queries.metrics(contains="%").metrics == (memory,), "text, not a pattern"
    assert queries.metrics(contains="_").metrics == ()
    cut = queries.metrics(limit=1)
    assert (cut.metrics, cut.total) == ((cpu,), 2)


async def test_tag_values_are_counted_by_series(queries: Queries) -> None:
    assert queries.tag_values("cpu") == {
        "host": LabelValues(("a", "b"), (1, 1), 2),
        "zone": LabelValues(("x",), (1,), 1),
    }
    assert queries.tag_values(None, limit=1) == {"host": LabelValues(("a",), (1,), 2)}
    assert queries.tag_values("nothing") == {}


async def test_a_metric_is_described_with_its_values_and_times(queries: Queries) -> None:
    described = queries.describe("cpu")
    assert described is not None
    assert described.info.series == 2
    assert described.labels["host"].values == ("a", "b")
    assert (described.first_ms, described.last_ms) == (BEGIN_MS, BEGIN_MS + 5)
    assert described.points == 2, "a staleness marker is no sample"
    assert queries.describe("nothing") is None


async def test_the_nearest_names_come_first(queries: Queries) -> None:
    assert queries.nearest_names("cpu_usage")[0] == "cpu"
    assert queries.nearest_names("Memory")[0] == "memory used%"
    assert len(queries.nearest_names("x'; DROP TABLE series; --", n=1)) == 1


async def test_the_time_range_is_that_of_the_selected_series(queries: Queries) -> None:
    selected = Selection("cpu", (Matcher("host", "=", "b"),), 0, 1)
    assert queries.time_range(selected) == (BEGIN_MS, BEGIN_MS)
    assert queries.time_range(ALWAYS) == (BEGIN_MS - 7, BEGIN_MS + 5)
    assert queries.time_range(Selection("nothing", (), 0, 1)) is None


async def test_totals_count_rows(queries: Queries) -> None:
    assert queries.totals() == Totals(
        points=4, series=3, windows=3, metrics=2, duplicates=1, poison=0
    )


async def test_an_answer_says_how_fresh_it_is(queries: Queries, log: SqliteLog) -> None:
    fresh = queries.as_of()
    assert fresh.time_ms == BEGIN_MS + 9
    ends = log.ends()
    assert fresh.positions == {(t, 0): ends[t, 0] for t in TOPICS}


async def test_an_export_is_sorted_by_series_and_time(queries: Queries) -> None:
    exported = queries.export(ALWAYS, row_limit=10)
    rows = pa.Table.from_batches(list(exported.batches)).to_pylist()
    assert [(row["labels"], row["at_ms"], row["value"]) for row in rows] == [
        (text("cpu", host="a"), BEGIN_MS + 5, 2.0),
        (text("cpu", host="b", zone="x"), BEGIN_MS, 1.0),
        (text("memory used%"), BEGIN_MS - 7, math.inf),
    ]
    assert [(row["name"], row["type"], row["unit"]) for row in rows[1:]] == [
        ("cpu", "gauge", "percent"),
        ("memory used%", "counter", "By"),
    ]
    assert (exported.rows, exported.truncated) == (3, False)


async def test_an_export_is_cut_at_its_row_limit_and_says_so(queries: Queries) -> None:
    exported = queries.export(ALWAYS, metrics=("cpu", "nothing"), row_limit=1)
    assert (exported.rows, exported.truncated) == (1, True)
    assert [batch.num_rows for batch in exported.batches] == [1]
    empty = queries.export(ALWAYS, metrics=("nothing",), row_limit=1)
    assert (empty.rows, list(empty.batches)) == (0, [])
    with pytest.raises(InputError, match="not both"):
        queries.export(Selection("cpu", (), 0, 1), metrics=("cpu",), row_limit=1)
