"""Series in numbered groups, laid out so that numpy reduces all groups at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from streams.promql.frames import Flags, Ints
from streams.promql.labelsets import per_group


@dataclass(frozen=True)
class Groups:
    """``ids[s]`` is the group of series ``s``; each of ``count`` groups has a series at least."""

    ids: Ints
    count: int

    @cached_property
    def order(self) -> Ints:
        """The series by group, within a group in their own order."""
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def size(self) -> Ints:
        """[G] Series in each group."""
        return np.bincount(self.ids, minlength=self.count).astype(np.int64)

    @cached_property
    def start(self) -> Ints:
        """[G] Where each group begins in `order`."""
        return np.cumsum(self.size) - self.size

    def counts(self, present: Flags) -> Ints:
        """[G, T] How many series of each group have a value."""
        return per_group(present, self.ids, self.count)

    def by_size(self) -> Iterator[tuple[Ints, Ints]]:
        """Groups of equal size together: their numbers [g], and their series [g, size]."""
        for size in np.unique(self.size):
            some = np.flatnonzero(self.size == size)
            yield some, self.order[self.start[some][:, None] + np.arange(size)]
