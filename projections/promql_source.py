"""`ProjectionSource`: the samples that PromQL selects, from one snapshot of the DuckDB file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from projections.duck_file import point_columns
from projections.reading import Reader
from projections.series import SeriesTable
from streams.errors import QueryTooLarge
from streams.events.batch import Index
from streams.events.labels import NAME
from streams.promql.frames import Flags, Floats, Ints, Labels
from streams.promql.matchers import Matcher, matches
from streams.promql.source import Selected

_SAMPLES = """
    SELECT series_id, at_ms, value FROM points JOIN chosen USING (series_id)
    WHERE at_ms BETWEEN $start_ms AND $end_ms LIMIT $limit"""

Ranks = npt.NDArray[np.integer[Any]]
"""The place of a series by its labels."""

_decode = msgspec.json.Decoder(dict[str, str]).decode


class ProjectionSource:
    """A `streams.promql.source.SeriesSource`: every select of it sees the same samples.

    What DuckDB and the reader's deadline raise goes through (see `projections.reading.reading`).
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known = reader.series
        # The mirror grows meanwhile. An id is entered into `ids` last, so these are whole.
        self._size = len(self._known.ids)

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected:
        """Series without samples in the range are left out. At most ``samples_max`` + 1 samples are
        read into memory."""
        ids = self.matching(matchers)
        rows = self._reader.table(
            _SAMPLES,
            {"start_ms": start_ms, "end_ms": end_ms, "limit": samples_max + 1},
            chosen=pa.table({"series_id": ids}),
        )
        if rows.num_rows > samples_max:
            raise QueryTooLarge(
                f"the query reads more than {samples_max} samples: "
                "ask for fewer series or a shorter range"
            )
        series, at_ms, value = point_columns(rows)
        return self._selected(series, at_ms, value)

    def matching(self, matchers: Sequence[Matcher]) -> Index:
        """The ids of the series for which every matcher holds, ascending.

        `QueryError` for a pattern that RE2 refuses, whatever series there are.
        """
        of_names = [one for one in matchers if one.name == NAME]
        others = [one for one in matchers if one.name != NAME]
        ids = _named(self._known, of_names) if of_names else np.arange(self._size, dtype=np.int32)
        ids = ids[ids < self._size]
        labels = [_decode(self._known.texts[number]) for number in ids.tolist()] if others else []
        kept: Flags = np.ones(len(ids), dtype=np.bool_)
        for matcher in others:
            kept &= _holds(matcher, [one.get(matcher.name, "") for one in labels])
        return ids[kept]

    def labels(self, ids: Index) -> list[Labels]:
        """The labels of these series, in their order."""
        # The texts' keys are sorted (`streams.events.labels`), as they are to be here.
        return [tuple(_decode(self._known.texts[number]).items()) for number in ids.tolist()]

    def _selected(self, series: Index, at_ms: Ints, value: Floats) -> Selected:
        counts = np.bincount(series, minlength=self._size)
        used = np.flatnonzero(counts).astype(np.int32)
        labels = self.labels(used)
        by_labels = sorted(range(len(used)), key=labels.__getitem__)
        ordered = used[np.array(by_labels, dtype=np.int64)]
        rank: Ranks = np.zeros(self._size, dtype=np.uint16 if len(used) < 2**16 else np.int32)
        rank[ordered] = np.arange(len(ordered))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts[ordered])))
        order = _by_series_and_time(rank[series], at_ms, offsets)
        return Selected(
            tuple(labels[row] for row in by_labels), offsets, at_ms[order], value[order]
        )


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


def _by_series_and_time(rank: Ranks, at_ms: Ints, offsets: Ints) -> Ints:
    """The order of the rows by rank, then time. Nearly always the rows of a series were stored in
    the order of time, so that ordering by rank is enough: for 16 bits linear in the rows."""
    order = np.argsort(rank, kind="stable")
    falls = np.flatnonzero(np.diff(at_ms[order]) <= 0) + 1
    if np.isin(falls, offsets).all():
        return order
    return np.lexsort((at_ms, rank))
