"""Backtest: what a rule would have done over a past range, by the code that runs live.

The condition is evaluated in blocks of ticks (`projections.backtest_block`), the life cycle of
`streams.domain.alert_states` runs over the ticks at which anything that it reads changes or time is
up (``backtest_course``), and `streams.processors.notify` is told of the transitions
(``backtest_told``). Nothing is sent or written.

What differs from live: a sample that came late is seen at its own time; an outage of the pipeline
shows only as the data that is missing; at the start there are no alerts yet; each evaluation is at
a multiple of the rule's interval, which live is at the first tick of the clock from there on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import numpy as np

from projections.alert_queries import SILENCES_MAX
from projections.backtest_block import Cancelled
from projections.backtest_course import Course, Progress
from projections.backtest_report import FIRINGS_KEPT_MAX, Backtest, Firing
from projections.projector import Projector
from projections.promql_source import ProjectionSource
from projections.query_rules import silences
from projections.reading import Reader
from streams.domain.alert_routing import Routing
from streams.domain.alert_words import EXCEEDED
from streams.errors import InputError, Overloaded
from streams.events.rules import Rule
from streams.promql.engine import never
from streams.promql.frames import Ints
from streams.promql.source import SeriesSource

EVALUATIONS_MAX: Final = 2_000_000
AT_ONCE: Final = 2
RETRY_AFTER_S: Final = 10
BLOCK_S: Final = 60.0
"""A block's reading may take so long (`QueryTooExpensive`)."""

_HAPPENED = """
    SELECT fingerprint, active_ms, arg_min(labels, log_offset) AS labels,
        min(at_ms) FILTER (WHERE state_after = 'firing') AS fired_ms,
        max(at_ms) FILTER (WHERE state_after = 'inactive') AS ended_ms
    FROM transitions WHERE rule_id = $rule AND name <> $own AND at_ms <= $until
    GROUP BY ALL
    HAVING fired_ms IS NOT NULL AND (ended_ms IS NULL OR ended_ms >= $start)
    ORDER BY fired_ms, fingerprint LIMIT $limit"""


def _no_progress(share: float) -> None:
    """Nobody watches."""


class Backtests:
    """Backtests over the projection's samples, at most `AT_ONCE` at a time; call `run` from a
    thread."""

    def __init__(self, projector: Projector, routing: Routing, evaluation_ms: int) -> None:
        """``evaluation_ms``: between evaluations of a rule without an interval of its own."""
        self._projector = projector
        self._routing = routing
        self._evaluation_ms = evaluation_ms
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def run(
        self,
        rule: Rule,
        start_ms: int,
        end_ms: int,
        *,
        progress: Progress = _no_progress,
        cancelled: Cancelled = never,
    ) -> Backtest:
        """The rule at each of its intervals in the range, both bounds inclusive.

        Each block reads a snapshot of its own, so the writer is not held up. Where ``cancelled``
        says so it ends early, with what it has (``until_ms``). `InputError` for a recording rule
        and a range without or with too many evaluations, `QueryError` for a condition that cannot
        be parsed or is too large, `Overloaded`, `QueryTooExpensive`, `ProjectionError`.
        """
        if rule.record:
            raise InputError(
                "a recording rule has no alerts that could be tried out: query its expression",
                field="record",
            )
        at_ms = ticks_between(start_ms, end_ms, rule.interval_ms or self._evaluation_ms)
        if not self._free.acquire(blocking=False):
            raise Overloaded(
                f"{AT_ONCE} backtests run already; ask again when one has ended",
                status=503,
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            with self._projector.reading(BLOCK_S) as reader:
                known = silences(reader, None, SILENCES_MAX).silences
            course = Course(rule, at_ms, self._routing, known)
            course.run(self._source, progress, cancelled)
            with self._projector.reading(BLOCK_S) as reader:
                did = happened(reader, rule.id, start_ms, end_ms)
        finally:
            self._free.release()
        return course.result((start_ms, end_ms), did)

    @contextmanager
    def _source(self) -> Iterator[SeriesSource]:
        with self._projector.reading(BLOCK_S) as reader:
            yield ProjectionSource(reader)


def ticks_between(start_ms: int, end_ms: int, every_ms: int) -> Ints:
    """The multiples of an interval in a range, both bounds inclusive; `InputError` for none and for
    more than `EVALUATIONS_MAX`."""
    first, last = -(-start_ms // every_ms), end_ms // every_ms
    count = last - first + 1
    if count < 1:
        raise InputError(
            f"the range has no evaluation, which is every {every_ms / 1000:g} s: end_time must be "
            "after start_time",
            field="start_time",
        )
    if count > EVALUATIONS_MAX:
        raise InputError(
            f"the range has {count} evaluations, one every {every_ms / 1000:g} s; at most "
            f"{EVALUATIONS_MAX} are tried out: ask for a shorter range or a longer interval",
            field="start_time",
        )
    return np.arange(first, last + 1, dtype=np.int64) * every_ms


def happened(reader: Reader, rule_id: str, start_ms: int, end_ms: int) -> tuple[Firing, ...]:
    """The firings of the rule, whatever its version, that overlap a range, by their beginning; the
    first `FIRINGS_KEPT_MAX`."""
    bounds = {"rule": rule_id, "start": start_ms, "until": end_ms, "limit": FIRINGS_KEPT_MAX}
    rows = reader.rows(_HAPPENED, {**bounds, "own": EXCEEDED})
    return tuple(
        Firing(
            row["fingerprint"],
            msgspec.json.decode(row["labels"]),
            row["fired_ms"],
            row["ended_ms"],
        )
        for row in rows
    )
