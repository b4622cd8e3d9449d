"""Range vectors cut into blocks that fit into a processor's cache, longest window first.

A function that must take a window's samples one after another takes the first of all windows of a
block, then the second of all that have one, and so on: the loop runs over the samples of a window,
numpy over the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from streams.promql.frames import Context, Flags, Floats, Ints, Windows
from streams.promql.limits import Budget

WINDOWS_PER_BLOCK = 8_192
SAMPLES_PER_BLOCK = 4_194_304
SAMPLES_PER_LOOK = 1_024
"""How often a loop over a window's samples asks whether the query is cancelled."""


@dataclass(frozen=True)
class Block:
    """Some windows (n), each with one sample at least, sorted by falling length."""

    windows: Windows
    cell: Ints
    """[n] Which window: series x steps + step."""
    begin: Ints
    """[n] The place of the first sample."""
    length: Ints
    """[n] How many samples."""
    budget: Budget

    @property
    def longest(self) -> int:
        """How many samples the longest window has."""
        return int(self.length[0])

    @property
    def step(self) -> Ints:
        """[n] The step that each window belongs to."""
        step: Ints = self.cell % self.windows.begin.shape[1]
        return step

    def values(self, nth: int) -> Floats:
        """The ``nth`` sample of each window that has one: the first windows of the block.

        Now and then `QueryCancelled`: a loop over one long window takes seconds.
        """
        if nth % SAMPLES_PER_LOOK == 0:
            self.budget.spend(0)
        return self.windows.value[self._places(nth)]

    def times_ms(self, nth: int) -> Ints:
        """The times of `values`."""
        return self.windows.at_ms[self._places(nth)]

    def table(self, fill: float) -> Floats:
        """[n, longest] The samples of each window in order, then ``fill``."""
        nth = np.arange(self.longest)
        places = self.begin[:, None] + nth
        within = nth < self.length[:, None]
        return np.where(within, self.windows.value[np.where(within, places, 0)], fill)

    def _places(self, nth: int) -> Ints:
        having = np.searchsorted(-self.length, -nth, side="left") if nth else len(self.length)
        return self.begin[:having] + nth


def over_blocks(
    windows: Windows,
    context: Context,
    compute: Callable[[Block], Floats],
    samples_min: int = 1,
) -> tuple[Floats, Flags]:
    """``compute`` for every window with at least ``samples_min`` samples; the others are absent.

    ``compute`` gets a block and gives one value for each of its windows. The work counted is one
    for each sample of each window, so overlapping windows count theirs again.
    """
    shape = windows.begin.shape
    value = np.zeros(shape)
    flat = value.reshape(-1)
    for block in blocks(windows, context, samples_min):
        flat[block.cell] = compute(block)
    return value, windows.end - windows.begin >= samples_min


def blocks(windows: Windows, context: Context, samples_min: int = 1) -> Iterator[Block]:
    """All windows with at least ``samples_min`` samples, each in one block."""
    begin = windows.begin.reshape(-1)
    length = windows.end.reshape(-1) - begin
    longest = int(length.max(initial=0))
    size = max(min(WINDOWS_PER_BLOCK, SAMPLES_PER_BLOCK // max(longest, 1)), 1)
    for start in range(0, len(length), size):
        some = length[start : start + size]
        order = np.argsort(-some, kind="stable")
        order = order[: np.count_nonzero(some >= max(samples_min, 1))]
        if not len(order):
            continue
        cell = order + start
        context.budget.spend(int(some[order].sum()))
        yield Block(windows, cell, begin[cell], length[cell], context.budget)
