"""The series of one exported Arrow batch, each once, and which row belongs to which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True, eq=False)
class SeriesColumns:
    """``labels[i]``, ``names[i]`` … of the batch's series i; ``row[r]`` is the series of row r."""

    labels: list[str]
    names: list[str]
    types: list[str]
    units: list[str]
    row: npt.NDArray[np.intp]


def series_columns(batch: Any) -> SeriesColumns:
    """Of a batch with ``labels``, ``name``, ``type``, ``unit``: plain or dictionary-encoded text.

    Costs what the batch's own series cost, however large a dictionary it shares with others.
    """
    labels = batch["labels"]
    if not pa.types.is_dictionary(labels.type):
        labels = labels.dictionary_encode()
    indices = labels.indices.to_numpy(zero_copy_only=False)
    _, first, row = np.unique(indices, return_index=True, return_inverse=True)
    at = pa.array(first)
    names, types, units = (batch[name].take(at).to_pylist() for name in ("name", "type", "unit"))
    return SeriesColumns(labels.take(at).to_pylist(), names, types, units, row)
