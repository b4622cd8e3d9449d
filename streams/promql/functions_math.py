"""Functions of one sample at a time: arithmetic, trigonometry, rounding and clamping.

Semantics: Prometheus' documentation, "Query functions", and IEEE 754; a domain error is NaN. All
drop the metric's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from streams.promql.frames import (
    Argument,
    Context,
    Floats,
    Frame,
    ScalarSteps,
    VectorFunction,
    unnamed,
)
from streams.promql.labelsets import merged


def mapped(
    args: Sequence[Argument], context: Context, *, function: Callable[[Floats], Floats]
) -> Frame:
    """``function`` of each sample of the one argument."""
    (frame,) = args
    assert isinstance(frame, Frame)
    return with_values(frame, function, context)


def with_values(frame: Frame, function: Callable[[Floats], Floats], context: Context) -> Frame:
    """``function`` of each sample, without the metric's name."""
    context.budget.spend(frame.value.size)
    with np.errstate(all="ignore"):
        value = function(frame.value)
    return merged(Frame(tuple(map(unnamed, frame.labels)), value, frame.present))


def round_to(args: Sequence[Argument], context: Context) -> Frame:
    """``round(v, to_nearest=1)``: to a multiple of it, upwards from the middle."""
    frame = args[0]
    assert isinstance(frame, Frame)
    nearest = _scalar(args[1]) if len(args) > 1 else np.ones(1)
    with np.errstate(all="ignore"):
        # Prometheus multiplies by the inverse, too, as that loses less.
        inverse = 1.0 / nearest
    return with_values(frame, lambda value: np.floor(value * inverse + 0.5) / inverse, context)


def clamp(args: Sequence[Argument], context: Context) -> Frame:
    """``clamp(v, min, max)``: each sample within both; nothing at steps where max < min."""
    return _clamped(args[0], _scalar(args[1]), _scalar(args[2]), context)


def clamp_min(args: Sequence[Argument], context: Context) -> Frame:
    """``clamp_min(v, min)``: each sample ``min`` at least."""
    return _clamped(args[0], _scalar(args[1]), np.full(1, np.inf), context)


def clamp_max(args: Sequence[Argument], context: Context) -> Frame:
    """``clamp_max(v, max)``: each sample ``max`` at most."""
    return _clamped(args[0], np.full(1, -np.inf), _scalar(args[1]), context)


def _clamped(frame: Argument, least: Floats, most: Floats, context: Context) -> Frame:
    assert isinstance(frame, Frame)
    possible = Frame(frame.labels, frame.value, frame.present & ~(most < least))
    return with_values(possible, lambda value: _larger(least, _smaller(most, value)), context)


def _larger(one: Floats, other: Floats) -> Floats:
    """The larger one; NaN if either is, unless the other is +Inf (Go's math.Max)."""
    infinite = (one == np.inf) | (other == np.inf)
    return np.where(infinite, np.inf, np.maximum(one, other))


def _smaller(one: Floats, other: Floats) -> Floats:
    """The smaller one; NaN if either is, unless the other is -Inf (Go's math.Min)."""
    return -_larger(-one, -other)


def of_scalars(
    args: Sequence[Argument], context: Context, *, function: Callable[[Floats, Floats], Floats]
) -> ScalarSteps:
    """``max_of`` and ``min_of``: of two scalars at each step."""
    del context
    return ScalarSteps(function(_scalar(args[0]), _scalar(args[1])))


def _scalar(arg: Argument) -> Floats:
    assert isinstance(arg, ScalarSteps)
    return arg.value


def _sign(value: Floats) -> Floats:
    return np.where(value < 0, -1.0, np.where(value > 0, 1.0, value))


def _radians(value: Floats) -> Floats:
    return value * np.pi / 180


def _degrees(value: Floats) -> Floats:
    return value * 180 / np.pi


_OF_ONE: Mapping[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": _degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": _radians,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}

MATH_FUNCTIONS: Mapping[str, VectorFunction] = {
    **{name: partial(mapped, function=function) for name, function in _OF_ONE.items()},
    "clamp": clamp,
    "clamp_max": clamp_max,
    "clamp_min": clamp_min,
    "max_of": partial(of_scalars, function=_larger),
    "min_of": partial(of_scalars, function=_smaller),
    "round": round_to,
}
