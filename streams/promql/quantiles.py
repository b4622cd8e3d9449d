"""Quantiles of samples: with interpolation between the two nearest ranks, as Prometheus.

Shared by ``quantile_over_time``, ``mad_over_time`` and the aggregation ``quantile``.
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Context, Floats, Ints


def quantile_of_rows(share: Floats, table: Floats, length: Ints) -> Floats:
    """[n] The quantile ``share[n]`` of the first ``length[n]`` values of row n, in any order.

    The rest of a row must be +Inf. NaN counts as less than every number. Below 0 it is -Inf, above
    1 +Inf, of NaN, or of no value, NaN.

    >>> one = np.array([0.5]), np.array([[3.0, 1.0, np.inf]]), np.array([2])
    >>> float(quantile_of_rows(*one)[0])
    2.0
    """
    unordered = np.isnan(table)
    nans = unordered.sum(axis=1)
    ordered = np.sort(np.where(unordered, -np.inf, table), axis=1)
    with np.errstate(all="ignore"):
        last = np.maximum(length - 1, 0)
        inside = (share >= 0) & (share <= 1)
        rank = np.where(inside, share, 0.0) * last
        lower = np.floor(rank).astype(np.int64)
        upper = np.minimum(last, lower + 1)
        row = np.arange(len(table))
        low = np.where(lower < nans, np.nan, ordered[row, lower])
        high = np.where(upper < nans, np.nan, ordered[row, upper])
        weight = rank - lower
        value = low * (1 - weight) + high * weight
    value = np.where(share < 0, -np.inf, np.where(share > 1, np.inf, value))
    return np.where(np.isnan(share) | (length < 1), np.nan, value)


def check_quantile(share: Floats, context: Context) -> None:
    """Warns of each one outside of [0, 1]."""
    for one in np.unique(share[~((share >= 0) & (share <= 1))]):
        context.annotations.warn(f"quantile value should be between 0 and 1, got {shortest(one)}")


def shortest(value: float) -> str:
    """A float as Prometheus writes it in sentences: as short as reads back the same (Go's %g).

    >>> [shortest(value) for value in (1.0, 0.1, 1e6, 1e-5, float("inf"), float("nan"))]
    ['1', '0.1', '1e+06', '1e-05', '+Inf', 'NaN']
    """
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=2)


def quantile_text(value: float) -> str:
    """A quantile as a label's value (OpenMetrics): it always shows that it is a float.

    >>> quantile_text(0.9), quantile_text(1.0)
    ('0.9', '1.0')
    """
    text = shortest(value)
    return text if not text.lstrip("-").isdigit() else f"{text}.0"
