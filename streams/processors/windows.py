"""Points to windows: `WindowClosed` when a tick's watermark passes, `WindowAmended` after that.

Samples are not folded as they come. They wait, as columns, until a tick's watermark (tick - grace)
passes their window; then all that wait for it are sorted and reduced at once. So the result does
not depend on how records were cut into steps, duplicates and disorder inside the grace are handled
exactly, and a late sample is folded at the next tick together with all others that are late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from streams.domain import windows
from streams.domain.repeats import Limits, Spans
from streams.domain.windows import Aggregates, Samples
from streams.errors import PoisonError
from streams.events.batch import Index, MetricBatch
from streams.events.catalogue import MetricsCollected, Ticked, WindowAmended, WindowClosed
from streams.events.codec import decode
from streams.events.rules import RuleCreated, RuleDeleted, RuleUpdated
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Record
from streams.processors import open_windows, pending, repeats
from streams.processors.deadletter import dead_letter
from streams.processors.open_windows import OpenWindows, Window
from streams.processors.pending import Chunk
from streams.processors.repeats import Repeats
from streams.processors.seam import Out, ReadBack, Step
from streams.processors.series_index import SeriesIndex

MARKS: Final = "marks"
READ_BACK_RECORDS: Final = 256

_NEVER = -(2**62)
_ALWAYS = 2**62


@dataclass(frozen=True, slots=True)
class Marks:
    """Where the folding stands; written when samples are folded: at ticks and on overflow.

    ``base_ms``: samples are reduced in windows of this size, which divides every size that is told.
    ``told_ms``: windows that end here or before were told, so more rows amend them. ``folded``: the
    offset of the record at which samples were folded last; every sample after it waits, of those
    before it only the ones whose base window ends after the watermark, and none lies before
    ``first_pending``. ``duplicates``: left out and not reported yet.
    """

    base_ms: int
    tick_ms: int | None = None
    watermark_ms: int = _NEVER
    told_ms: int = _NEVER
    folded: int = -1
    first_pending: int = 0
    duplicates: int = 0

    @property
    def reduced_below_ms(self) -> int:
        """Samples before this time belong to base windows that the watermark has passed."""
        return windows.window_start_ms(self.watermark_ms, self.base_ms)


@dataclass(frozen=True, slots=True)
class WindowsState:
    """What one partition has absorbed. ``index`` only grows and is shared with older states."""

    marks: Marks
    index: SeriesIndex
    chunks: tuple[Chunk, ...]
    open: OpenWindows
    index_max: int
    repeats: Repeats


@dataclass(frozen=True, slots=True)
class WindowsProcessor:
    """Tumbling windows of each size for every series. ``sizes_ms`` may change between runs.

    A size that is new begins with the samples that wait; one that is gone is dropped with its open
    windows. At most ``pending_points_max`` samples wait in a partition: when a record exceeds that,
    all are folded into open aggregates (the sums stay exact, but a duplicate of a sample that was
    folded before is not seen), and when these are as many, they are told before their time. At most
    ``idle_series_max`` series are kept in memory beside twice those in use.

    ``deduplicates``: for a log that cannot refuse a repeated request. Rows of a request that were
    absorbed before, by the record's header ``slices``, are left out and counted as duplicates,
    also after their windows were told, as far as ``remembers`` reaches. Never changed for a log.
    """

    sizes_ms: tuple[int, ...] = (60_000,)
    grace_ms: int = 30_000
    pending_points_max: int = 5_000_000
    idle_series_max: int = 65_536
    deduplicates: bool = False
    remembers: Limits = field(default_factory=Limits)
    name: str = field(default="windows", init=False)
    topic: str = field(default=POINTS, init=False)
    prompt: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        assert self.sizes_ms, "at least one window size"
        assert all(size > 0 for size in self.sizes_ms), "window sizes are above 0"

    def restore(self, table: Mapping[str, bytes], end: int, read_back: ReadBack) -> WindowsState:
        """The state at offset ``end``: waiting samples are read again from the log."""
        index = SeriesIndex()
        marks = Marks(base_ms=math.gcd(*self.sizes_ms))
        if MARKS in table:
            marks = msgspec.json.decode(table[MARKS], type=Marks)
        blocks = {k: v for k, v in table.items() if k != MARKS and not repeats.is_repeats(k)}
        again = Repeats()
        if self.deduplicates:
            again = repeats.stored({k: v for k, v in table.items() if repeats.is_repeats(k)})
        waiting = _Waiting(self, index, marks, again)
        for begin in range(marks.first_pending, end, READ_BACK_RECORDS):
            for record in read_back(begin, min(begin + READ_BACK_RECORDS, end)):
                waiting.read_again(record)
        # the new base divides the old one, so nothing that was reduced would still wait by it
        marks = replace(marks, base_ms=math.gcd(marks.base_ms, *self.sizes_ms))
        opened = open_windows.stored(index, blocks)
        chunks = tuple(waiting.chunks)
        return WindowsState(marks, index, chunks, opened, self.idle_series_max, waiting.repeats)

    def step(self, state: WindowsState, records: Sequence[Record]) -> Step[WindowsState]:
        """Folds the records; table values change only where one of them folds samples."""
        fold = _Fold(self, state)
        for record in records:
            fold.take(record)
        return fold.result()

    def newest_tick_ms(self, state: WindowsState) -> int | None:
        """The time of the newest tick absorbed."""
        return state.marks.tick_ms

    def due_ms(self, state: WindowsState) -> int | None:  # noqa: ARG002
        """None: the clock ticks in the points."""
        return None


class _Waiting:
    """The samples that wait, read again record by record."""

    def __init__(
        self, processor: WindowsProcessor, index: SeriesIndex, marks: Marks, again: Repeats
    ) -> None:
        self._processor = processor
        self._index = index
        self._marks = marks
        self._dropped = repeats.dropped_rows(again)
        self.repeats = again
        self.chunks: list[Chunk] = []

    def read_again(self, record: Record) -> None:
        try:
            data = decode(record.headers, record.body).data
        except PoisonError:
            return  # told as a dead letter when it was absorbed
        if not isinstance(data, MetricsCollected):
            return
        if record.offset > self._marks.folded:
            self.repeats, rows, _ = _repeated(self._processor, self.repeats, record, data.batch)
        else:
            rows = self._dropped.get(record.offset, ())
        chunk, left_out = pending.chunk_of(self._index, record, data.batch, rows)
        parts = [] if chunk is None else [chunk]
        if record.offset > self._marks.folded:
            self.repeats = repeats.count(self.repeats, left_out.repeats)
        else:
            parts = pending.split_due(parts, self._marks.reduced_below_ms)[1]
        self.chunks += parts


def _repeated(
    processor: WindowsProcessor, state: Repeats, record: Record, batch: MetricBatch
) -> tuple[Repeats, Spans, str]:
    """The rows of a record that came before, and a reason where nobody can tell."""
    if not processor.deduplicates:
        return state, (), ""
    try:
        return *repeats.absorb(state, record, batch, processor.remembers), ""
    except PoisonError as error:
        reason = f"{error}; its samples were taken, but repeats of its requests cannot be told"
        return state, (), reason


class _Fold:
    """One step in progress: copies of the state's collections, changed in place."""

    def __init__(self, processor: WindowsProcessor, state: WindowsState) -> None:
        self._processor = processor
        self._before = state
        self._index = state.index
        self._marks = state.marks
        self._chunks = list(state.chunks)
        self._points = sum(len(chunk.samples) for chunk in state.chunks)
        self._open = dict(state.open.rows)
        self._repeats = state.repeats
        self._repeats_at_fold = state.repeats
        self._touched: set[Window] = set()
        self._out: list[Out] = []

    def take(self, record: Record) -> None:
        """Absorbs one record."""
        try:
            data = decode(record.headers, record.body).data
        except PoisonError as error:
            self._out.append(dead_letter(record, str(error)))
            return
        match data:
            case MetricsCollected(batch):
                self._collect(record, batch)
            case Ticked(at_ms):
                self._tick(record, at_ms)
            case RuleCreated() | RuleUpdated() | RuleDeleted():
                pass  # for whoever routes samples to rules
            case _:
                reason = f"{record.headers['ce_type']} does not belong on {record.topic}"
                self._out.append(dead_letter(record, reason))

    def result(self) -> Step[WindowsState]:
        """The next state, and the table values of all that was touched."""
        if self._marks is self._before.marks:
            state = replace(self._before, chunks=tuple(self._chunks), repeats=self._repeats)
            return Step(state, {}, tuple(self._out))
        values, shards = open_windows.changes(
            self._index, self._open, self._before.open.shards, self._touched
        )
        state = replace(
            self._before,
            marks=self._marks,
            chunks=tuple(self._chunks),
            open=OpenWindows(self._open, shards),
            repeats=repeats.written(self._repeats, self._repeats_at_fold),
        )
        values |= repeats.changes(self._before.repeats, self._repeats_at_fold)
        values[MARKS] = msgspec.json.encode(self._marks)
        return Step(_compacted(state, self._processor.idle_series_max), values, tuple(self._out))

    def _collect(self, record: Record, batch: MetricBatch) -> None:
        self._repeats, rows, reason = _repeated(self._processor, self._repeats, record, batch)
        if reason:
            self._out.append(dead_letter(record, reason))
        chunk, left_out = pending.chunk_of(self._index, record, batch, rows)
        if left_out.outside:
            self._out.append(dead_letter(record, _outside(left_out.outside, len(batch))))
        self._repeats = repeats.count(self._repeats, left_out.repeats)
        if chunk is not None:
            self._chunks.append(chunk)
            self._points += len(chunk.samples)
        if self._points > self._processor.pending_points_max:
            self._overflow(record)

    def _tick(self, record: Record, at_ms: int) -> None:
        if not pending.in_time(at_ms, record):
            self._out.append(
                dead_letter(record, f"a tick at {at_ms} ms, far from its record's time")
            )
            return
        if self._marks.tick_ms is not None and at_ms <= self._marks.tick_ms:
            return
        # never back, also where the grace was made longer between runs
        watermark_ms = max(self._marks.watermark_ms, at_ms - self._processor.grace_ms)
        self._marks = replace(self._marks, tick_ms=at_ms, watermark_ms=watermark_ms)
        self._fold_before(record, self._marks.reduced_below_ms)
        self._marks = replace(self._marks, told_ms=max(self._marks.told_ms, watermark_ms))

    def _overflow(self, record: Record) -> None:
        self._fold_before(record, _ALWAYS)
        if sum(map(len, self._open.values())) <= self._processor.pending_points_max:
            return
        told_ms = self._marks.told_ms
        for window in sorted(self._open):
            self._tell(record, self._open.pop(window), window[0])
            self._touched.add(window)
            told_ms = max(told_ms, sum(window))
        self._marks = replace(self._marks, told_ms=told_ms)

    def _fold_before(self, record: Record, before_ms: int) -> None:
        """Reduces the waiting samples before this time, and merges them into every size."""
        due, self._chunks = pending.split_due(self._chunks, before_ms)
        samples = pending.joined(due)
        self._points -= len(samples)
        rows, duplicates = windows.reduce(
            samples, self._index.ranks(), self._index.observed(), self._marks.base_ms
        )
        self._marks = replace(
            self._marks,
            folded=record.offset,
            first_pending=self._chunks[0].offset if self._chunks else record.offset + 1,
            duplicates=self._marks.duplicates + duplicates + self._repeats.uncounted,
        )
        self._repeats = self._repeats_at_fold = repeats.folded(
            self._repeats, self._marks.first_pending, self._marks.reduced_below_ms
        )
        sizes = sorted(set(self._processor.sizes_ms))
        for window in [window for window in self._open if window[0] not in sizes]:
            del self._open[window]
            self._touched.add(window)
        for size_ms in sizes:
            self._merge(record, rows, size_ms)

    def _merge(self, record: Record, rows: Aggregates, size_ms: int) -> None:
        """Tells the windows that the watermark has passed; the others stay open."""
        watermark_ms = self._marks.watermark_ms
        starts = set(np.unique(rows.start_ms // size_ms * size_ms).tolist())
        concerned = sorted(
            (size, start)
            for size, start in self._open
            if size == size_ms and (start in starts or start + size <= watermark_ms)
        )
        if not concerned and not len(rows):
            return
        self._touched.update(concerned)
        parts = [self._open.pop(window) for window in concerned]
        merged = windows.merge(windows.concat([*parts, rows]), self._index.ranks(), size_ms)
        passed = int(np.searchsorted(merged.start_ms, watermark_ms - size_ms, side="right"))
        self._tell(record, merged.take(np.arange(passed)), size_ms)
        open_starts, begins = np.unique(merged.start_ms[passed:], return_index=True)
        edges = pairwise([*(passed + begins).tolist(), len(merged)])
        for start, (begin, end) in zip(open_starts.tolist(), edges, strict=True):
            self._open[size_ms, start] = merged.take(np.arange(begin, end))
            self._touched.add((size_ms, start))

    def _tell(self, record: Record, rows: Aggregates, size_ms: int) -> None:
        """Events of rows sorted by window: first those that amend, then those that close."""
        known = int(np.searchsorted(rows.start_ms, self._marks.told_ms - size_ms, side="right"))
        for kind, begin, end in ((WindowAmended, 0, known), (WindowClosed, known, len(rows))):
            part = rows.take(np.arange(begin, end))
            for batch in open_windows.batches(self._index, part, size_ms):
                data = kind(batch, self._marks.duplicates)
                self._marks = replace(self._marks, duplicates=0)
                self._out.append(Out(WINDOWS, data, record))


def _outside(samples: int, of: int) -> str:
    return (
        f"{samples} of {of} samples are over {pending.AHEAD_MS_MAX // 60_000} minutes ahead of the "
        "record's own time: they were not taken into windows, the others were"
    )


def _compacted(state: WindowsState, idle_max: int) -> WindowsState:
    """Forgets series that no state needs any more, once they may be more than those in use."""
    index = state.index
    if len(index) <= state.index_max:
        return state
    live = np.zeros(len(index), dtype=np.bool_)
    for chunk in state.chunks:
        live[chunk.samples.series] = True
    for rows in state.open.rows.values():
        live[rows.series] = True
    kept = np.flatnonzero(live)
    index_max = 2 * len(kept) + idle_max
    if len(index) <= index_max:
        return replace(state, index_max=index_max)
    fresh = SeriesIndex()
    moved = np.zeros(len(index), dtype=np.int32)
    moved[kept] = fresh.resolve(*index.dictionary(kept.astype(np.int32)))
    return replace(
        state,
        index=fresh,
        index_max=index_max,
        chunks=tuple(_renumbered(chunk, moved) for chunk in state.chunks),
        open=replace(
            state.open,
            rows={
                window: replace(rows, series=moved[rows.series])
                for window, rows in state.open.rows.items()
            },
        ),
    )


def _renumbered(chunk: Chunk, moved: Index) -> Chunk:
    samples = chunk.samples
    return replace(chunk, samples=Samples(moved[samples.series], samples.at_ms, samples.value))
