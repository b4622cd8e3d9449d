"""Records to rows: what a run of records adds to the read model, as columns. Pure.

`fold` reads the mirror of what is stored and changes nothing; `projections.duck` writes its
`Change` and then lets the mirrors absorb it. Of two samples of one series with the same time the
first in log order wins. Nearly all samples are newer than everything that their series has, so they
cannot be duplicates; the others are suspects, to be compared with the stored points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from projections.alert_rows import AlertRows
from projections.health_rows import CHECKS_BLOCK, HealthRows
from projections.requests import Requests, fresh_of
from projections.samples import Flags, Rows, equal_but_for_bits, one_nan, sort_out
from projections.series import NewSeries, SeriesTable, new_series
from projections.source import Partition
from streams.domain.repeats import Seen
from streams.errors import PoisonError, ProjectionError
from streams.events.batch import Floats, Index, Ints, MetricBatch
from streams.events.catalogue import Event, MetricsCollected, WindowAmended, WindowClosed
from streams.events.codec import decode
from streams.events.slices import SLICES_HEADER
from streams.events.topics import ALERTS, HEALTH_RESULTS
from streams.events.window import WindowBatch, window_table
from streams.log.protocol import Record
from streams.processors.outputs import (
    Maker,
    Marks,
    Output,
    is_repeat,
    missing_before,
    output_of,
)

WINDOW_WEIGHT = 6
"""A window's row takes the memory of so many samples."""

_Sight = tuple[bool, int, tuple[str, ...], tuple[str, ...]]
_Seen = tuple[tuple[tuple[str, ...], ...], Index]
_SEEN_MAX = 64


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a partition is absorbed: the next offset, and of the last record its checksum and
    when it was appended."""

    next_offset: int
    checksum: bytes
    appended_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Samples in log order, by series id. ``sure``: certainly no duplicates. ``newest``: the rows
    that are now the newest of their series, one a series. ``flipped``: the series whose newest
    value changes from 0.0 to -0.0 or back, which DuckDB's UPDATE takes for no change."""

    series: Index
    at_ms: Ints
    value: Floats
    sure: Flags
    newest: Rows
    flipped: Index

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a run of records adds.

    ``reached``, ``marks``, ``requests``: all of them after it. ``first_id``: the id of the first of
    ``added``. ``restated``: type and unit by id. ``windows``: rows as the ``windows`` table has
    them; ``alerts``, ``health``: those of their tables. ``checks_before``: by partition of
    ``health.results`` the offset before which rows of checks are to be thinned out. ``repeats``:
    outputs left out, since they were absorbed before; ``again``: samples left out, as their
    requests were.
    """

    reached: Mapping[Partition, Reached]
    marks: Marks
    requests: Requests | None
    first_id: int
    added: tuple[NewSeries, ...]
    restated: Mapping[int, tuple[str, str]]
    points: Points
    windows: tuple[Any, ...]
    alerts: AlertRows
    health: HealthRows
    checks_before: Mapping[int, int]
    records: int
    poison: int
    repeats: int
    again: int


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A record and what it says, or why nobody can tell."""

    record: Record
    event: Event | PoisonError

    @property
    def weight(self) -> int:
        """Its rows in memory, in samples."""
        match self.event:
            case Event(_, MetricsCollected(batch)):
                return len(batch)
            case Event(_, WindowClosed(windows, _) | WindowAmended(windows, _)):
                return WINDOW_WEIGHT * len(windows)
            case _:
                return 0


def decode_record(record: Record) -> Decoded:
    """Never raises for what the record holds."""
    try:
        return Decoded(record, decode(record.headers, record.body))
    except PoisonError as error:
        return Decoded(record, error)


@dataclass(slots=True)
class _Run:
    """The fold in progress: ids given out here are not in the mirror yet."""

    known: SeriesTable
    requests: dict[int, Seen] | None
    again: int = 0
    ids: dict[str, int] = field(default_factory=dict)
    added: list[NewSeries] = field(default_factory=list)
    restated: dict[int, tuple[str, str]] = field(default_factory=dict)
    points: list[tuple[Index, Ints, Floats]] = field(default_factory=list)
    windows: list[Any] = field(default_factory=list)
    seen: dict[_Sight, _Seen] = field(default_factory=dict)
    alerts: AlertRows = field(default_factory=AlertRows)
    health: HealthRows = field(default_factory=HealthRows)


