"""The export query: samples in rows, sorted by series text and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from projections.answers import Exported, Selection
from projections.matching import Matched, match_series
from projections.reading import Reader
from streams.errors import InputError
from streams.events.labels import NAME

BATCH_ROWS = 50_000

_EXPORT = """
    SELECT rank, at_ms, value FROM points JOIN chosen USING (series_id)
    WHERE at_ms BETWEEN $start_ms AND $end_ms AND value IS NOT NULL
    ORDER BY rank, at_ms LIMIT $limit"""


def export(
    reader: Reader, selection: Selection, metrics: tuple[str, ...] | None, row_limit: int
) -> Exported:
    """See `projections.queries.Queries.export`.

    The rows are read here (20 bytes each), so nothing of the reader is used afterwards and a slow
    client holds nobody up; text is joined batch by batch.
    """
    if metrics is not None and selection.metric is not None:
        raise InputError("either one metric or a list of metrics can be exported, not both")
    names = (selection.metric,) if selection.metric is not None else metrics
    matched = match_series(reader.series, names, selection.matchers)
    texts = [reader.series.texts[number] for number in matched.ids]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    chosen = pa.table(
        {
            "series_id": pa.array([matched.ids[i] for i in order], pa.int32()),
            "rank": np.arange(len(order), dtype=np.int32),
        }
    )
    params = {
        "start_ms": selection.start_ms,
        "end_ms": selection.end_ms,
        "limit": row_limit + 1,
    }
    rows = reader.table(_EXPORT, params, chosen=chosen)
    kept = rows.slice(0, row_limit)
    columns = _dictionaries(reader, matched, order)
    return Exported(kept.num_rows, rows.num_rows > row_limit, _batches(kept, columns))


def _dictionaries(reader: Reader, matched: Matched, order: Sequence[int]) -> dict[str, Any]:
    """The text columns by rank."""
    known, ids = reader.series, [matched.ids[i] for i in order]
    return {
        "name": pa.array([matched.labels[i][NAME] for i in order], pa.utf8()),
        "labels": pa.array([known.texts[number] for number in ids], pa.utf8()),
        "type": pa.array([known.types[number] for number in ids], pa.utf8()),
        "unit": pa.array([known.units[number] for number in ids], pa.utf8()),
    }


def _batches(rows: Any, columns: dict[str, Any]) -> Iterator[Any]:
    for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
        used, index = np.unique(batch.column("rank").to_numpy(), return_inverse=True)
        indices = pa.array(index.astype(np.int32))
        encoded = {
            name: pa.DictionaryArray.from_arrays(indices, column.take(pa.array(used)))
            for name, column in columns.items()
        }
        yield pa.RecordBatch.from_pydict(
            {**encoded, "at_ms": batch.column("at_ms"), "value": batch.column("value")}
        )
