"""Counters that this process keeps for a scrape, stored as samples as well: what is in the log can
be asked for, and alerts can be made of it.

Each counter begins with a sample of zero just before its first: `rate` sees growth between samples
only, and what was counted before the first one would be lost to it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.metrics_core import Metric

from streams.events.batch import MetricType
from streams.events.labels import series_text
from streams.ingest.edge import Edge
from streams.ingest.periodic import every
from streams.ingest.samples import Sample, as_request
from streams.log.wall_clock import wall_clock_ms

SOURCE: Final = "logfire-mcp"


class CounterSamples:
    """Of what ``read`` gives (counters and histograms) the counts and sums, without buckets."""

    def __init__(self, read: Callable[[], Iterable[Metric]], labels: Mapping[str, str]) -> None:
        """``labels``: those that every series has beside its own."""
        self._read = read
        self._labels = labels
        self._begun: set[str] = set()

    def take(self, at_ms: int) -> list[Sample]:
        """All counters at one time; none that never counted."""
        samples: list[Sample] = []
        for family in self._read():
            for one in family.samples:
                if one.name.endswith("_bucket"):
                    continue
                labels = {**self._labels, **one.labels}
                unit = family.unit if one.name.endswith("_sum") else ""
                if series_text(one.name, labels) not in self._begun:
                    zero = Sample(one.name, 0.0, at_ms - 1, MetricType.COUNTER, unit, labels)
                    samples.append(zero)
                value = float(one.value)
                samples.append(Sample(one.name, value, at_ms, MetricType.COUNTER, unit, labels))
        return samples

    def stored(self, samples: Iterable[Sample]) -> None:
        """These are durable: their counters have begun."""
        self._begun.update(series_text(one.name, one.labels) for one in samples)


async def run_counters(
    edge: Edge,
    interval_s: float,
    read: Callable[[], Iterable[Metric]],
    host: str | None = None,
    *,
    stop: asyncio.Event | None = None,
    clock: Callable[[], int] = wall_clock_ms,
) -> None:
    """Stores what ``read`` gives, with the label ``host``, at once and then every ``interval_s``,
    until ``stop`` is set or it is cancelled."""
    counters = CounterSamples(read, {"host": host or socket.gethostname()})

    async def store() -> None:
        if samples := counters.take(clock()):
            await edge.collect(
                as_request(SOURCE, samples), actor=SOURCE, event_source="collector/counters"
            )
            counters.stored(samples)

    await every(interval_s, store, name="own counters", stop=stop or asyncio.Event())
