"""Functions of whole vectors: absence, conversion from and to scalars, and order.

Semantics: Prometheus' documentation, "Query functions". Order reaches the answer of instant queries
only; ranges are always ordered by labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cmp_to_key, partial

import numpy as np

from streams.promql.frames import (
    Argument,
    Context,
    Flags,
    Floats,
    Frame,
    Ints,
    Labels,
    ScalarSteps,
    VectorFunction,
)

CHUNKS = re.compile(r"[0-9]+|[^0-9]+")
INTEGER_MAX = 2**63 - 1


def absent(args: Sequence[Argument], context: Context) -> Frame:
    """1 at each step where the vector has no sample, with the labels that its selector fixes."""
    frame = _frame(args[0])
    missing: Flags = ~np.logical_or.reduce(frame.present, axis=0, keepdims=True)
    return Frame((context.pinned,), np.ones(missing.shape), missing)


def scalar(args: Sequence[Argument], context: Context) -> ScalarSteps:
    """The vector's only sample at each step; NaN where it has none or several."""
    del context
    frame = _frame(args[0])
    steps = frame.value.shape[1]
    if not len(frame.labels):
        return ScalarSteps(np.full(steps, np.nan))
    chosen = frame.value[frame.present.argmax(axis=0), np.arange(steps)]
    return ScalarSteps(np.where(frame.present.sum(axis=0) == 1, chosen, np.nan))


def vector(args: Sequence[Argument], context: Context) -> Frame:
    """The scalar as a vector with one sample that has no labels."""
    del context
    value = args[0]
    assert isinstance(value, ScalarSteps)
    return Frame(((),), value.value[None, :], np.ones((1, len(value.value)), dtype=np.bool_))


def pi(args: Sequence[Argument], context: Context) -> ScalarSteps:
    """The number."""
    del args
    return ScalarSteps(np.full(len(context.steps.at_ms), np.pi))


def by_value(args: Sequence[Argument], context: Context, *, descending: bool) -> Frame:
    """``sort`` and ``sort_desc``: by value, NaN last in both; equal ones by labels."""
    frame = _frame(args[0])
    if not _is_sortable(context):
        return frame
    here = np.flatnonzero(frame.present[:, 0])
    rank = np.array(sorted(here, key=lambda row: frame.labels[row]), dtype=np.int64)
    value = frame.value[rank, 0]
    order = np.argsort(-value if descending else value, kind="stable")
    return _ordered(frame, rank[order])


def by_label(args: Sequence[Argument], context: Context, *, descending: bool) -> Frame:
    """``sort_by_label``: by these labels in natural order (a2 before a10), then by all labels."""
    frame = _frame(args[0])
    names = [name for name in args[1:] if isinstance(name, str)]
    if not _is_sortable(context):
        return frame

    def compare(one: Labels, other: Labels) -> int:
        for name in names:
            values = dict(one).get(name, ""), dict(other).get(name, "")
            if values[0] != values[1]:
                return -1 if precedes(*values) else 1
        return -1 if one < other else int(one > other)

    key = cmp_to_key(compare)
    here = np.flatnonzero(frame.present[:, 0])
    order = sorted(here, key=lambda row: key(frame.labels[row]), reverse=descending)
    return _ordered(frame, np.array(order, dtype=np.int64))


def precedes(one: str, other: str) -> bool:
    """Whether text is less in natural order, in which runs of digits count as numbers.

    >>> precedes("cpu2", "cpu10"), precedes("cpu10", "cpu2"), precedes("cpu", "cpu2")
    (True, False, True)
    """
    mine, others = CHUNKS.findall(one), CHUNKS.findall(other)
    for a, b in zip(mine, others, strict=False):
        numeric = a[0] in "0123456789" and b[0] in "0123456789"
        if numeric and max(int(a), int(b)) <= INTEGER_MAX:
            if int(a) != int(b):
                return int(a) < int(b)
        elif a != b:
            return bool(a < b)
    return len(mine) <= len(others)


def _is_sortable(context: Context) -> bool:
    if len(context.steps.at_ms) == 1:
        return True
    context.annotations.warn(
        "sort is ineffective for range queries since results are always ordered by labels"
    )
    return False


def _ordered(frame: Frame, order: Ints) -> Frame:
    labels = tuple(frame.labels[row] for row in order)
    value: Floats = frame.value[order]
    return Frame(labels, value, frame.present[order])


def _frame(arg: Argument) -> Frame:
    assert isinstance(arg, Frame)
    return arg


VECTOR_ONLY_FUNCTIONS: Mapping[str, VectorFunction] = {
    "absent": absent,
    "pi": pi,
    "scalar": scalar,
    "sort": partial(by_value, descending=False),
    "sort_by_label": partial(by_label, descending=False),
    "sort_by_label_desc": partial(by_label, descending=True),
    "sort_desc": partial(by_value, descending=True),
    "vector": vector,
}
