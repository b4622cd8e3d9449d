"""Operators on numbers, and between scalars and vectors.

Floating point as in Go: ``%`` has the sign of the dividend, ``^`` is C's ``pow``, and dividing by
zero gives infinities (https://prometheus.io/docs/prometheus/latest/querying/operators/).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from streams.promql.frames import Flags, Floats, Frame, ScalarSteps, unnamed
from streams.promql.labelsets import merged


def power(base: Floats, exponent: Floats) -> Floats:
    """C's ``pow``, to the same bit whatever the shapes.

    Given one exponent for many bases, numpy would take a square root for 0.5 (which differs below
    zero) and a reciprocal for -1; so it is given two columns of equal length, of two at least.

    >>> power(np.array([-np.inf]), np.array([0.5])).tolist()
    [inf]
    """
    bases, exponents = np.broadcast_arrays(base, exponent)
    raised = np.power(np.append(bases, 1.0), np.append(exponents, 1.0))
    result: Floats = raised[:-1].reshape(bases.shape)
    return result


ARITHMETIC: dict[str, Callable[[Any, Any], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": power,
    "atan2": np.arctan2,
}
COMPARISON: dict[str, Callable[[Any, Any], Flags]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def compute(op: str, left: Floats, right: Floats, *, as_bool: bool) -> tuple[Floats, Flags | None]:
    """The values, and where a comparison filters, which of them it keeps.

    A comparison's value is the left one, or with ``as_bool`` 0 or 1.
    """
    with np.errstate(all="ignore"):
        if op in ARITHMETIC:
            return ARITHMETIC[op](left, right), None
        holds = COMPARISON[op](left, right)
    if as_bool:
        return holds.astype(np.float64), None
    return left, holds


def scalars(op: str, left: ScalarSteps, right: ScalarSteps) -> ScalarSteps:
    """Between two scalars; comparisons are 0 or 1 (the parser demands ``bool``)."""
    return ScalarSteps(compute(op, left.value, right.value, as_bool=True)[0])


def vector_and_scalar(
    op: str, vector: Frame, scalar: ScalarSteps, *, swapped: bool, as_bool: bool
) -> Frame:
    """Between each sample of a vector and a scalar; ``swapped``: the scalar is on the left.

    A filtering comparison keeps the vector's values and names; all else drops the names.
    """
    sides = (vector.value, np.broadcast_to(scalar.value, vector.value.shape))
    left, right = (sides[1], sides[0]) if swapped else sides
    value, holds = compute(op, left, right, as_bool=as_bool)
    if holds is not None:
        return Frame(vector.labels, vector.value, vector.present & holds)
    labels = tuple(unnamed(series) for series in vector.labels)
    return merged(Frame(labels, value, vector.present))


def negative(vector: Frame) -> Frame:
    """Unary minus; it drops the names."""
    labels = tuple(unnamed(series) for series in vector.labels)
    return merged(Frame(labels, -vector.value, vector.present))
