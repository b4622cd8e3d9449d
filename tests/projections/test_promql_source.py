"""Series that went through the projection answer PromQL as they do in memory."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.duck import DuckProjection
from projections.promql_source import ProjectionSource
from projections.reading import reading
from streams.errors import QueryError, QueryTooLarge
from streams.log.sqlite_log import SqliteLog
from streams.promql.answer import Answer
from streams.promql.engine import instant_query, range_query
from streams.promql.frames import Labels
from streams.promql.functions import RANGE_FUNCTIONS
from streams.promql.limits import Limits
from streams.promql.matchers import Matcher
from streams.promql.selectors import is_stale
from streams.promql.source import MemorySource, Selected, SeriesSource
from tests.effort import examples
from tests.projections.making import open_log
from tests.projections.promql_making import column_batch, cut, projected, store
from tests.promql.differential_data import BEGIN_MS, series
from tests.promql.expressions import Expressions
from tests.promql.timelines import STALE, Columns, columns_of, labels_of

ALL = 1_000_000
EXPRESSIONS = 200
INSTANTS_MS = (BEGIN_MS + 7_000, BEGIN_MS + 2_017_000)
RANGE_MS = (BEGIN_MS + 307_000, BEGIN_MS + 3_177_000, 170_000)

NAMES = (labels_of("x"), labels_of("x", job="a"), labels_of("x", job="a", zone="é"), labels_of("y"))
VALUES = st.one_of(
    st.floats(-10, 10), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, STALE])
)
SAMPLES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(-3, 20), VALUES), min_size=1, max_size=40
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SeriesSource, SeriesSource]]:
    """The same series twice. The file got them in many records, some late, some repeated."""
    columns = series()
    batch = column_batch(columns)
    order = np.argsort(batch.at_ms, kind="stable")
    parts = np.array_split(order, 40)
    Random(5).shuffle(parts)
    folder = tmp_path_factory.mktemp("projected")
    log = open_log(folder)
    projection = DuckProjection.open(folder / "metrics.duckdb", log)
    for rows in (*parts, parts[3]):
        store(log, projection, cut(batch, rows))
    with reading(projection, 600.0) as reader:
        yield ProjectionSource(reader), MemorySource(columns)
    projection.close()
    log.close()


@pytest.mark.parametrize("seed", [1_001, 1_002])
def test_expressions_are_answered_as_over_memory(
    seed: int, both: tuple[SeriesSource, SeriesSource]
) -> None:
    stored, memory = both
    generator = Expressions(seed)
    for expr in (generator.one() for _ in range(examples(EXPRESSIONS) // 2)):
        for at_ms in INSTANTS_MS:
            ours = answered(partial(instant_query, expr, stored, at_ms))
            theirs = answered(partial(instant_query, expr, memory, at_ms))
            assert_same(expr, ours, theirs)
        ours = answered(partial(range_query, expr, stored, *RANGE_MS))
        theirs = answered(partial(range_query, expr, memory, *RANGE_MS))
        assert_same(expr, ours, theirs)


@pytest.mark.parametrize(("seed", "part_max"), [(2_001, 1), (2_002, 50), (2_003, 400)])
def test_expressions_in_parts_of_steps_and_shares_of_series_are_answered_as_at_once(
    seed: int, part_max: int, both: tuple[SeriesSource, SeriesSource]
) -> None:
    stored, memory = both
    generator = Expressions(seed)
    limits = Limits(part_max=part_max)
    for expr in (generator.one() for _ in range(examples(EXPRESSIONS) // 5)):
        ours = answered(partial(instant_query, expr, stored, INSTANTS_MS[1], limits=limits))
        theirs = answered(partial(instant_query, expr, memory, INSTANTS_MS[1]))
        assert_same(expr, ours, theirs, rtol=1e-12)
        ours = answered(partial(range_query, expr, stored, *RANGE_MS, limits=limits))
        theirs = answered(partial(range_query, expr, memory, *RANGE_MS))
        assert_same(expr, ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(RANGE_FUNCTIONS))
def test_a_long_window_is_the_same_however_its_series_are_divided(
    name: str, both: tuple[SeriesSource, SeriesSource]
) -> None:
    stored, memory = both
    given = {"quantile_over_time": "0.3, {}", "predict_linear": "{}, 60"}
    given["double_exponential_smoothing"] = "{}, 0.5, 0.5"
    expr = f"{name}({given.get(name, '{}').format('temperature[40m]')})"
    whole = instant_query(expr, memory, INSTANTS_MS[1])
    assert whole.labels
    for part_max in (5_000, 1_000, 300, 1):
        divided = instant_query(expr, stored, INSTANTS_MS[1], limits=Limits(part_max=part_max))
        assert_same(expr, divided, whole)


def test_samples_are_counted_by_share_where_a_source_can_be_divided(
    both: tuple[SeriesSource, SeriesSource],
) -> None:
    stored, memory = both
    few = Limits(samples_max=500, part_max=500)  # of 9 series some 190 each
    ask = partial(instant_query, "sum_over_time(temperature[50m])", at_ms=INSTANTS_MS[1])
    with pytest.raises(QueryTooLarge, match="more than 500 samples at once"):
        ask(source=memory, limits=few)
    assert len(ask(source=stored, limits=few).labels) == 9
    with pytest.raises(QueryTooLarge, match="more than 100 samples at once"):
        ask(source=stored, limits=Limits(samples_max=100, part_max=50))


@settings(max_examples=examples(25))
@given(
    SAMPLES,
    st.integers(1, 4),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(["", "a", "a|", ".+"]),
    st.tuples(st.integers(-4, 21), st.integers(-4, 21)),
)
def test_a_select_finds_the_samples_that_were_sent_whatever_their_order(
    samples: list[tuple[Labels, int, float]], parts: int, op: str, value: str, span: tuple[int, int]
) -> None:
    first: dict[tuple[Labels, int], float] = {}
    for labels, at, sample in samples:
        first.setdefault((labels, at), sample)
    memory = MemorySource(columns_from(first))
    matcher = Matcher("job", op, value)  # type: ignore[arg-type]
    wanted = memory.select([matcher], span[0] * 1_000, span[1] * 1_000, ALL)
    with tempfile.TemporaryDirectory() as folder:
        found = selected_after_storing(Path(folder), samples, parts, matcher, span)
    assert samples_of(found) == samples_of(wanted)
    assert list(found.labels) == sorted(found.labels)


def test_all_selects_of_a_query_see_one_state_while_more_is_stored(
    log: SqliteLog, projection: DuckProjection
) -> None:
    old, new = labels_of("x", job="a"), labels_of("x", job="b")
    every = [Matcher("__name__", "=~", "x|y")]
    store(log, projection, column_batch(columns_of({old: [1, 2]})))
    with reading(projection, 60.0) as reader:
        source = ProjectionSource(reader)
        store(log, projection, column_batch(columns_of({old: [None, None, 3], new: [7]})))
        assert samples_of(source.select(every, 0, 60_000, ALL)) == samples_of(
            MemorySource(columns_of({old: [1, 2]})).select(every, 0, 60_000, ALL)
        )
        later = ProjectionSource(reader).select(every, 0, 60_000, ALL)
        assert samples_of(later).keys() == {old}
    with reading(projection, 60.0) as reader:
        assert ProjectionSource(reader).select(every, 0, 60_000, ALL).labels == (old, new)


def test_more_series_than_sixteen_bits_number_keep_their_samples(tmp_path: Path) -> None:
    count = 2**16 + 3
    at_ms = np.array([1_000], dtype=np.int64)
    series = [(labels_of("x", n=str(n)), (at_ms, np.array([float(n)]))) for n in range(count)]
    with projected(tmp_path, dict(series[:40_000]), dict(series[40_000:])) as source:
        found = source.select([Matcher("__name__", "=", "x")], 0, 2_000, ALL)
    assert len(found.labels) == count
    assert [dict(labels)["n"] for labels in found.labels] == [str(int(v)) for v in found.value]


def answered(query: Callable[[], Answer]) -> Answer | str:
    """The answer, or why there is none."""
    try:
        return query()
    except QueryError as refusal:
        return str(refusal)


def assert_same(expr: str, ours: Answer | str, theirs: Answer | str, *, rtol: float = 0.0) -> None:
    """But for which NaN it is; within ``rtol`` also but for which of several series are named that
    must not meet."""
    if isinstance(ours, str) or isinstance(theirs, str):
        shown = 40 if rtol else None
        assert str(ours)[:shown] == str(theirs)[:shown], expr
        return
    assert (ours.kind, ours.text, ours.warnings, ours.infos) == (
        theirs.kind,
        theirs.text,
        theirs.warnings,
        theirs.infos,
    ), expr
    assert ours.labels == theirs.labels, expr
    assert ours.offsets.tolist() == theirs.offsets.tolist(), expr
    assert ours.at_ms.tolist() == theirs.at_ms.tolist(), expr
    np.testing.assert_allclose(ours.value, theirs.value, rtol=rtol, atol=0, err_msg=expr)


def columns_from(samples: dict[tuple[Labels, int], float]) -> Columns:
    """Times in seconds."""
    columns: Columns = {}
    for labels, rows in itertools.groupby(sorted(samples), key=lambda key: key[0]):
        times = [at for _, at in rows]
        values = [samples[labels, at] for at in times]
        columns[labels] = np.array(times, dtype=np.int64) * 1_000, np.array(values)
    return columns


def selected_after_storing(
    folder: Path,
    samples: list[tuple[Labels, int, float]],
    parts: int,
    matcher: Matcher,
    span: tuple[int, int],
) -> Selected:
    log = open_log(folder)
    projection = DuckProjection.open(folder / "metrics.duckdb", log)
    try:
        for rows in np.array_split(np.arange(len(samples)), min(parts, len(samples))):
            columns: Columns = {}
            for labels, at, value in (samples[row] for row in rows):
                before = columns.get(labels, (np.zeros(0, np.int64), np.zeros(0)))
                columns[labels] = np.append(before[0], at * 1_000), np.append(before[1], value)
            store(log, projection, column_batch(columns))
        with reading(projection, 60.0) as reader:
            source = ProjectionSource(reader)
            return source.select([matcher], span[0] * 1_000, span[1] * 1_000, ALL)
    finally:
        projection.close()
        log.close()


def samples_of(found: Selected) -> dict[Labels, list[tuple[int, str]]]:
    """By series, without those that have none; values by what distinguishes them."""
    stale = is_stale(found.value)
    shown = [
        "stale" if mark else repr(value)
        for mark, value in zip(stale, found.value.tolist(), strict=True)
    ]
    rows = {
        labels: list(zip(found.at_ms[begin:end].tolist(), shown[begin:end], strict=True))
        for labels, (begin, end) in zip(
            found.labels, itertools.pairwise(found.offsets.tolist()), strict=True
        )
    }
    return {labels: samples for labels, samples in rows.items() if samples}
