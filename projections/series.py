"""`SeriesTable`: the series of a file in memory, with the newest sample of each.

A mirror: it is loaded from the file, and changed only after the transaction that holds the change
has committed. Other threads may read it while it grows; what they see is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from streams.errors import PoisonError
from streams.events.batch import Floats, Index, Ints
from streams.events.labels import SOURCE, parse_series, series_text

NEVER = int(np.iinfo(np.int64).min)
"""The newest time of a series without samples."""


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A series seen for the first time; ``type`` and ``unit`` as first told."""

    text: str
    name: str
    labels: dict[str, str]
    type: str
    unit: str

    @property
    def source(self) -> str:
        return self.labels.get(SOURCE, "")


def new_series(text: str, metric_type: str, unit: str) -> NewSeries:
    """`PoisonError` where the text is not canonical: two texts could then name one series."""
    try:
        name, labels = parse_series(text)
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonError(f"label text {text[:80]!r} is not an object of strings") from error
    if series_text(name, labels) != text:
        raise PoisonError(f"label text {text[:80]!r} is not canonical")
    return NewSeries(text, name, labels, metric_type, unit)


MEANT_MAX = 256
MEANT_IDS_MAX = 10_000
"""Of one selector: all together take 10 MB at most."""


class SeriesTable:
    """Series by id (0, 1, …): text, name, type, unit, and time and value of the newest sample."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.types: list[str] = []
        self.units: list[str] = []
        self.ids: dict[str, int] = {}
        self._by_name: dict[str, list[int]] = {}
        self._newest = np.full(1024, NEVER, dtype=np.int64)
        self._values = np.zeros(1024, dtype=np.float64)
        self.newest_ms = NEVER
        """The newest time of all."""
        self._meant: dict[Hashable, Index] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def newest(self, size: int) -> Ints:
        """Newest sample times by id, `NEVER` up to ``size``, which may be past the known ids."""
        self._grow(size)
        return self._newest[:size]

    def values(self) -> Floats:
        """Values of the newest samples by id; meaningless where there is none."""
        return self._values[: len(self.texts)]

    def names(self) -> Sequence[str]:
        """Every metric name, in the order of first sight."""
        return list(self._by_name)

    def named(self, name: str) -> Sequence[int]:
        """The ids of the series of one metric, ascending."""
        return list(self._by_name.get(name, ()))

    def meant(self, selector: Hashable, among: int, find: Callable[[], Index]) -> Index:
        """What ``find`` finds for a selector ``among`` so many series, remembered: a dashboard asks
        the same again and again, and series are never taken away."""
        key = (selector, among)
        known = self._meant.get(key)
        if known is None:
            known = find()
            if len(self._meant) >= MEANT_MAX:
                self._meant = {}
            if len(known) <= MEANT_IDS_MAX:
                self._meant[key] = known
        return known

    def add(self, many: Iterable[NewSeries]) -> None:
        """Appends series; the first gets the id ``len(self)``."""
        for one in many:
            number = len(self.texts)
            self.types.append(one.type)
            self.units.append(one.unit)
            self.texts.append(one.text)
            self._by_name.setdefault(one.name, []).append(number)
            self.ids[one.text] = number
        self._grow(len(self.texts))

    def restate(self, series: int, metric_type: str, unit: str) -> None:
        """The last statement about type and unit holds."""
        self.types[series] = metric_type
        self.units[series] = unit

    def set_latest(self, series: Index | Ints, at_ms: Ints, value: Floats) -> None:
        """Each id at most once."""
        self._newest[series] = at_ms
        self._values[series] = value
        if len(at_ms):
            self.newest_ms = max(self.newest_ms, int(at_ms.max()))

    def _grow(self, size: int) -> None:
        if size <= len(self._newest):
            return
        room = max(size, 2 * len(self._newest))
        newest = np.full(room, NEVER, dtype=np.int64)
        newest[: len(self._newest)] = self._newest
        values = np.zeros(room, dtype=np.float64)
        values[: len(self._values)] = self._values
        self._newest, self._values = newest, values
