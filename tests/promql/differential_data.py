"""Series for comparing with a Prometheus of version 2: gaps, resets, NaN, staleness, odd labels.

Two rules of version 3 are kept out of sight, as they are not what version 2 does. Ranges lose their
left bound: no sample lies on a whole second, where all bounds lie. A rate is stretched to the point
at which its counter was zero by other steps: counters start high, so that it lies far back.
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Floats, Ints, Labels
from tests.promql.timelines import STALE, labels_of

BEGIN_MS = 1_700_000_000_000
MINUTES = 50
EVERY_MS = 15_000

GAP_BITS = np.uint64(0x7FF8_0000_0000_0BAD)
"""A NaN that stands for no sample; others are samples."""
GAP = np.array([GAP_BITS]).view(np.float64)[0]

Columns = dict[Labels, tuple[Ints, Floats]]

ODD = ("a.b*c", 'quo"te', "back\\slash", "größe ✓", "")


def series() -> Columns:
    """The same in every run."""
    random = np.random.default_rng(20_261_122)
    columns: Columns = {}

    def add(values: Floats, name: str, **labels: str) -> None:
        jitter = random.integers(137, 900, len(values))
        at_ms = BEGIN_MS + EVERY_MS * np.arange(len(values), dtype=np.int64) + jitter
        there = values.view(np.uint64) != GAP_BITS
        kept = {key: value for key, value in labels.items() if value}
        columns[labels_of(name, **kept)] = at_ms[there], values[there]

    count = MINUTES * 60_000 // EVERY_MS
    for job in ("api", "db", "web"):
        for instance in ("0", "1", "2"):
            counted = 1e6 + np.cumsum(random.integers(0, 500, count)).astype(np.float64)
            if instance == "1":
                counted[count // 3 :] -= round(0.7 * counted[count // 3 - 1])
            add(_holed(counted, random), "requests_total", job=job, instance=instance)
            temperature = random.normal(20, 5, count).round(3)
            add(_holed(temperature, random), "temperature", job=job, instance=instance, zone=job[0])
            flaky = random.normal(-3, 50, count)
            flaky[random.random(count) < 0.05] = STALE
            flaky[40:90] = GAP
            add(flaky, "flaky", job=job, instance=instance)
            level = random.integers(0, 4, count).astype(np.float64)
            add(level, "level", job=job, instance=instance)
        buckets = np.cumsum(random.integers(0, 40, (count, 5)), axis=0).cumsum(axis=1) + 1e5
        for le, bucket in zip(("0.1", "0.5", "1", "2.5", "+Inf"), buckets.T, strict=True):
            add(bucket.astype(np.float64), "latency_bucket", job=job, le=le)
        add(np.ones(count), "target", job=job, version=f"v{len(job)}")
    for number, odd in enumerate(ODD):
        values = random.normal(number, 1, count)
        values[random.random(count) < 0.1] = np.nan
        add(values, "odd", label=odd, other=str(number))
    extremes = random.choice([0.0, -0.0, 1e150, -1e150, np.inf, -np.inf, np.nan, 1e-300], count)
    add(extremes, "extreme")
    add(np.full(count, 7.25), "single")
    return columns


def _holed(values: Floats, random: np.random.Generator) -> Floats:
    holed = values.copy()
    holed[random.random(len(values)) < 0.08] = GAP
    return holed