def fold(
    known: SeriesTable,
    reached: Mapping[Partition, Reached],
    marks: Marks,
    requests: Requests | None,
    records: Iterator[Decoded],
    *,
    gapless: bool,
    points_max: int,
    note_poison: Callable[[Record, PoisonError], None],
) -> Change:
    """The change that ``records`` make, up to the record that reaches ``points_max`` samples; the
    rest stays in the iterator.

    Records below their partition's position were absorbed before and are skipped. Raises
    `ProjectionError` for a record above it where the log is ``gapless``, and for an output whose
    predecessor was not absorbed: something in between was lost. A poison record and a repeated
    output move the position and add nothing. ``requests``: what was absorbed of them; None where
    the log itself refuses repeats, so that nobody has to look.
    """
    run = _Run(known, None if requests is None else dict(requests))
    after: dict[Partition, Record] = {}
    marks_after: dict[Maker, int] = dict(marks)
    taken = poison = repeats = weight = 0
    for one in records:
        record = one.record
        place = (record.topic, record.partition)
        expected = _expected(after.get(place), reached.get(place))
        if record.offset < expected:
            continue
        if record.offset > expected and gapless:
            raise ProjectionError(
                f"{record.topic}/{record.partition}: got offset {record.offset}, expected "
                f"{expected}; records in between are missing from what was read"
            )
        output = _output(record)
        if output is not None and is_repeat(marks_after, output):
            repeats += 1
        else:
            if output is not None and (problem := missing_before(marks_after, output)):
                raise ProjectionError(problem)
            try:
                _absorb(run, one)
            except PoisonError as error:
                poison += 1
                note_poison(record, error)
            if output is not None:
                marks_after[output.maker] = output.number
        after[place] = record
        taken += 1
        weight += one.weight
        if weight >= points_max:
            break
    return Change(
        reached={**reached, **{place: mark(record) for place, record in after.items()}},
        marks=marks_after,
        requests=run.requests,
        first_id=len(known),
        added=tuple(run.added),
        restated=run.restated,
        points=_points(run),
        windows=tuple(run.windows),
        alerts=run.alerts,
        health=run.health,
        checks_before=_checks_before(after, reached),
        records=taken,
        poison=poison,
        repeats=repeats,
        again=run.again,
    )


def mark(record: Record) -> Reached:
    """The position after a record, with a checksum by which another log's record is told apart."""
    digest = blake2b(record.body, digest_size=16)
    for name, value in sorted(record.headers.items()):
        digest.update(f"{name}\0{value}\0".encode())
    return Reached(record.offset + 1, digest.digest(), record.at_ms)


def _checks_before(
    after: Mapping[Partition, Record], reached: Mapping[Partition, Reached]
) -> dict[int, int]:
    """For each block of offsets that came to its end. What is left then follows from the position
    alone, however the records are cut into runs."""
    found = {}
    for (topic, partition), last in after.items():
        if topic == HEALTH_RESULTS:
            end = (last.offset + 1) // CHECKS_BLOCK * CHECKS_BLOCK
            if end > _expected(None, reached.get((topic, partition))):
                found[partition] = end
    return found


def _output(record: Record) -> Output | None:
    """A processor tells of health in several partitions, each with its own order: so the mark of a
    maker is one for each of them."""
    output = output_of(record)
    if output is None or record.topic != HEALTH_RESULTS:
        return output
    name, partition = output.maker
    maker = (f"{name}>{record.topic}/{record.partition}", partition)
    return Output(maker, output.number, output.previous)


def _expected(last: Record | None, reached: Reached | None) -> int:
    if last is not None:
        return last.offset + 1
    return reached.next_offset if reached is not None else 0


def _absorb(run: _Run, one: Decoded) -> None:
    match one.event:
        case PoisonError():
            raise one.event
        case Event() if one.record.topic == ALERTS:  # facts about rules lie among the points, too
            run.alerts.absorb(one.record.offset, one.event)
        case Event() if one.record.topic == HEALTH_RESULTS:
            run.health.absorb(one.record.partition, one.record.offset, one.event)
        case Event(_, MetricsCollected(batch)):
            _collect(run, one.record, batch)
        case Event(_, WindowClosed(windows, _) | WindowAmended(windows, _)):
            ids = _intern(run, windows, restate=False)
            run.windows.append(_window_rows(windows, ids, one.record.offset))
        case _:
            pass


