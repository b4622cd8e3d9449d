"""Windows: points per CPU second of one core, from encoded records to encoded window events."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from streams.events.batch import MetricBatch
from streams.events.catalogue import Envelope, Event, MetricsCollected
from streams.events.codec import encode
from streams.log.protocol import Message, Record
from streams.processors.clock import tick_entries
from streams.processors.seam import advance, restore
from streams.processors.windows import WindowsProcessor

BEGIN_MS = 1_700_000_000_000 // 60_000 * 60_000
GOAL = 3_000_000
SERIES = 10_000
TICK_MS = 5_000


def main(argv: list[str]) -> None:
    """``python -m bench runner [SCRAPES]``: hundreds of scrapes to fold, 2 unless told; best of
    three runs."""
    scrapes = 100 * (int(argv[0]) if argv else 2)
    table = Table(title=f"windows, {SERIES:,} series, records of 30,000 points")
    for column in ("series are", "sizes", "scrape", "points", "Mpoints/s", f"goal {GOAL:,}"):
        table.add_column(column, justify="right")
    for kind in ("gauge", "histogram"):
        for sizes_s, every_s in (((60,), 1), ((60,), 10), ((60, 3_600), 10)):
            records, points = _records(kind, every_s, scrapes)
            speed = points / min(_seconds(records, sizes_s) for _ in range(3))
            reached = "reached" if speed >= GOAL else "missed"
            sizes = ", ".join(f"{size} s" for size in sizes_s)
            figures = (f"{every_s} s", f"{points:,}", f"{speed / 1e6:.2f}", reached)
            table.add_row(kind, sizes, *figures)
    Console().print(table)


def _seconds(records: list[Record], sizes_s: tuple[int, ...]) -> float:
    processor = WindowsProcessor(sizes_ms=tuple(size * 1_000 for size in sizes_s))
    tracked = restore(processor, {}, lambda _begin, _end: [])
    began = time.process_time()
    for first in range(0, len(records), 64):
        tracked, _, _ = advance(processor, 0, tracked, records[first : first + 64])
    return time.process_time() - began


def _records(kind: str, every_s: int, scrapes: int) -> tuple[list[Record], int]:
    """Three scrapes of all series a record, and the ticks between them."""
    rng = np.random.default_rng(1)
    labels = tuple(
        f'{{"__name__":"cpu_usage_user","host":"host_{i}","region":"eu-central-1","source":"b"}}'
        for i in range(SERIES)
    )
    records: list[Record] = []
    tick_ms = BEGIN_MS
    for i in range(scrapes // 3):
        times = BEGIN_MS + (i * 3 + np.arange(3)) * every_s * 1_000
        batch = MetricBatch(
            labels=labels,
            types=(kind,) * SERIES,
            units=("percent",) * SERIES,
            series=np.tile(np.arange(SERIES, dtype=np.int32), 3),
            at_ms=np.repeat(times, SERIES),
            value=rng.uniform(0, 100, SERIES * 3).round(2),
        )
        now_ms = int(times[-1])
        event = Event(Envelope(f"bench/{i}", "bench", now_ms), MetricsCollected(batch))
        records.append(_record(len(records), now_ms, encode(event)))
        while tick_ms + TICK_MS <= now_ms:
            tick_ms += TICK_MS
            (entry,) = tick_entries(1, tick_ms)
            records.append(_record(len(records), now_ms, entry.message))
    return records, scrapes // 3 * 3 * SERIES


def _record(offset: int, at_ms: int, message: Message) -> Record:
    return Record("metrics.points", 0, offset, at_ms, message.headers, message.body)
