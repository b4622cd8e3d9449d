"""What a rule's expressions give at each tick of a block of time; pure, over a `SeriesSource`.

A block is evaluated as a range, which gives at each step what an instant evaluation gives there (to
the last bits of sums). Where it cannot be (the expression asks for the query's own times, or it
cannot be evaluated at some step), each tick is evaluated alone, as it is live.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np

from streams.domain.alert_memory import SAME_LABELS, Reading, Values
from streams.domain.rule_reading import Compiled, values_at
from streams.errors import QueryCancelled, QueryError, QueryTooLarge
from streams.promql.evaluation import QUERY_FACTS, Run, evaluate
from streams.promql.frames import (
    Annotations,
    Context,
    Flags,
    Frame,
    Ints,
    Labels,
    ScalarSteps,
    Steps,
    unnamed,
)
from streams.promql.limits import Budget, Limits
from streams.promql.matchers import Matcher
from streams.promql.source import Selected, SeriesSource
from streams.promql.syntax import Call, Expression, Selector, Subquery, children

LIMITS: Final = Limits(samples_max=20_000_000, cells_max=5_000_000)
"""The engine's, with less memory: the smallest block that a look-back allows must fit."""

Cancelled = Callable[[], bool]


class Ticks(Protocol):
    """What one expression gives at each tick."""

    @property
    def changes(self) -> Sequence[int]:
        """Ascending: at which it has other series than at the tick before, or other failures; the
        first tick is one."""
        ...

    def at(self, index: int) -> Values:
        """By series, without the metric's name; `QueryError` where it cannot be evaluated."""
        ...


class Block:
    """A rule's expressions at the ticks ``at_ms``; all but the condition only once asked for.

    `QueryTooLarge` where so many ticks are too many at once, `QueryCancelled`.
    """

    def __init__(
        self,
        rule: Compiled,
        source: SeriesSource,
        at_ms: Ints,
        cancelled: Cancelled,
        *,
        small: bool,
    ) -> None:
        """``small``: at most ``part_max`` samples may be held (`TooLargeAtOnce`)."""
        self.at_ms = at_ms
        self._rule = rule
        self._source = ReadOnce(source)
        self._cancelled = cancelled
        self.fullness = 0.0
        """The most that an expression held, as a share of ``part_max``."""
        self._condition = self._ticks(rule.condition, small=small)

    @property
    def oldest_ms(self) -> int | None:
        """Of the samples that were read; None: there were none."""
        return self._source.oldest_ms

    def reading(self, index: int) -> Reading:
        """As `streams.domain.rule_reading.reading`."""
        return Reading(
            self._condition.at(index), lambda: self._told(index), lambda: self._clears(index)
        )

    def next_change(self, index: int, *, whole: bool) -> int:
        """The first tick after ``index`` at which other series are read; the block's length for
        none. ``whole``: not of the condition alone, of what else a rule reads, too."""
        ticks = [self._condition]
        if whole:
            ticks += [self._present, *([] if self._clear is None else [self._clear])]
        return min(_after(one.changes, index, len(self.at_ms)) for one in ticks)

    def _told(self, index: int) -> Values | None:
        present = self._present
        try:
            return present.at(index)
        except QueryError:
            return None  # nobody can tell

    def _clears(self, index: int) -> Values | tuple[()]:
        return () if self._clear is None else self._clear.at(index)

    @cached_property
    def _present(self) -> Ticks:
        return self._ticks(self._rule.present, small=False)

    @cached_property
    def _clear(self) -> Ticks | None:
        return None if self._rule.clear is None else self._ticks(self._rule.clear, small=False)

    def _ticks(self, node: Expression, *, small: bool) -> Ticks:
        if not _needs_instants(node):
            budget = Budget(LIMITS, self._cancelled)
            budget.begin(small=small)
            try:
                ticks = _range(node, self._source, self.at_ms, budget)
            except (QueryTooLarge, QueryCancelled):
                raise
            except QueryError:
                pass  # perhaps not at every tick
            else:
                self.fullness = max(self.fullness, budget.fullness)
                return ticks
        return Instants(node, self._source, self.at_ms, self._cancelled)