def _collect(run: _Run, record: Record, batch: MetricBatch) -> None:
    again, seen = 0, None
    if run.requests is not None and SLICES_HEADER in record.headers:
        batch, again, seen = fresh_of(run.requests, record, batch)
    ids = _intern(run, batch, restate=True)
    run.points.append((ids[batch.series], batch.at_ms, batch.value))
    if run.requests is not None and seen is not None:  # the rows could be absorbed
        run.requests[record.partition] = seen
        run.again += again


def _intern(run: _Run, batch: MetricBatch | WindowBatch, *, restate: bool) -> Index:
    """The id of each entry of ``batch.labels``.

    Only samples restate type and unit: a window repeats what was known when it closed, and the two
    topics are read at different speeds.
    """
    sight = (restate, len(batch.labels), batch.labels[:1], batch.labels[-1:])
    seen = run.seen.get(sight)
    if seen is not None and seen[0] == (batch.labels, batch.types, batch.units):
        return seen[1]
    ids = _look_up(run, batch, restate=restate)
    if len(run.seen) >= _SEEN_MAX:
        run.seen.clear()
    run.seen[sight] = (batch.labels, batch.types, batch.units), ids
    return ids


def _look_up(run: _Run, batch: MetricBatch | WindowBatch, *, restate: bool) -> Index:
    known = run.known.ids
    numbers = [known.get(text, -1) for text in batch.labels]
    ids = np.array(numbers, dtype=np.int32)
    missing = np.flatnonzero(ids < 0)
    if len(missing):
        _number(run, batch, ids, missing)
    if restate and len(ids):
        _restate(run, batch, ids)
    return ids


def _number(run: _Run, batch: MetricBatch | WindowBatch, ids: Index, missing: Rows) -> None:
    fresh: dict[str, NewSeries] = {}
    for i in missing:
        text = batch.labels[i]
        if text not in run.ids and text not in fresh:
            fresh[text] = new_series(text, batch.types[i], batch.units[i])
    for text, one in fresh.items():  # all of them can be read: only now is anything changed
        run.ids[text] = len(run.known) + len(run.added)
        run.added.append(one)
    ids[missing] = [run.ids[batch.labels[i]] for i in missing]


def _restate(run: _Run, batch: MetricBatch | WindowBatch, ids: Index) -> None:
    first_new = len(run.known)
    old = ids < first_new
    if not run.restated and len(ids) > 1 and old.all():
        get = itemgetter(*ids.tolist())
        if get(run.known.types) == batch.types and get(run.known.units) == batch.units:
            return
    for i, number in enumerate(ids.tolist()):
        told = (batch.types[i], batch.units[i])
        if old[i]:
            was = (run.known.types[number], run.known.units[number])
            if told != run.restated.get(number, was):
                run.restated[number] = told
                run.seen.clear()
        elif told != (run.added[number - first_new].type, run.added[number - first_new].unit):
            run.seen.clear()
            one = run.added[number - first_new]
            run.added[number - first_new] = NewSeries(one.text, one.name, one.labels, *told)


def _window_rows(windows: WindowBatch, ids: Index, segment: int) -> Any:
    table = window_table(windows)
    size = len(windows)
    columns = {
        "series_id": pa.array(ids, pa.int32()),
        "size_ms": pa.array(np.full(size, windows.size_ms, dtype=np.int64)),
        "start_ms": table.column("start_ms"),
        "segment": pa.array(np.full(size, segment, dtype=np.int64)),
    }
    for name in table.schema.names[table.schema.names.index("count") :]:
        column = table.column(name)
        if pa.types.is_floating(column.type):
            column = pa.array(one_nan(column.to_numpy()))
        columns[name] = column
    return pa.RecordBatch.from_pydict(columns)


def _points(run: _Run) -> Points:
    if not run.points:
        none = np.empty(0, dtype=np.int64)
        ids = none.astype(np.int32)
        return Points(ids, none, none.astype(np.float64), none > 0, none, ids)
    if len(run.points) == 1:
        series, at_ms, value = run.points[0]
    else:
        series = np.concatenate([one[0] for one in run.points])
        at_ms = np.concatenate([one[1] for one in run.points])
        value = np.concatenate([one[2] for one in run.points])
    value = one_nan(value)
    newest_before = run.known.newest(len(run.known) + len(run.added))
    sure, newest = sort_out(series, at_ms, newest_before)
    ids = series[newest]
    old = ids < len(run.known)
    flips = equal_but_for_bits(run.known.values()[ids[old]], value[newest][old])
    return Points(series, at_ms, value, sure, newest, ids[old][flips])
