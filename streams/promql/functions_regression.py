"""Functions that fit a line or a smoothed curve to the samples of each window.

Semantics: Prometheus' documentation, ``deriv``, ``predict_linear`` and
``double_exponential_smoothing`` (Holt's linear trend method).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streams.errors import QueryError
from streams.promql.frames import Context, Entry, Flags, Floats, Ints, Windows
from streams.promql.summation import added
from streams.promql.window_blocks import Block, over_blocks


def deriv(windows: Windows, scalars: Sequence[Floats], context: Context) -> tuple[Floats, Flags]:
    """The slope per second of the least squares' line through each window's samples."""
    del scalars

    def slope(block: Block) -> Floats:
        return _line(block, block.times_ms(0))[0]

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, slope, samples_min=2)


def predict_linear(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The value of that line ``scalars[0]`` seconds after the time of evaluation.

    The time of evaluation is the step's, also where the selector has ``offset`` or ``@``.
    """
    ahead_s = scalars[0]

    def ahead(block: Block) -> Floats:
        slope, intercept = _line(block, context.steps.at_ms[block.step])
        return slope * ahead_s[block.step] + intercept

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, ahead, samples_min=2)


def _line(block: Block, origin_ms: Ints) -> tuple[Floats, Floats]:
    """Slope per second, and value at ``origin_ms``, of each window's least squares' line.

    Where all values are equal the line is exactly level; NaN where they are all infinite.
    """
    total = np.zeros((4, len(block.length)))  # of x, y, x y, x squared
    lost = np.zeros_like(total)
    first = block.values(0)
    level = np.ones(len(first), dtype=np.bool_)
    for nth in range(block.longest):
        y = block.values(nth)
        n = len(y)
        level[:n] &= (y == first[:n]) if nth else True
        x = (block.times_ms(nth) - origin_ms[:n]) / 1000
        terms = np.stack([x, y, x * y, x * x])
        total[:, :n], lost[:, :n] = added(terms, total[:, :n], lost[:, :n])
    sum_x, sum_y, sum_xy, sum_xx = total + lost
    count = block.length
    slope = (sum_xy - sum_x * sum_y / count) / (sum_xx - sum_x * sum_x / count)
    intercept = sum_y / count - slope * sum_x / count
    flat = np.where(np.isinf(first), np.nan, 0.0)
    return np.where(level, flat, slope), np.where(level, first + flat, intercept)


def double_exponential_smoothing(
    windows: Windows, scalars: Sequence[Floats], context: Context
) -> tuple[Floats, Flags]:
    """The smoothed value at each window's end; both factors must lie between 0 and 1.

    ``scalars``: the smoothing factor (the lower, the more old samples count) and the trend factor.
    """
    asked = (windows.end > windows.begin).any(axis=0)
    for name, factor in zip(("smoothing", "trend"), scalars, strict=True):
        bad = asked & ((factor <= 0) | (factor >= 1))
        if bad.any():
            raise QueryError(
                f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor[bad][0]:f}"
            )

    def smoothed(block: Block) -> Floats:
        keep, follow = (factor[block.step] for factor in scalars)
        level = block.values(0)
        trend = block.values(1) - level
        older = level
        for nth in range(1, block.longest):
            value = block.values(nth)
            n = len(value)
            if nth > 1:
                trend[:n] = follow[:n] * (level[:n] - older[:n]) + (1 - follow[:n]) * trend[:n]
            older = level.copy()
            level[:n] = keep[:n] * value + (1 - keep[:n]) * (level[:n] + trend[:n])
        return level

    with np.errstate(all="ignore"):
        return over_blocks(windows, context, smoothed, samples_min=2)


REGRESSION_FUNCTIONS: Mapping[str, Entry] = {
    "deriv": Entry(deriv),
    "double_exponential_smoothing": Entry(double_exponential_smoothing),
    "predict_linear": Entry(predict_linear),
}
