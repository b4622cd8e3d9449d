"""Kept dictionaries: the bytes stay plain Arrow, and no outcome depends on what is kept."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PoisonError
from streams.events import batch_heads
from streams.events.batch import QUICK_POINTS, MetricBatch, decode_batch, encode_batch
from streams.events.labels import series_text
from tests.effort import examples


def batch_of(series: int, points: int, seed: int = 0) -> MetricBatch:
    draw = np.random.default_rng(seed)
    return MetricBatch(
        labels=tuple(series_text("cpu", {"host": f"h{number}"}) for number in range(series)),
        types=("gauge",) * series,
        units=("",) * series,
        series=draw.integers(0, series, points).astype(np.int32),
        at_ms=1_700_000_000_000 + np.arange(points, dtype=np.int64),
        value=draw.normal(size=points),
    )


def outcome(body: bytes) -> object:
    try:
        batch = decode_batch(body)
    except PoisonError:
        return "poison"
    columns = (batch.series.tobytes(), batch.at_ms.tobytes(), batch.value.tobytes())
    return batch.labels, batch.types, batch.units, columns


@pytest.mark.parametrize("points", [0, 1, QUICK_POINTS, 50_000])
def test_any_arrow_reader_opens_a_batch(points: int) -> None:
    batch = batch_of(3, points)
    for _ in range(2):  # the second is written with the dictionary of the first
        with pa.ipc.open_stream(encode_batch(batch)) as reader:
            table = reader.read_all()
    series, at_ms, value = (column.combine_chunks() for column in table.columns)
    assert table.schema.equals(batch_heads.SCHEMA)
    assert [one["labels"] for one in series.dictionary.to_pylist()] == list(batch.labels)
    assert series.indices.to_pylist() == batch.series.tolist()
    assert at_ms.to_pylist() == batch.at_ms.tolist()
    assert value.to_pylist() == batch.value.tolist()


def test_dictionaries_that_look_alike_are_told_apart() -> None:
    for middle in ("b", "c", "b"):
        labels = tuple(series_text("cpu", {"host": host}) for host in ("a", middle, "z"))
        batch = MetricBatch(
            labels, ("gauge",) * 3, ("",) * 3, np.arange(3, dtype=np.int32),
            np.arange(3, dtype=np.int64), np.zeros(3),
        )  # fmt: skip
        assert decode_batch(encode_batch(batch)).labels == labels


@settings(max_examples=examples(200))
@given(seed=st.integers(0, 2**32), points=st.sampled_from([0, 1, 40, QUICK_POINTS + 1]))
def test_a_damaged_body_means_the_same_whether_its_dictionary_is_known_or_not(
    seed: int, points: int
) -> None:
    choose = random.Random(seed)
    whole = encode_batch(batch_of(5, points, seed))
    body = bytearray(whole)
    for _ in range(choose.choice((0, 1, 1, 4))):
        body[choose.randrange(len(body))] ^= 1 << choose.randrange(8)
    damaged = bytes(body[: len(body) - choose.choice((0, 0, 8, 9))])
    damaged += choose.choice((b"", b"", b"rest"))
    kept = batch_heads._read
    try:
        batch_heads._read = type(kept)()
        cold = outcome(damaged)
        batch_heads._read = type(kept)()
        outcome(whole)
        assert outcome(damaged) == cold
        assert outcome(damaged) == cold
    finally:
        batch_heads._read = kept
