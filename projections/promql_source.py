"""`ProjectionSource`: the samples that PromQL selects, from one snapshot of the DuckDB file."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from projections.duck_file import point_columns
from projections.reading import Reader
from projections.series import SeriesTable
from streams.events.batch import Index
from streams.events.labels import NAME
from streams.promql.frames import Flags, Floats, Ints, Labels
from streams.promql.matchers import Matcher, matches
from streams.promql.source import Selected

_SAMPLES = """
    SELECT series_id, at_ms, value FROM {points}
    WHERE at_ms BETWEEN $start_ms AND $end_ms AND series_id BETWEEN $first AND $last
    LIMIT $limit"""
_OF_A_RUN = _SAMPLES.format(points="points")
"""Of all series between two: half as dear as a join."""
_OF_CHOSEN = _SAMPLES.format(points="points JOIN chosen USING (series_id)")

Ranks = npt.NDArray[np.integer[Any]]
"""The place of a series by its labels."""

_decode = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """Some series by their labels."""

    used: Index
    """Ascending."""
    ids: Index
    """The same by labels."""
    labels: tuple[Labels, ...]
    rank: Ranks
    """By id."""


class ProjectionSource:
    """A `streams.promql.source.DivisibleSource`: every select of it sees the same samples.

    What DuckDB and the reader's deadline raise goes through (see `projections.reading.reading`).
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known = reader.series
        # The mirror grows meanwhile. An id is entered into `ids` last, so these are whole.
        self._size = len(self._known.ids)
        # A range comes in parts, which mean the same series.
        self._meant: dict[tuple[Matcher, ...], Index] = {}
        self._labels: dict[int, Labels] = {}
        self._orders: dict[tuple[Matcher, ...], _Order] = {}
        self._share = (0, 1)

    def share(self, number: int, shares: int) -> ProjectionSource:
        """See `streams.promql.source.DivisibleSource`: series of neighbouring ids."""
        one = copy(self)
        one._meant, one._orders, one._share = {}, {}, (number, shares)
        return one

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        """Series without samples in the range are left out. At most ``samples_max`` + 1 samples are
        read into memory."""
        meant = tuple(matchers)
        if meant not in self._meant:
            number, shares = self._share
            self._meant[meant] = np.array_split(self.matching(matchers), shares)[number]
        ids = self._meant[meant]
        if not len(ids):
            return Selected((), np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0))
        first, last = int(ids[0]), int(ids[-1])
        limits = {"start_ms": start_ms, "end_ms": end_ms, "first": first, "last": last}
        limits["limit"] = samples_max + 1
        if last - first + 1 == len(ids):
            rows = self._reader.table(_OF_A_RUN, limits)
        else:
            rows = self._reader.table(_OF_CHOSEN, limits, chosen=pa.table({"series_id": ids}))
        if rows.num_rows > samples_max:
            return None
        return self._selected(meant, *point_columns(rows))

    def matching(self, matchers: Sequence[Matcher]) -> Index:
        """The ids of the series for which every matcher holds, ascending.

        `QueryError` for a pattern that RE2 refuses, whatever series there are.
        """
        of_names = [one for one in matchers if one.name == NAME]
        others = [one for one in matchers if one.name != NAME]
        ids = _named(self._known, of_names) if of_names else np.arange(self._size, dtype=np.int32)
        ids = ids[ids < self._size]
        if not others:
            return ids
        return self._known.meant(tuple(matchers), len(ids), lambda: self._matching(ids, others))

    def _matching(self, ids: Index, matchers: Sequence[Matcher]) -> Index:
        labels = [_decode(self._known.texts[number]) for number in ids.tolist()]
        kept: Flags = np.ones(len(ids), dtype=np.bool_)
        for matcher in matchers:
            kept &= _holds(matcher, [one.get(matcher.name, "") for one in labels])
        return ids[kept]

    def labels(self, ids: Index) -> list[Labels]:
        """The labels of these series, in their order."""
        known = self._labels
        for number in ids.tolist():
            if number not in known:
                # The text's keys are sorted (`streams.events.labels`), as they are to be here.
                known[number] = tuple(_decode(self._known.texts[number]).items())
        return [known[number] for number in ids.tolist()]

    def _selected(
        self, meant: tuple[Matcher, ...], series: Index, at_ms: Ints, value: Floats
    ) -> Selected:
        counts = np.bincount(series, minlength=self._size)
        used = np.flatnonzero(counts).astype(np.int32)
        order = self._orders.get(meant)
        if order is None or not np.array_equal(order.used, used):
            order = self._orders[meant] = self._ordered(used)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts[order.ids])))
        columns = _by_series_and_time(order.rank[series], at_ms, value, offsets)
        return Selected(order.labels, offsets, *columns)

    def _ordered(self, used: Index) -> _Order:
        labels = self.labels(used)
        by_labels = sorted(range(len(used)), key=labels.__getitem__)
        ids = used[np.array(by_labels, dtype=np.int64)]
        rank: Ranks = np.zeros(self._size, dtype=np.uint16 if len(used) < 2**16 else np.int32)
        rank[ids] = np.arange(len(ids))
        return _Order(used, ids, tuple(labels[row] for row in by_labels), rank)


def _named(known: SeriesTable, of_names: Sequence[Matcher]) -> Index:
    names = known.names()
    kept: Flags = np.ones(len(names), dtype=np.bool_)
    for matcher in of_names:
        kept &= _holds(matcher, names)
    ids = [number for row in np.flatnonzero(kept).tolist() for number in known.named(names[row])]
    return np.array(sorted(ids), dtype=np.int32)


def _holds(matcher: Matcher, values: Sequence[str]) -> Flags:
    """`matches`, each distinct value asked once."""
    codes = {value: code for code, value in enumerate(dict.fromkeys(("", *values)))}
    found = matches(matcher, list(codes))
    rows = np.fromiter((codes[value] for value in values), dtype=np.int64, count=len(values))
    return found[rows]


def _by_series_and_time(
    rank: Ranks, at_ms: Ints, value: Floats, offsets: Ints
) -> tuple[Ints, Floats]:
    """Times and values by rank, then time. Nearly always the rows of a series were stored in the
    order of time, so that ordering by rank is enough: for 16 bits linear in the rows."""
    order = np.argsort(rank, kind="stable")
    ordered_ms = at_ms[order]
    rises = ordered_ms[1:] > ordered_ms[:-1]
    rises[offsets[1:-1] - 1] = True  # the next series begins
    if not rises.all():
        order = np.lexsort((at_ms, rank))
        ordered_ms = at_ms[order]
    return ordered_ms, value[order]
