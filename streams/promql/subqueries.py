"""Subqueries: an expression's values at steps of its own become a range vector.

The steps are multiples of the subquery's step since the epoch, so that overlapping subqueries see
the same ones (https://prometheus.io/docs/prometheus/latest/querying/basics/#subquery).
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Frame, Ints, Windows
from streams.promql.limits import Budget
from streams.promql.selectors import windows_of

SUBQUERY_STEP_MS = 60_000
"""Without a step of its own; Prometheus takes its global evaluation interval, by default this."""


def aligned_steps(times: Ints, range_ms: int, step_ms: int, budget: Budget) -> Ints:
    """The steps that lie in any of the windows ``(t - range, t]`` or between them.

    >>> aligned_steps(np.array([125]), 50, 20, Budget.unlimited()).tolist()
    [80, 100, 120]
    """
    first = (int(times[0]) - range_ms) // step_ms + 1
    last = int(times[-1]) // step_ms
    budget.hold(1, max(last - first + 1, 0))
    return np.arange(first, last + 1, dtype=np.int64) * step_ms


def windows_of_frame(frame: Frame, at_ms: Ints, times: Ints, range_ms: int) -> Windows:
    """The windows that end at these times, over the values of an instant vector."""
    counts = frame.present.sum(axis=1)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    samples_at = np.broadcast_to(at_ms, frame.present.shape)[frame.present]
    columns = (offsets, samples_at, frame.value[frame.present])
    return windows_of(frame.labels, columns, times, range_ms)
