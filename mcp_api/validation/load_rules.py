"""One tick of 100 rules, by the processor that evaluates them in every server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from streams.events.alerting import SamplesRouted, TickRouted
from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import encode
from streams.events.labels import series_text
from streams.events.rules import Rule
from streams.events.topics import RULE_INPUTS
from streams.log.protocol import Record
from streams.processors.evaluate import EvaluateProcessor
from streams.processors.seam import advance, restore

RULES = 100
SERIES = 100
"""Each rule compares all of them."""

_BEGIN_MS = 1_800_000_000_000
_TICK_MS = 5_000


def tick_seconds() -> Iterator[float]:
    """What each further tick takes, with its samples and the changes of its table; without end."""
    processor = EvaluateProcessor(sources=1, evaluation_ms=_TICK_MS)
    tracked = restore(processor, {}, lambda _begin, _end: [])
    rules = tuple(
        Rule(id=f"rule-{n}", version=1, name=f"Rule {n}", condition=f"load > {80 + n / 10}")
        for n in range(RULES)
    )
    labels = tuple(series_text("load", {"host": f"host-{n}"}) for n in range(SERIES))
    offset = number = 0
    while True:
        at_ms = _BEGIN_MS + number * _TICK_MS
        samples = SamplesRouted(_samples(labels, at_ms - 1_000), 0, 0)
        tick = TickRouted(0, at_ms, 0, rules=() if number else rules)
        parts: tuple[EventData, ...] = (samples, tick)
        records = [_record(data, offset + n, at_ms) for n, data in enumerate(parts)]
        begun = time.perf_counter()
        tracked, _, _ = advance(processor, 0, tracked, records)
        yield time.perf_counter() - begun
        offset += len(records)
        number += 1


def _samples(labels: tuple[str, ...], at_ms: int) -> MetricBatch:
    return MetricBatch(
        labels=labels,
        types=("gauge",) * len(labels),
        units=("",) * len(labels),
        series=np.arange(len(labels), dtype=np.int32),
        at_ms=np.full(len(labels), at_ms, dtype=np.int64),
        value=np.linspace(0, 79, len(labels)),
    )


def _record(data: EventData, offset: int, at_ms: int) -> Record:
    message = encode(Event(Envelope(f"load-test/{offset}", "load-test", at_ms), data))
    return Record(RULE_INPUTS, 0, offset, at_ms, message.headers, message.body)
