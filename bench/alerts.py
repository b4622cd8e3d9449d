"""Time of one tick of rule evaluation in one home, on one core, with its samples and markers."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

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

BEGIN_MS = 1_800_000_000_000
TICK_MS = 5_000
EVERY_TICKS = 2
"""Each series has a sample at every second tick."""


def rule(number: int, condition: str) -> Rule:
    return Rule(id=f"rule-{number}", version=1, name=f"Rule {number}", condition=condition)


def cases(series: int) -> dict[str, tuple[list[Rule], int]]:
    """Rules, and how many series each of them compares."""
    some = range(100)
    of_host = 'x{{host="host-{0}"}} > 99.9'
    part = max(1, series // 100)
    return {
        f"100 thresholds, each over {series:,} series": (
            [rule(n, f"x > {99.9 + n / 1_000}") for n in some],
            series,
        ),
        "10,000 thresholds, each over 1 series": (
            [rule(n, of_host.format(n % series)) for n in range(10_000)],
            1,
        ),
        f"100 rates over 5 minutes, each over {part:,} series": (
            [rule(n, f'rate(x{{job="job-{n}"}}[5m]) > 1000') for n in some],
            part,
        ),
        f"10 sums by job, each over {series:,} series": (
            [rule(n, f"sum by (job) (x) > {1e9 + n}") for n in range(10)],
            series,
        ),
    }


def batch(series: int, at_ms: int, random: np.random.Generator) -> list[MetricBatch]:
    """One sample of each series, in as many batches as their size asks for."""
    batches = []
    for first in range(0, series, 5_000):
        numbers = range(first, min(series, first + 5_000))
        labels = tuple(
            series_text("x", {"host": f"host-{n}", "job": f"job-{n % 100}"}) for n in numbers
        )
        batches.append(
            MetricBatch(
                labels=labels,
                types=("gauge",) * len(labels),
                units=("",) * len(labels),
                series=np.arange(len(labels), dtype=np.int32),
                at_ms=np.full(len(labels), at_ms, dtype=np.int64),
                value=random.uniform(0, 99.8, len(labels)),
            )
        )
    return batches


def tick_times(rules: Sequence[Rule], series: int, ticks: int, warm: int) -> list[float]:
    """Seconds that the step of each tick takes after ``warm`` ones: the decoding of the samples,
    the store, the evaluation of all rules and the table's changes."""
    processor = EvaluateProcessor(sources=1, evaluation_ms=TICK_MS)
    tracked = restore(processor, {}, lambda _begin, _end: [])
    random = np.random.default_rng(1)
    offset = 0
    took = []
    for number in range(warm + ticks):
        at_ms = BEGIN_MS + number * TICK_MS
        told = tuple(rules) if number == 0 else ()
        parts: list[EventData] = []
        if number % EVERY_TICKS == 0:
            parts += [SamplesRouted(each, 0, 0) for each in batch(series, at_ms - 1_000, random)]
        parts.append(TickRouted(0, at_ms, 0, rules=told))
        records = []
        for data in parts:
            message = encode(Event(Envelope(f"bench/{offset}", "bench", at_ms), data))
            place = (RULE_INPUTS, 0, offset)
            records.append(Record(*place, at_ms, message.headers, message.body))
            offset += 1
        begun = time.perf_counter()
        tracked, _, _ = advance(processor, 0, tracked, records)
        took.append(time.perf_counter() - begun)
    return took[warm:]


def main(argv: list[str]) -> None:
    """Prints the median and the longest tick of each case, and series compared a second."""
    options = argparse.ArgumentParser(prog="bench alerts", description=__doc__)
    options.add_argument("--series", type=int, default=10_000)
    options.add_argument("--ticks", type=int, default=20)
    options.add_argument("--warm", type=int, default=62, help="ticks that fill the look-back")
    chosen = options.parse_args(argv)
    table = Table(title=f"{chosen.series:,} series, a sample each 10 s, a tick each 5 s")
    table.add_column("rules")
    for column in ("median ms", "longest ms", "rule-series/s"):
        table.add_column(column, justify="right")
    for name, (rules, each) in cases(chosen.series).items():
        took = tick_times(rules, chosen.series, chosen.ticks, chosen.warm)
        median = statistics.median(took)
        rate = len(rules) * each / median
        table.add_row(name, f"{median * 1e3:.1f}", f"{max(took) * 1e3:.1f}", f"{rate:,.0f}")
    Console().print(table)
