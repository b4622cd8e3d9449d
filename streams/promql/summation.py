"""Sums that keep what rounding would lose: Neumaier's variant of Kahan's summation, as Prometheus.

The running sum is a pair, the sum and what was lost so far; their own sum is the result. Source:
A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen" (1974).
"""

from __future__ import annotations

import numpy as np

from streams.promql.frames import Floats

CALM_MAX = 1e307


def added(increment: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    """``total + increment`` and what is lost by now, element by element.

    Where the sum is infinite nothing counts as lost, so that infinity does not become NaN.
    """
    result, lost = added_calmly(increment, total, lost)
    return result, np.where(np.isinf(result), 0.0, lost)


def added_calmly(increment: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    """`added` for sums that cannot be infinite (`is_calm`).

    The loss is found without comparing (Knuth's TwoSum); it is the same number, as both are exact.

    >>> total, lost = added_calmly(np.array([1.0]), np.array([1e100]), np.array([0.0]))
    >>> float(total[0]), float(lost[0])
    (1e+100, 1.0)
    """
    result = total + increment
    taken = result - total
    return result, lost + ((total - (result - taken)) + (increment - taken))


def closed(total: Floats, lost: Floats) -> Floats:
    """The sum that a pair stands for."""
    return np.where(np.isinf(total), total, total + lost)


def is_calm(value: Floats, terms: int) -> bool:
    """Whether no sum of ``terms`` of these values can reach infinity; NaN may be among them."""
    return not bool(np.any(np.abs(value) > CALM_MAX / max(terms, 1)))
