"""Requests to records: the header ``slices`` finds each request's rows, whoever shares them."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.batch import MetricBatch
from streams.events.catalogue import MetricsCollected
from streams.events.codec import decode
from streams.events.labels import series_text
from streams.events.slices import SLICES_HEADER, numbered, numbered_key, slices_of
from streams.ingest.merging import LARGE_DICTIONARY, SLICES_BYTES_MAX, Merger, Request, Written
from tests.effort import examples

NOW_MS = 1_795_000_000_000

Row = tuple[str, float]


def batch(values: list[int], name: str, series: int = 0) -> MetricBatch:
    """A sample a value, each of a series of its own; ``series``: how many more it names."""
    size = max(len(values), series)
    return MetricBatch(
        labels=tuple(series_text(f"{name}{i}", {}) for i in range(size)),
        types=("gauge",) * size,
        units=("",) * size,
        series=np.arange(len(values), dtype=np.int32),
        at_ms=np.full(len(values), NOW_MS),
        value=np.array(values, dtype=np.float64),
    )


def rows_of(written: Written) -> list[Row]:
    message = written.entry.message
    data = decode(message.headers, message.body).data
    assert isinstance(data, MetricsCollected)
    pairs = zip(data.batch.series.tolist(), data.batch.value.tolist(), strict=True)
    return [(data.batch.labels[series], value) for series, value in pairs]


def rows_by_key(entries: list[Written]) -> dict[tuple[str, int], dict[int, Row]]:
    """By key and partition: the request's rows by their place."""
    found: dict[tuple[str, int], dict[int, Row]] = defaultdict(dict)
    for written in entries:
        rows = rows_of(written)
        headers = written.entry.message.headers
        assert len(headers.get(SLICES_HEADER, "")) <= SLICES_BYTES_MAX
        for one in slices_of(headers, len(rows)):
            places = found[one.key, written.entry.partition]
            for i in range(one.count):
                assert one.start + i not in places
                places[one.start + i] = rows[one.first + i]
    return found


requests = st.lists(
    st.builds(
        lambda values, name, source, actor, key: Request(
            batch(values, f"{source}{name}"), actor, "edge", NOW_MS, key
        ),
        st.lists(st.integers(0, 9), max_size=6),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["s", "t"]),
        st.sampled_from(["me", "you"]),
        st.none() | st.uuids().map(str) | st.just("long" * 300),
    ),
    max_size=12,
).map(
    lambda group: [
        Request(one.batch, one.actor, "edge", NOW_MS, one.key and f"{n}/{one.key}")
        for n, one in enumerate(group)
    ]
)


@settings(max_examples=examples(60))
@given(requests, st.integers(1, 4))
def test_slices_find_each_requests_rows(group: list[Request], partitions: int) -> None:
    entries = Merger(partitions).entries(group)
    for written in entries:
        message = written.entry.message
        actor = decode(message.headers, message.body).envelope.actor
        assert {group[number].actor for number in written.requests} == {actor}
    assert sum(len(rows_of(written)) for written in entries) == sum(len(r.batch) for r in group)
    found = rows_by_key(entries)
    for one in group:
        if one.key is None:
            continue
        got: Counter[Row] = Counter()
        for partition in range(partitions):
            places = found.get((one.key, partition), {})
            assert sorted(places) == list(range(len(places))), "counted from 0, without a hole"
            got.update(places.values())
        pairs = zip(one.batch.series.tolist(), one.batch.value.tolist(), strict=True)
        assert got == Counter((one.batch.labels[series], value) for series, value in pairs)


@settings(max_examples=examples(60))
@given(requests, st.integers(1, 4))
def test_a_retried_request_has_the_same_rows_at_the_same_places_in_any_company(
    group: list[Request], partitions: int
) -> None:
    together = rows_by_key(Merger(partitions).entries(group))
    alone: dict[tuple[str, int], dict[int, Row]] = {}
    for one in group:
        alone |= rows_by_key(Merger(partitions).entries([one]))
    assert together == alone


@settings(max_examples=examples(60))
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 3),
)
def test_a_numbered_stream_stays_in_its_order_whatever_shares_records(
    made: list[tuple[str, bool, bool]], partitions: int
) -> None:
    dictionary = batch([], "large", LARGE_DICTIONARY)
    group = []
    for number, (stream, large, plain) in enumerate(made):
        few = batch([number, number], f"{stream}_")
        if large:
            few = MetricBatch(
                dictionary.labels,
                dictionary.types,
                dictionary.units,
                few.series,
                few.at_ms,
                few.value,
            )
        key = f"me/{number}" if plain else numbered_key(stream, number)
        group.append(Request(few, "me", "edge", NOW_MS, key))
    newest: dict[tuple[str, int], int] = {}
    for written in Merger(partitions).entries(group):
        for one in slices_of(written.entry.message.headers, len(rows_of(written))):
            if (found := numbered(one.key)) is not None:
                place = (found[0], written.entry.partition)
                assert newest.get(place, -1) < found[1]
                newest[place] = found[1]


def test_requests_that_are_split_over_records_go_on_counting() -> None:
    size, series = 60_000, 30_000
    names = np.random.default_rng(1).integers(0, 2**63, (series, 3)).tolist()
    labels = tuple(series_text("".join(f"{part:x}" for part in name), {}) for name in names)
    large = MetricBatch(
        labels=labels,
        types=("gauge",) * series,
        units=("",) * series,
        series=np.arange(size, dtype=np.int32) % series,
        at_ms=np.arange(size) + NOW_MS,
        value=np.random.default_rng(1).normal(size=size),
    )
    entries = Merger(1).entries([Request(large, "me", "edge", NOW_MS, "k")])
    assert len(entries) > 2, "over 50,000 points, and then over 1 MiB"
    ((_, places),) = rows_by_key(entries).items()
    assert [places[i][1] for i in range(size)] == large.value.tolist()
