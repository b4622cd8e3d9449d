"""Arrow batches as the export query gives them, made by hand or by Hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from streams.events.labels import series_text


@dataclass(frozen=True)
class Row:
    name: str
    tags: tuple[tuple[str, str], ...]
    type: str
    unit: str
    at_ms: int
    value: float

    @property
    def labels(self) -> str:
        return series_text(self.name, dict(self.tags))


def batches(rows: Sequence[Row], size: int = 7) -> list[Any]:
    """Ordered by series, then time; cut anywhere; text dictionary-encoded."""
    ordered = sorted(rows, key=lambda row: (row.labels, row.at_ms))
    return [_batch(ordered[i : i + size]) for i in range(0, len(ordered), size)]


def _batch(rows: Sequence[Row]) -> Any:
    columns = {
        name: pa.array([getattr(row, name) for row in rows], pa.utf8()).dictionary_encode()
        for name in ("name", "labels", "type", "unit")
    }
    return pa.RecordBatch.from_pydict(
        {
            **columns,
            "at_ms": pa.array([row.at_ms for row in rows], pa.int64()),
            "value": np.array([row.value for row in rows], dtype=np.float64),
        }
    )


TEXT = st.text(
    st.characters(codec="utf-8") | st.sampled_from(list('\\,= "\n\r\t{}#_\x00é日aZ09:.')),
    min_size=1,
    max_size=8,
)
TYPES = st.sampled_from(["counter", "gauge", "histogram", "summary"])
TIMES = st.integers(1_000_000_000_000, 2_000_000_000_000)
_SERIES = st.tuples(
    TEXT, st.dictionaries(TEXT, TEXT, max_size=3), TYPES, st.sampled_from(["", "s"])
)


@st.composite
def row_lists(draw: Any) -> list[Row]:
    """Up to six series, each with one type and unit, and up to five times each."""
    series = draw(st.lists(_SERIES, max_size=6, unique_by=lambda s: series_text(s[0], s[1])))
    rows = []
    for name, tags, kind, unit in series:
        for at_ms in draw(st.lists(TIMES, min_size=1, max_size=5, unique=True)):
            value = draw(st.floats() | st.integers(-9, 9).map(float))
            rows.append(Row(name, tuple(sorted(tags.items())), kind, unit, at_ms, value))
    return rows
