"""The course of a rule over a range of time: block by block, tick by tick where something changes.

A tick at which a rule reads the same series as at the one before, and no time is up, changes
nothing that the next one would not: such ticks are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from projections.alert_answers import SilenceTold
from projections.backtest_block import LIMITS, Block, Cancelled
from projections.backtest_report import FIRINGS_KEPT_MAX, Backtest, Firing
from projections.backtest_tally import Tally, difference
from projections.backtest_told import Told
from streams.domain import alert_states
from streams.domain.alert_memory import Alerts, Reading, due_ms
from streams.domain.alert_routing import Routing
from streams.domain.rule_reading import compiled
from streams.errors import QueryCancelled, QueryError, QueryTooLarge, TooLargeAtOnce
from streams.events.rules import Rule
from streams.promql.frames import Ints
from streams.promql.source import SeriesSource
from streams.promql.step_parts import GROWTH_MAX, reach

FIRST_TICKS: Final = 256
TICKS_MAX: Final = 16_384
"""Of a block, however few samples there are: progress is told and cancellation heard so often."""

OpenSource = Callable[[], AbstractContextManager[SeriesSource]]
Progress = Callable[[float], None]
"""Takes the share that is done, from 0 to 1."""


class Course:
    """A rule that begins without alerts at the first of the ticks ``at_ms``, evenly spaced."""

    def __init__(
        self, rule: Rule, at_ms: Ints, routing: Routing, silences: Sequence[SilenceTold]
    ) -> None:
        """`QueryError` for expressions that are none."""
        self._rule = msgspec.structs.replace(rule, enabled=True)
        self._compiled = compiled(self._rule)
        self._at_ms = at_ms
        self._step_ms = int(at_ms[1] - at_ms[0]) if len(at_ms) > 1 else 1
        parts = (self._compiled.condition, self._compiled.present, self._compiled.clear)
        reach_ms = max(reach(node, LIMITS.lookback_ms) for node in parts if node is not None)
        # a look-back is read again with each block, so a block spans twice that at least
        self._least = max(2 * reach_ms // self._step_ms, 2)
        self._done = 0
        self._alerts = Alerts()
        self._tally = Tally(rule.name)
        self._told = Told(self._rule, routing, silences, int(at_ms[0]))
        self._failed = 0
        self._problem = ""
        self._oldest_ms: int | None = None

    def run(self, source: OpenSource, progress: Progress, cancelled: Cancelled) -> None:
        """To the last tick, or until it is cancelled; ``source`` is opened anew for each block.

        `QueryTooLarge` where a look-back alone has too many samples.
        """
        size = max(FIRST_TICKS, self._least)
        while self._done < len(self._at_ms) and not cancelled():
            progress(self._done / len(self._at_ms))
            begin = self._done
            at_ms = self._at_ms[begin : begin + size]
            small = len(at_ms) > self._least
            try:
                with source() as samples:
                    block = Block(self._compiled, samples, at_ms, cancelled, small=small)
                    self._live(block)
            except TooLargeAtOnce:
                if not small:
                    raise
                size = max(len(at_ms) // 4, self._least)
                continue
            except QueryCancelled:
                return
            self._done = begin + len(at_ms)
            growth = min(0.9 / max(block.fullness, 0.01), GROWTH_MAX)
            size = min(max(int(len(at_ms) * growth), self._least), TICKS_MAX)
        progress(1.0)

    def result(self, range_ms: tuple[int, int], happened: Sequence[Firing]) -> Backtest:
        """What came of it. ``happened``: the firings that overlap the range, by beginning, the
        first `FIRINGS_KEPT_MAX` of them."""
        start_ms, end_ms = range_ms
        done = self._done == len(self._at_ms)
        until_ms = end_ms if done else int(self._at_ms[max(self._done - 1, 0)])
        tally = self._tally
        kept, compared_ms = tally.result(until_ms)
        if len(happened) >= FIRINGS_KEPT_MAX:
            compared_ms = min(compared_ms, happened[-1].fired_ms - 1)
        return Backtest(
            start_ms=start_ms,
            end_ms=end_ms,
            until_ms=until_ms,
            step_ms=self._step_ms,
            data_from_ms=self._oldest_ms,
            evaluations=self._done,
            failed=self._failed,
            problem=self._problem,
            series=tally.series,
            firings=tally.firings,
            firing_ms=tally.firing_ms,
            longest_ms=tally.longest_ms,
            flaps=tally.flaps,
            nearly=tally.nearly,
            no_data=tally.no_data,
            exceeded=tally.exceeded,
            kept=kept,
            notifications=self._told.result(until_ms),
            difference=difference(kept, happened, compared_ms),
        )

    def _live(self, block: Block) -> None:
        """All ticks of a block at which something may change; those before ``_done`` are done where
        it raises."""
        index, begin = 0, self._done
        while index < len(block.at_ms):
            reading = self._tick(block, index)
            self._done = begin + index + 1
            index = index + 1 if reading is None else self._next(block, index, reading)
        if block.oldest_ms is not None:
            self._oldest_ms = min(block.oldest_ms, self._oldest_ms or block.oldest_ms)

    def _tick(self, block: Block, index: int) -> Reading | None:
        """One tick; what was read, None where it failed."""
        at_ms = int(block.at_ms[index])
        try:
            reading = block.reading(index)
            self._alerts, moves = alert_states.evaluated(self._rule, self._alerts, at_ms, reading)
        except (QueryTooLarge, QueryCancelled):
            raise
        except QueryError as error:
            self._failed += 1
            self._problem = self._problem or str(error)
            return None
        for move in moves:
            self._tally.take(move)
        self._told.take(at_ms, moves)
        return reading

    def _next(self, block: Block, index: int, reading: Reading) -> int:
        """The next tick at which something may change."""
        whole = (
            self._rule.no_data == "alert"
            or bool(self._alerts.exceeded_ms)
            or not reading.active.keys() >= self._alerts.kept.keys()
        )
        after = block.next_change(index, whole=whole)
        up_ms = due_ms(self._rule, self._alerts, int(block.at_ms[index]))
        return after if up_ms is None else min(after, int(block.at_ms.searchsorted(up_ms)))
