"""The windows processor again, as plain loops over single samples: what the tests compare with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import msgspec

from streams.domain.sketch import INFINITE_BIN
from streams.events.batch import OBSERVATIONS


@dataclass(frozen=True)
class Row:
    count: int
    sum: float
    min: float
    max: float
    first: float
    last: float
    first_ms: int
    last_ms: int
    increase: float
    bins: dict[int, int]


def aggregate(samples: Iterable[tuple[int, float]], observed: bool) -> Row:
    """One row from (time, value) pairs without duplicates, in any order."""
    ordered = sorted(samples, key=lambda sample: sample[0])
    values = [value for _, value in ordered]
    total, increase = 0.0, 0.0
    bins: dict[int, int] = {}
    for value in values:
        total += value
        if observed and not math.isnan(value):
            bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    for before, after in pairwise(values):
        increase += rise(before, after)
    numbers = [value + 0.0 for value in values if not math.isnan(value)]
    return Row(
        count=len(values),
        sum=total,
        min=min(numbers, default=math.nan),
        max=max(numbers, default=math.nan),
        first=values[0],
        last=values[-1],
        first_ms=ordered[0][0],
        last_ms=ordered[-1][0],
        increase=increase,
        bins=dict(sorted(bins.items())),
    )


def merged(rows: Sequence[Row]) -> Row:
    """Rows of one series and window, those told earlier first."""
    result = rows[0]
    for row in rows[1:]:
        result = _both(result, row)
    return result


def _both(a: Row, b: Row) -> Row:
    early, late = (b, a) if b.first_ms < a.first_ms else (a, b)
    newest = b if b.last_ms > a.last_ms else a
    if early.last_ms < late.first_ms:
        increase = a.increase + b.increase + rise(early.last, late.first)
    elif math.isnan(a.increase) or math.isnan(b.increase):
        increase = math.nan
    else:
        increase = max(a.increase, b.increase)
    numbers = [v for row in (a, b) for v in (row.min, row.max) if not math.isnan(v)]
    return Row(
        count=a.count + b.count,
        sum=a.sum + b.sum,
        min=min(numbers, default=math.nan),
        max=max(numbers, default=math.nan),
        first=early.first,
        last=newest.last,
        first_ms=early.first_ms,
        last_ms=newest.last_ms,
        increase=increase,
        bins={
            bin_: a.bins.get(bin_, 0) + b.bins.get(bin_, 0) for bin_ in sorted({*a.bins, *b.bins})
        },
    )


def rise(before: float, after: float) -> float:
    return after if after < before else after - before


def bin_of(value: float) -> int:
    if value < 0:
        return -bin_of(-value)
    if math.isinf(value):
        return INFINITE_BIN
    mantissa, exponent = math.frexp(value)
    if value == 0 or exponent < -127:
        return 0
    if exponent > 128:
        return INFINITE_BIN
    return (exponent + 127) * 64 + int((mantissa - 0.5) * 128) + 1


def same(a: Any, b: Any) -> bool:
    """Equal, where NaN equals NaN and 0.0 does not equal -0.0."""
    return repr(a) == repr(b)


@dataclass(frozen=True)
class Told:
    """One row of one event."""

    kind: str
    size_ms: int
    start_ms: int
    labels: str
    type: str
    row: Row


@dataclass
class Model:
    """Feeds of samples and ticks; ``told`` collects the rows that events must have."""

    sizes_ms: tuple[int, ...]
    grace_ms: int
    pending_max: int
    told: list[Told] = field(default_factory=list)
    duplicates: int = 0
    _tick_ms: int | None = None
    _watermark_ms: float = -math.inf
    _told_ms: float = -math.inf
    _waiting: list[tuple[str, str, int, float]] = field(default_factory=list)
    _open: dict[tuple[int, int, str], tuple[str, Row]] = field(default_factory=dict)

    def samples(self, samples: Iterable[tuple[str, str, int, float]]) -> None:
        """(labels, type, time, value) of one record, without staleness markers."""
        self._waiting += samples
        if len(self._waiting) > self.pending_max:
            self._fold(math.inf)
            if len(self._open) > self.pending_max:
                every = sorted((size, start, labels) for size, start, labels in self._open)
                for size, start in sorted({(size, start) for size, start, _ in every}):
                    self._tell(size, [key for key in every if key[:2] == (size, start)])
                # only then: a window of another size that ends earlier was not told either
                ends = (size + start for size, start, _ in every)
                self._told_ms = max(self._told_ms, *ends)

    def tick(self, at_ms: int) -> None:
        if self._tick_ms is not None and at_ms <= self._tick_ms:
            return
        self._tick_ms = at_ms
        self._watermark_ms = max(self._watermark_ms, at_ms - self.grace_ms)
        base_ms = math.gcd(*self.sizes_ms)
        self._fold(self._watermark_ms // base_ms * base_ms)
        self._told_ms = max(self._told_ms, self._watermark_ms)

    def _fold(self, before_ms: float) -> None:
        due = [sample for sample in self._waiting if sample[2] < before_ms]
        self._waiting = [sample for sample in self._waiting if sample[2] >= before_ms]
        base_ms = math.gcd(*self.sizes_ms)
        unique: dict[tuple[str, int], tuple[str, float]] = {}
        for labels, type_, at_ms, value in due:
            unique.setdefault((labels, at_ms), (type_, value))
        self.duplicates += len(due) - len(unique)
        groups: dict[tuple[int, str], list[tuple[int, str, float]]] = {}
        for (labels, at_ms), (type_, value) in unique.items():
            key = (at_ms // base_ms * base_ms, labels)
            groups.setdefault(key, []).append((at_ms, type_, value))
        for size_ms in sorted(set(self.sizes_ms)):
            for (start_ms, labels), group in sorted(groups.items()):
                self._merge(size_ms, start_ms // size_ms * size_ms, labels, group)
            passed = [
                key
                for key in self._open
                if key[0] == size_ms and key[1] + size_ms <= self._watermark_ms
            ]
            self._tell(size_ms, sorted(passed))

    def _merge(
        self, size_ms: int, start_ms: int, labels: str, group: list[tuple[int, str, float]]
    ) -> None:
        newest_ms, type_, _ = max(group, key=lambda sample: sample[0])
        row = aggregate([(at, v) for at, _, v in group], False)
        seen = [(at, v) for at, t, v in group if t in OBSERVATIONS]
        if seen:
            row = replace(row, bins=aggregate(seen, True).bins)
        key = (size_ms, start_ms, labels)
        if key in self._open:
            type_before, before = self._open[key]
            type_ = type_ if newest_ms > before.last_ms else type_before
            row = merged([before, row])
        self._open[key] = (type_, row)

    def _tell(self, size_ms: int, keys: list[tuple[int, int, str]]) -> None:
        amends = [key for key in keys if key[1] + size_ms <= self._told_ms]
        closes = [key for key in keys if key[1] + size_ms > self._told_ms]
        for kind, group in (("WindowAmended", amends), ("WindowClosed", closes)):
            for key in group:
                type_, row = self._open.pop(key)
                self.told.append(Told(kind, size_ms, key[1], key[2], type_, row))


def labels_of(name: str) -> str:
    return msgspec.json.encode({"__name__": name}).decode()
