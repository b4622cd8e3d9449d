"""Operators between two vectors: which series meet, under which labels, and the set operators.

Series meet where their labels agree ``on`` some names or ``ignoring`` some, never on ``__name__``
unless it is named (https://prometheus.io/docs/prometheus/latest/querying/operators/
#vector-matching). Matching is decided at each step: series that share labels but never a step do no
harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.errors import QueryError
from streams.promql.frames import Frame, Ints, Labels, unnamed
from streams.promql.labelsets import (
    display,
    merged,
    numbered,
    only,
    per_group,
    without,
)
from streams.promql.limits import Budget
from streams.promql.operators import ARITHMETIC, compute
from streams.promql.syntax import Matching


@dataclass(frozen=True)
class _Sides:
    """Both vectors with the number of the match group of each series."""

    many: Frame
    one: Frame
    many_ids: Ints
    one_ids: Ints
    groups: list[Labels]


def between(
    op: str, left: Frame, right: Frame, matching: Matching, *, as_bool: bool, budget: Budget
) -> Frame:
    """An arithmetic or comparing operator, one to one or many to one.

    `QueryError`: two series of the "one" side, or in one-to-one matching of either, meet the same
    partner at one step, or two results have the same labels.
    """
    many, one = (right, left) if matching.card == "right" else (left, right)
    sides = _sides(many, one, matching)
    _check_one_side(sides, "left" if matching.card == "right" else "right")
    of_many, of_one = _pairs(sides)
    budget.hold(len(of_many), left.value.shape[1])
    present = many.present[of_many] & one.present[of_one]
    drops_name = as_bool or op in ARITHMETIC
    labels = tuple(
        _result_labels(many.labels[m], one.labels[o], matching, drops_name)
        for m, o in zip(of_many.tolist(), of_one.tolist(), strict=True)
    )
    pairs = Frame(labels, np.zeros(present.shape), present)
    _check_many_side(pairs, sides.many_ids[of_many], len(sides.groups), matching)
    values = (many.value[of_many], one.value[of_one])
    first, second = (values[1], values[0]) if matching.card == "right" else values
    value, holds = compute(op, first, second, as_bool=as_bool)
    return merged(Frame(labels, value, present if holds is None else present & holds))


def join_sets(op: str, left: Frame, right: Frame, matching: Matching) -> Frame:
    """``and``, ``or``, ``unless``: they choose samples and change none."""
    sides = _sides(left, right, matching)
    if op == "or":
        taken = (per_group(left.present, sides.many_ids, len(sides.groups)) > 0)[sides.one_ids]
        return merged(
            Frame(
                left.labels + right.labels,
                np.concatenate((left.value, right.value)),
                np.concatenate((left.present, right.present & ~taken)),
            )
        )
    met = (per_group(right.present, sides.one_ids, len(sides.groups)) > 0)[sides.many_ids]
    return Frame(left.labels, left.value, left.present & (met if op == "and" else ~met))


def _sides(many: Frame, one: Frame, matching: Matching) -> _Sides:
    names = frozenset(matching.labels)
    if matching.on:
        keys = [only(labels, names) for labels in many.labels + one.labels]
    else:
        names |= {"__name__"}
        keys = [without(labels, names) for labels in many.labels + one.labels]
    ids, groups = numbered(keys)
    return _Sides(many, one, ids[: len(many.labels)], ids[len(many.labels) :], groups)


def _check_one_side(sides: _Sides, hand: str) -> None:
    groups = len(sides.groups)
    if (np.bincount(sides.one_ids, minlength=groups) <= 1).all():
        return
    counts = per_group(sides.one.present, sides.one_ids, groups)
    double = np.argwhere((counts > 1) & sides.many.present.any(axis=0))
    if not len(double):
        return
    group, step = double[0].tolist()
    rows = np.flatnonzero((sides.one_ids == group) & sides.one.present[:, step])
    pair = sorted(display(sides.one.labels[row]) for row in rows[:2])
    raise QueryError(
        f"found duplicate series for the match group {display(sides.groups[group])} on the {hand} "
        f"hand-side of the operation: [{pair[0]}, {pair[1]}];many-to-many matching not allowed: "
        "matching labels must be unique on one side"
    )


def _pairs(sides: _Sides) -> tuple[Ints, Ints]:
    """All (row of many, row of one) of the same match group."""
    order = np.argsort(sides.one_ids, kind="stable")
    size = np.bincount(sides.one_ids, minlength=len(sides.groups)).astype(np.int64)
    first = np.cumsum(size) - size
    partners = size[sides.many_ids]
    of_many = np.repeat(np.arange(len(sides.many_ids)), partners)
    place = np.arange(len(of_many)) - np.repeat(np.cumsum(partners) - partners, partners)
    return of_many, order[np.repeat(first[sides.many_ids], partners) + place]


def _check_many_side(pairs: Frame, ids: Ints, groups: int, matching: Matching) -> None:
    if matching.card == "one":
        if len(ids) > len(set(ids.tolist())) and (per_group(pairs.present, ids, groups) > 1).any():
            raise QueryError(
                "multiple matches for labels: many-to-one matching must be explicit "
                "(group_left/group_right)"
            )
        return
    if len(set(pairs.labels)) == len(pairs.labels):
        return
    keys, distinct = numbered(zip(ids.tolist(), pairs.labels, strict=True))
    if (per_group(pairs.present, keys, len(distinct)) > 1).any():
        raise QueryError("multiple matches for labels: grouping labels must ensure unique matches")


def _result_labels(many: Labels, one: Labels, matching: Matching, drops_name: bool) -> Labels:
    labels = unnamed(many) if drops_name else many
    if matching.card == "one":
        choose = only if matching.on else without
        return choose(labels, matching.labels) if matching.on or matching.labels else labels
    if matching.include:
        include = set(matching.include)
        return tuple(sorted((*without(labels, include), *only(one, include))))
    return labels
