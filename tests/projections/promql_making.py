"""Series that went through a log into a DuckDB file, as a source for PromQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from projections.duck import DuckProjection
from projections.promql_source import ProjectionSource
from projections.reading import reading
from streams.events.batch import MetricBatch
from streams.events.catalogue import MetricsCollected
from streams.log.sqlite_log import SqliteLog
from streams.promql.frames import Floats, Ints, Labels
from tests.projections.making import append, everything, open_log, text


def column_batch(columns: Mapping[Labels, tuple[Ints, Floats]]) -> MetricBatch:
    """All samples, one series after another."""
    counts = [len(at_ms) for at_ms, _ in columns.values()]
    return MetricBatch(
        labels=tuple(text_of(labels) for labels in columns),
        types=("gauge",) * len(columns),
        units=("",) * len(columns),
        series=np.repeat(np.arange(len(columns), dtype=np.int32), counts),
        at_ms=np.concatenate([at_ms for at_ms, _ in columns.values()]),
        value=np.concatenate([value for _, value in columns.values()]),
    )


def text_of(labels: Labels) -> str:
    """The identity of a series."""
    pairs = dict(labels)
    return text(pairs.pop("__name__"), **pairs)


def cut(batch: MetricBatch, rows: Ints) -> MetricBatch:
    """Some samples of a batch, in this order; its series stay."""
    return MetricBatch(
        labels=batch.labels,
        types=batch.types,
        units=batch.units,
        series=batch.series[rows],
        at_ms=batch.at_ms[rows],
        value=batch.value[rows],
    )


def store(log: SqliteLog, projection: DuckProjection, batch: MetricBatch) -> None:
    """One record, folded in a transaction of its own."""
    append(log, MetricsCollected(batch))
    everything(log, projection)


@contextmanager
def projected(
    folder: Path, *parts: Mapping[Labels, tuple[Ints, Floats]]
) -> Iterator[ProjectionSource]:
    """A source of these series, each part one record."""
    log = open_log(folder)
    try:
        projection = DuckProjection.open(folder / "metrics.duckdb", log)
        try:
            for columns in filter(None, parts):
                store(log, projection, column_batch(columns))
            with reading(projection, 600.0) as reader:
                yield ProjectionSource(reader)
        finally:
            projection.close()
    finally:
        log.close()
