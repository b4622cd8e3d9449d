"""Mergeable sketches of observations: counts in bins that follow from the value alone.

Every octave ``[2**(e-1), 2**e)`` is cut into 64 equal bins, as in HdrHistogram
(https://hdrhistogram.org) and, with equal instead of geometric cuts, in OpenTelemetry's base-2
exponential histogram at scale 6. A bin is the leading bits of the IEEE 754 double (its exponent and
six bits of its fraction), so there is no logarithm whose last bit could differ between machines.

A bin's value is the harmonic mean of its bounds ``l < u``; the relative error of any observation in
it is at most ``(u - l) / (u + l) <= 1/129``. Covered magnitudes: ``2**-128`` to ``2**128``, which
is more than 32-bit floats have. Smaller ones count as zero, larger ones as infinite, so a sketch
has at most 32,771 bins, whatever it is fed. Merging adds counts: exact, associative, commutative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.events.batch import Floats, Ints

SUB_BINS = 64
EXPONENT_MIN = -127
EXPONENT_MAX = 128
INFINITE_BIN = (EXPONENT_MAX - EXPONENT_MIN + 1) * SUB_BINS + 1
BINS_MAX = 2 * INFINITE_BIN + 1

_FRACTION_BITS_CUT = 52 - 6
_BIN_0 = (EXPONENT_MIN + 1_022) * SUB_BINS - 1
_KEY_BITS = 16
"""Enough for any bin, counted from the lowest."""


def bins_of(values: Floats) -> Ints:
    """The bin of each value: rising with the value, 0 for zero, negated for negative values.

    NaN has no bin: leave it out before.

    >>> bins_of(np.array([-1.0, 0.0, 1.0, 1.5, np.inf])).tolist()
    [-8193, 0, 8193, 8225, 16385]
    """
    leading = np.abs(values).view(np.int64) >> _FRACTION_BITS_CUT
    bins: Ints = np.clip(leading - _BIN_0, 0, INFINITE_BIN)
    return np.where(values < 0, -bins, bins)


def values_of(bins: Ints) -> Floats:
    """The value that stands for each bin; within 1/129 of every observation in it.

    >>> values_of(np.array([-16385, 0])).tolist()
    [-inf, 0.0]
    """
    octave, sub = np.divmod(np.abs(bins) - 1, SUB_BINS)
    low = 0.5 + sub / (2 * SUB_BINS)
    high = low + 1 / (2 * SUB_BINS)
    size = np.ldexp(2 * low * high / (low + high), (octave + EXPONENT_MIN).astype(np.int32))
    size[bins == 0] = 0.0
    size[np.abs(bins) >= INFINITE_BIN] = np.inf
    return np.where(bins < 0, -size, size)


def merge(a: tuple[Ints, Ints], b: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """The sketch (bins, rising, and their counts) of the observations of both."""
    bins, place = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    counts = np.zeros(len(bins), dtype=np.int64)
    np.add.at(counts, place, np.concatenate([a[1], b[1]]))
    return bins, counts


def quantile(bins: Ints, counts: Ints, q: float) -> float:
    """The value at rank ``ceil(q * n)`` of the n observations, at least the first, within 1/129.

    ``bins`` rise. NaN where there are no observations or ``q`` is NaN; ``q`` below 0 or above 1
    gives -Inf or +Inf, as Prometheus' ``histogram_quantile`` does.

    >>> sketched = bins_of(np.arange(1.0, 101.0))
    >>> round(quantile(sketched, np.ones(100, dtype=np.int64), 0.5), 1)
    50.2
    """
    total = int(counts.sum())
    if total == 0 or math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    rank = max(1, math.ceil(q * total))
    place = int(np.searchsorted(np.cumsum(counts), rank))
    return float(values_of(bins[place : place + 1])[0])


@dataclass(frozen=True, slots=True, eq=False)
class Sketches:
    """One sketch a row: that of row i is ``bins[offsets[i]:offsets[i + 1]]``, rising, with their
    ``counts``; ``offsets`` has one entry more than there are rows."""

    offsets: Ints
    bins: Ints
    counts: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row_of_entry(self) -> Ints:
        """For each entry of ``bins`` the row that it belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, rows: npt.NDArray[np.intp]) -> Sketches:
        """The sketches of these rows, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = _offsets(lengths)
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Sketches(offsets, self.bins[entries], self.counts[entries])


def no_sketches(rows: int) -> Sketches:
    """Empty sketches for so many rows."""
    none = np.zeros(0, dtype=np.int64)
    return Sketches(np.zeros(rows + 1, dtype=np.int64), none, none)


def concat(parts: Sequence[Sketches]) -> Sketches:
    """The rows of all parts, one after another."""
    return Sketches(
        _offsets(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.bins for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def count(row: Ints, bins: Ints, rows: int) -> Sketches:
    """Sketches of ``rows`` rows from the bins of single observations, in any order."""
    keys = np.sort(row << _KEY_BITS | (bins + INFINITE_BIN))
    new = _first_of_each(keys)
    keys, counts = keys[new], np.diff(new, append=len(keys))
    return Sketches(
        _offsets(np.bincount(keys >> _KEY_BITS, minlength=rows)),
        (keys & (2**_KEY_BITS - 1)) - INFINITE_BIN,
        counts.astype(np.int64),
    )


def collect(row: Ints, entries: Sketches, rows: int) -> Sketches:
    """Sketches of ``rows`` rows: entry i goes to ``row[i]``, where entries of one bin add up."""
    if not len(entries.bins):
        return no_sketches(rows)
    keys = row << _KEY_BITS | (entries.bins + INFINITE_BIN)
    order = np.argsort(keys, kind="stable")
    new = _first_of_each(keys[order])
    chosen = order[new]
    return Sketches(
        _offsets(np.bincount(row[chosen], minlength=rows)),
        entries.bins[chosen],
        np.add.reduceat(entries.counts[order], new),
    )


def _first_of_each(ordered: Ints) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])


def _offsets(lengths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
