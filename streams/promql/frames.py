"""What the evaluation passes around: arrays over series (S) and steps (T).

An expression is evaluated for all steps at once. Its value is one of

    Frame         an instant vector at each step
    Windows       a range vector at each step
    ScalarSteps   a scalar at each step
    str           a string literal

Labels are tuples of (name, value), sorted by name, ``__name__`` among them, none with an empty
value. Times are milliseconds since the epoch. Values are never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.promql.limits import Budget

Labels = tuple[tuple[str, str], ...]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Steps:
    """The times of evaluation, ascending and evenly spaced; an instant query has one."""

    at_ms: Ints
    """[T]"""
    lookback_ms: int = 300_000
    """How old the newest sample of an instant vector may be; exactly this old is too old."""


@dataclass(frozen=True)
class Frame:
    """An instant vector at each step: series ``s`` has ``value[s, t]`` where ``present[s, t]``.

    Where ``present`` is False the value means nothing. Labels are distinct. The order of the
    series is part of the value: `sort` sets it, an instant query returns it.
    """

    labels: tuple[Labels, ...]
    value: Floats
    """[S, T]"""
    present: Flags
    """[S, T]"""


@dataclass(frozen=True)
class ScalarSteps:
    """A scalar at each step; NaN is a value."""

    value: Floats
    """[T]"""


@dataclass(frozen=True)
class Windows:
    """A range vector at each step.

    The samples of all series lie one after another, ascending in time within each series, stale
    markers removed. The window of series ``s`` at step ``t`` is ``begin[s, t]`` to ``end[s, t]``
    (exclusive); it may be empty. Both never fall along ``t``.
    """

    labels: tuple[Labels, ...]
    at_ms: Ints
    """[N]"""
    value: Floats
    """[N]"""
    begin: Ints
    """[S, T]"""
    end: Ints
    """[S, T]"""
    start_ms: Ints
    """[T], exclusive; ``offset`` and ``@`` are applied"""
    stop_ms: Ints
    """[T], inclusive"""
    range_ms: int


@dataclass
class Annotations:
    """What a query says beside its values: each sentence once, in the order of arising."""

    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Something is probably wrong with the result, such as a quantile outside of [0, 1]."""
        self.warnings[text] = None

    def info(self, text: str) -> None:
        """Something may be wrong, such as a rate of what is not named like a counter."""
        self.infos[text] = None


@dataclass(frozen=True)
class Context:
    """What a function may use beside its arguments."""

    steps: Steps
    annotations: Annotations
    budget: Budget
    pinned: Labels = ()
    """For `absent` only: the labels that the argument's selector fixes by ``=``."""


RangeFunction = Callable[[Windows, Sequence[Floats], Context], tuple[Floats, Flags]]
"""(windows, the scalar arguments in their order, each [T]) -> (value [S, T], present [S, T])"""

Argument = Frame | ScalarSteps | str
VectorFunction = Callable[[Sequence[Argument], Context], Frame | ScalarSteps]
"""It drops ``__name__`` itself where Prometheus does (`unnamed`)."""


@dataclass(frozen=True)
class Entry:
    """A function over range vectors and whether its result loses ``__name__``."""

    fn: RangeFunction
    drops_name: bool = True


METADATA = frozenset({"__name__", "__type__", "__unit__"})


def unnamed(labels: Labels) -> Labels:
    """Without the metric's name (and the type and unit that go with it in Prometheus 3).

    >>> unnamed((("__name__", "up"), ("job", "a")))
    (('job', 'a'),)
    """
    return tuple(pair for pair in labels if pair[0] not in METADATA)
