"""The events that the golden files hold; never edited, as the files are never written again."""

from __future__ import annotations

import numpy as np

from streams.events.batch import STALE, MetricBatch
from streams.events.catalogue import (
    DeadLettered,
    Envelope,
    Event,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.window import WindowBatch

AT_MS = 1_795_000_000_123

SAMPLES = MetricBatch(
    labels=(
        '{"__name__":"cpu_usage","host":"a","source":"agent"}',
        '{"__name__":"requests.total","source":"agent","straße":"ö \\"q\\""}',
        '{"__name__":"latency","source":"agent"}',
    ),
    types=("gauge", "counter", "histogram"),
    units=("percent", "", "seconds"),
    series=np.array([0, 1, 2, 0, 0, 0, 1], np.int32),
    at_ms=AT_MS + np.arange(7) * 1_000,
    value=np.array([12.5, 1e300, 0.004, np.nan, np.inf, -np.inf, STALE]),
)

WINDOWS = WindowBatch(
    size_ms=60_000,
    labels=SAMPLES.labels,
    types=SAMPLES.types,
    units=SAMPLES.units,
    start_ms=np.full(3, 1_794_999_960_000),
    count=np.array([2, 3, 4]),
    sum=np.array([3.0, 30.0, 0.5]),
    min=np.array([1.0, 9.0, 0.1]),
    max=np.array([2.0, 11.0, 0.2]),
    first=np.array([1.0, 9.0, 0.1]),
    last=np.array([2.0, 11.0, np.nan]),
    first_ms=np.full(3, 1_794_999_960_000),
    last_ms=np.full(3, 1_795_000_019_999),
    increase=np.array([0.0, 2.0, 0.0]),
    bin_offsets=np.array([0, 0, 0, 2]),
    bins=np.array([-7, 41]),
    bin_counts=np.array([1, 3]),
)

EVENTS = {
    "metrics.collected.v1": Event(
        Envelope(
            id="0123456789abcdef0123456789abcdef",
            source="edge",
            time_ms=AT_MS,
            actor="token",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        MetricsCollected(SAMPLES),
    ),
    "clock.ticked.v1": Event(Envelope("clock/0/7", "clock", AT_MS), Ticked(1_795_000_000_000)),
    "metrics.window_closed.v1": Event(
        Envelope(
            id="windows/0/41",
            source="processor/windows",
            time_ms=AT_MS,
            correlation_id="0123456789abcdef0123456789abcdef",
            causation_id="clock/0/7",
        ),
        WindowClosed(WINDOWS, 3),
    ),
    "metrics.window_amended.v1": Event(
        Envelope("windows/0/42", "processor/windows", AT_MS), WindowAmended(WINDOWS, 0)
    ),
    "deadletter.recorded.v1": Event(
        Envelope("windows/0/43", "processor/windows", AT_MS),
        DeadLettered("metrics.points", 0, 9, "not Arrow", {"ce_type": "x.v1"}, b"\x00\xffraw"),
    ),
}
