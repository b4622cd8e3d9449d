"""Made-up scrapes of one metric: every series at every time, the same on every run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streams.events.batch import POINTS_MAX, MetricBatch
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.events.topics import POINTS
from streams.log.protocol import Append, Entry
from streams.log.sqlite_log import SqliteLog

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Scrapes:
    """``value[t, s]`` is the sample of series ``labels[s]`` at ``at_ms[t]``."""

    labels: tuple[Labels, ...]
    at_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return self.value.size


def scrapes(name: str, series: int, at_ms: npt.NDArray[np.int64], *, counter: bool) -> Scrapes:
    """Ten jobs; a counter of whole numbers (a tenth of them reset once), else percents."""
    random = np.random.default_rng(len(name) + series)
    labels = tuple(
        (
            ("__name__", name),
            ("instance", f"host-{number:05}"),
            ("job", f"job-{number % 10}"),
        )
        for number in range(series)
    )
    shape = (len(at_ms), series)
    if not counter:
        return Scrapes(labels, at_ms, random.normal(50, 10, shape).round(2))
    counted = random.integers(0, 100, shape).cumsum(axis=0).astype(np.float64)
    half = len(at_ms) // 2
    counted[half:, ::10] -= counted[half - 1, ::10]
    return Scrapes(labels, at_ms, counted)


def in_time(metrics: list[Scrapes], span_ms: int) -> Iterator[Scrapes]:
    """The samples of all metrics in each span of time, one span after another."""
    begin, end = (int(f(f(one.at_ms) for one in metrics)) for f in (min, max))
    for start in range(begin, end + 1, span_ms):
        for metric in metrics:
            first, last = np.searchsorted(metric.at_ms, (start, start + span_ms))
            if first < last:
                some = slice(first, last)
                yield Scrapes(metric.labels, metric.at_ms[some], metric.value[some])


def log_of(metrics: list[Scrapes], path: Path, span_ms: int) -> None:
    """A log that holds them, a span of time after another, as the edge would have written it."""
    log = SqliteLog.open(path)
    texts = {
        one.labels: tuple(json.dumps(dict(each), separators=(",", ":")) for each in one.labels)
        for one in metrics
    }
    try:
        for number, some in enumerate(in_time(metrics, span_ms)):
            series = len(some.labels)
            rows = np.arange(len(some))
            for part in np.array_split(rows, -(-len(some) // POINTS_MAX)):
                batch = MetricBatch(
                    labels=texts[some.labels],
                    types=("gauge",) * series,
                    units=("",) * series,
                    series=(part % series).astype(np.int32),
                    at_ms=some.at_ms[part // series],
                    value=some.value.ravel()[part],
                )
                envelope = Envelope(f"{number}/{part[0]}", "bench", int(some.at_ms[-1]))
                event = Event(envelope, MetricsCollected(batch))
                log.submit(Append((Entry(POINTS, 0, encode(event)),))).result()
    finally:
        log.close()