class Ranged:
    """From a range: ``value[s, t]`` of series ``s`` where ``present[s, t]``."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._series = [unnamed(labels) for labels in frame.labels]
        self._unique = len(set(self._series)) == len(self._series)
        present = frame.present
        turns = np.ones(present.shape[1], np.bool_)
        turns[1:] = (present[:, 1:] != present[:, :-1]).any(axis=0)
        self.changes: list[int] = np.flatnonzero(turns).tolist()

    def at(self, index: int) -> Values:
        """See `Ticks`."""
        rows = np.flatnonzero(self._frame.present[:, index])
        series = [self._series[row] for row in rows.tolist()]
        values = dict(zip(series, self._frame.value[rows, index].tolist(), strict=True))
        if not self._unique and len(values) != len(series):
            raise QueryError(SAME_LABELS)
        return values


class Instants:
    """Each tick evaluated alone."""

    def __init__(
        self, node: Expression, source: SeriesSource, at_ms: Ints, cancelled: Cancelled
    ) -> None:
        self._found: list[Values | QueryError] = []
        for now_ms in at_ms.tolist():
            if cancelled():
                raise QueryCancelled("the backtest was cancelled")
            try:
                self._found.append(values_at(node, _Until(source, now_ms), now_ms))
            except QueryError as error:
                self._found.append(error)
        shown = [_shown(one) for one in self._found]
        self.changes = [i for i, one in enumerate(shown) if not i or one != shown[i - 1]]

    def at(self, index: int) -> Values:
        """See `Ticks`."""
        found = self._found[index]
        if isinstance(found, QueryError):
            raise found
        return found


@dataclass(frozen=True)
class _Read:
    start_ms: int
    end_ms: int
    selected: Selected


class ReadOnce:
    """A source of which nothing is read twice that was read in a longer span before."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source
        self._read: dict[tuple[Matcher, ...], _Read] = {}
        self.oldest_ms: int | None = None

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        """See `SeriesSource`."""
        meant = tuple(matchers)
        known = self._read.get(meant)
        if known is None or start_ms < known.start_ms or end_ms > known.end_ms:
            selected = self._source.select(matchers, start_ms, end_ms, samples_max)
            if selected is None:
                return None
            if len(selected.at_ms):
                oldest_ms = int(selected.at_ms.min())
                self.oldest_ms = min(oldest_ms, self.oldest_ms or oldest_ms)
            self._read[meant] = known = _Read(start_ms, end_ms, selected)
        selected = known.selected
        if (start_ms, end_ms) != (known.start_ms, known.end_ms):
            selected = _between(selected, start_ms, end_ms)
        return selected if len(selected.at_ms) <= samples_max else None


@dataclass(frozen=True)
class _Until:
    """A source as it was at a time: what would lie ahead of it is not there yet."""

    source: SeriesSource
    now_ms: int

    def select(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, samples_max: int
    ) -> Selected | None:
        return self.source.select(matchers, start_ms, min(end_ms, self.now_ms), samples_max)


def _range(node: Expression, source: SeriesSource, at_ms: Ints, budget: Budget) -> Ranged:
    context = Context(Steps(at_ms, LIMITS.lookback_ms), Annotations(), budget)
    first, last = int(at_ms[0]), int(at_ms[-1])
    step_ms = (last - first) // max(len(at_ms) - 1, 1)
    match evaluate(node, Run(source, first, last, step_ms, context)):
        case Frame() as frame:
            return Ranged(frame)
        case ScalarSteps(value=value):
            present: Flags = np.ones((1, len(at_ms)), np.bool_)
            return Ranged(Frame(((),), value[None], present))
        case _:
            raise QueryError("a rule's expression is neither an instant vector nor a scalar")


def _needs_instants(node: Expression) -> bool:
    """Whether it asks for the times of the query, or for what lies ahead of a step."""
    match node:
        case Call(name=name) if name in QUERY_FACTS:
            return True
        case Selector(offset_ms=offset_ms, at=at) | Subquery(offset_ms=offset_ms, at=at) if (
            offset_ms < 0 or at is not None
        ):
            return True
        case _:
            return any(map(_needs_instants, children(node)))


def _between(selected: Selected, start_ms: int, end_ms: int) -> Selected:
    inside = (selected.at_ms >= start_ms) & (selected.at_ms <= end_ms)
    kept = np.concatenate((np.zeros(1, np.int64), np.cumsum(inside, dtype=np.int64)))
    offsets: Ints = kept[selected.offsets]
    return Selected(selected.labels, offsets, selected.at_ms[inside], selected.value[inside])


def _shown(found: Values | QueryError) -> frozenset[Labels] | str:
    return str(found) if isinstance(found, QueryError) else frozenset(found)


def _after(changes: Sequence[int], index: int, end: int) -> int:
    place = bisect_right(changes, index)
    return changes[place] if place < len(changes) else end
