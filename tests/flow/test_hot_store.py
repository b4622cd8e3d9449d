"""The last minutes in memory: what an unbounded source would answer, whatever was added when."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.rule_reading import compiled, values_at
from streams.events.batch import STALE
from streams.events.labels import series_text
from streams.events.rules import Rule
from streams.processors.hot_store import HotStore
from streams.processors.rule_evaluation import TickReader
from streams.promql.frames import Labels
from streams.promql.matchers import Matcher
from streams.promql.source import MemorySource
from tests.effort import examples
from tests.flow.rule_flow import batch_of

CPU = (Matcher("__name__", "=", "cpu"),)
ALL = (Matcher("host", "=~", ".*"),)
KEEP_MS = 60_000
LATER_MS = 10_000
SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["cpu", "disk"]),
        st.sampled_from(["a", "b", ""]),
        st.integers(-80, 5).map(lambda n: n * 1_000),
        st.sampled_from([0.0, 50.0, 90.0, -90.0, float("nan"), float("inf"), STALE]),
    ),
    max_size=30,
)


def filled(ticks: list[list[tuple[str, str, int, float]]]) -> tuple[HotStore, MemorySource]:
    """A store, and a source of all that ever was; of one series and time the first stays."""
    store = HotStore()
    store.need([(ALL, KEEP_MS)])
    known: dict[Labels, dict[int, float]] = {}
    for number, samples in enumerate(ticks):
        now_ms = number * LATER_MS
        rows = [
            (series_text(name, {"host": host}), now_ms + back_ms, value)
            for name, host, back_ms, value in samples
        ]
        if rows:
            store.add(batch_of(rows), now_ms)
        for (name, host, back_ms, value), _ in zip(samples, rows, strict=True):
            pairs = [("__name__", name), ("host", host)]
            labels = tuple(pair for pair in pairs if pair[1])
            known.setdefault(labels, {}).setdefault(now_ms + back_ms, value)
    columns = {
        labels: (np.array(sorted(of), np.int64), np.array([of[at] for at in sorted(of)]))
        for labels, of in known.items()
    }
    return store, MemorySource(columns)


@settings(max_examples=examples(150), deadline=None)
@given(ticks=st.lists(SAMPLES, min_size=1, max_size=8), back=st.integers(0, 50))
def test_it_answers_what_a_source_of_all_samples_answers_over_the_look_back(
    ticks: list[list[tuple[str, str, int, float]]], back: int
) -> None:
    store, everything = filled(ticks)
    now_ms = (len(ticks) - 1) * LATER_MS
    span = (now_ms - KEEP_MS + 1 + back * 1_000, now_ms)
    for matchers in (CPU, ALL):
        hot = store.select(matchers, *span, 10_000)
        cold = everything.select(matchers, *span, 10_000)
        assert hot is not None
        assert cold is not None
        assert _held(hot.labels, hot.offsets, hot.at_ms, hot.value) == _held(
            cold.labels, cold.offsets, cold.at_ms, cold.value
        )


def _held(labels: tuple[Labels, ...], offsets: object, *columns: object) -> dict[Labels, object]:
    ends = np.asarray(offsets).tolist()
    at_ms, value = (np.asarray(column) for column in columns)
    bits = value.view(np.int64)
    return {
        series: list(zip(at_ms[a:b].tolist(), bits[a:b].tolist(), strict=True))
        for series, a, b in zip(labels, ends, ends[1:], strict=False)
        if b > a
    }


@settings(max_examples=examples(150), deadline=None)
@given(
    ticks=st.lists(SAMPLES, min_size=1, max_size=4),
    op=st.sampled_from([">", "<", ">=", "<=", "==", "!="]),
    limit=st.sampled_from(["50", "-90", "0", "NaN", "Inf"]),
    swapped=st.booleans(),
)
def test_a_threshold_gives_what_the_engine_gives(
    ticks: list[list[tuple[str, str, int, float]]], op: str, limit: str, swapped: bool
) -> None:
    store, _ = filled(ticks)
    now_ms = (len(ticks) - 1) * LATER_MS
    for selector in ("cpu", 'disk{host!="a"}', '{host=~"a|b",__name__=~"cpu"}'):
        condition = f"{limit} {op} {selector}" if swapped else f"{selector} {op} {limit}"
        rule = compiled(Rule(id="r", version=1, name="r", condition=condition))
        assert rule.threshold is not None
        quick = TickReader(store, now_ms).read(rule).active
        assert _bits(dict(quick)) == _bits(values_at(rule.condition, store, now_ms))


def _bits(values: dict[Labels, float]) -> dict[Labels, int]:
    return {series: int(np.array([v]).view(np.int64)[0]) for series, v in values.items()}


def test_what_is_more_than_a_selector_and_a_number_is_left_to_the_engine() -> None:
    for condition in ("cpu offset 1m > 1", "cpu > bool 1", "cpu > disk", "cpu + 1 > 2", "cpu"):
        rule = compiled(Rule(id="r", version=1, name="r", condition=condition))
        assert rule.threshold is None


def test_it_holds_no_more_than_is_needed_however_long_it_runs() -> None:
    store = HotStore()
    store.need([(CPU, KEEP_MS)])
    most = 0
    for second in range(2_000):
        at_ms = second * 1_000
        rows = [(series_text(name, {"host": "a"}), at_ms, 1.0) for name in ("cpu", "disk")]
        store.add(batch_of(rows), at_ms)
        most = max(most, len(store))
    assert most <= 4 * KEEP_MS // 1_000


def test_a_longer_need_keeps_samples_from_then_on() -> None:
    store = HotStore()
    store.need([(CPU, 1_000)])
    text = series_text("cpu", {})
    store.need([(CPU, KEEP_MS)])
    store.add(batch_of([(text, 5_000 * n, float(n)) for n in range(12)]), 55_000)
    assert len(store) == 12
    assert store.lookback_ms == KEEP_MS


def test_too_many_samples_are_not_read() -> None:
    store, _ = filled([[("cpu", "a", 0, 1.0), ("cpu", "b", 0, 1.0)]])
    assert store.select(CPU, -1, 1, 1) is None
