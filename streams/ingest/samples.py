"""Samples that this process takes itself, as the same columns that a parsed request has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.events.batch import MetricBatch, MetricType
from streams.ingest.parsed import Content, Parsed
from streams.ingest.series_cache import dictionary_of, make_entry


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series; the labels are without the source."""

    name: str
    value: float
    at_ms: int
    type: MetricType = MetricType.GAUGE
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def as_request(source: str, samples: Sequence[Sample]) -> Parsed:
    """The request that these samples make; `ValueError` where one cannot be a sample."""
    entries = [
        make_entry(source, one.name, dict(one.labels), one.type.value, one.unit) for one in samples
    ]
    dictionary = dictionary_of(entries)
    return batch_request(
        source,
        MetricBatch(
            dictionary.labels,
            dictionary.types,
            dictionary.units,
            dictionary.series,
            np.array([one.at_ms for one in samples], np.int64),
            np.array([one.value for one in samples], np.float64),
        ),
    )


def batch_request(source: str, batch: MetricBatch) -> Parsed:
    """A request of columns that are known to be valid."""
    content = Content(
        batch.labels, batch.types, batch.units, batch.series, batch.at_ms, batch.value
    )
    return Parsed(source, batch, (), 0, None, content)
