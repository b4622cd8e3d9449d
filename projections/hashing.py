"""Multiset hashes of tables: equal for equal rows in any order, without surrogate ids.

Each canonical row gets two 64-bit hashes (SplitMix64 chained over its cells, text by BLAKE2b); a
table's hash is their sums modulo 2^64 and the number of rows. A sum, not an exclusive or: a row
that stands twice must show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_SEEDS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)


@dataclass(frozen=True, slots=True)
class TableHash:
    """Rows and the sums of their two hashes. ``+`` joins disjoint parts of one table.

    >>> TableHash() + TableHash(1, 2, 2**64 - 1) + TableHash(1, 3, 1)
    TableHash(rows=2, left=5, right=0)
    """

    rows: int = 0
    left: int = 0
    right: int = 0

    def __add__(self, other: TableHash) -> TableHash:
        return TableHash(
            self.rows + other.rows,
            (self.left + other.left) % 2**64,
            (self.right + other.right) % 2**64,
        )

    def __str__(self) -> str:
        return f"{self.left:016x}{self.right:016x} ({self.rows} rows)"


def hash_rows(cells: Sequence[Words], texts: Sequence[tuple[Words, Words]]) -> TableHash:
    """The hash of rows given as columns: text cells (see `text_words`) first, then words."""
    left, right = (_lane(seed, i, cells, texts) for i, seed in enumerate(_SEEDS))
    return TableHash(len(left), int(left.sum(dtype=np.uint64)), int(right.sum(dtype=np.uint64)))


def text_words(texts: Iterable[str]) -> tuple[Words, Words]:
    """Two words a text."""
    return digest_words(blake2b(text.encode(), digest_size=16).digest() for text in texts)


def digest_words(digests: Iterable[bytes]) -> tuple[Words, Words]:
    """The two words of each digest of 16 bytes."""
    words = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


def words(column: npt.NDArray[Any]) -> Words:
    """The bits of 64-bit numbers; smaller integers are widened."""
    if column.dtype != np.float64:
        column = column.astype(np.int64, copy=False)
    return np.ascontiguousarray(column).view(np.uint64)


def list_words(offsets: npt.NDArray[Any], *columns: npt.NDArray[Any]) -> Words:
    """One word for each list: of its elements (given by parallel columns) in their order."""
    sizes = np.diff(offsets)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(int(offsets[0]), int(offsets[-1])) - np.repeat(offsets[:-1], sizes)
    each = mix(words(place))
    for column in columns:
        each = mix(each ^ words(column))
    total = np.zeros(len(sizes), dtype=np.uint64)
    np.add.at(total, rows, each)
    return total


def mix(word: Words) -> Words:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def _lane(
    seed: int, lane: int, cells: Sequence[Words], texts: Sequence[tuple[Words, Words]]
) -> Words:
    columns = [pair[lane] for pair in texts] + list(cells)
    state = np.full(len(columns[0]), seed, dtype=np.uint64)
    for column in columns:
        state = mix(state ^ column)
    return state
