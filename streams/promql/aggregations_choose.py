"""Aggregations that choose series and leave them as they are: each gives [S, T] flags."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from streams.events.labels import series_hash
from streams.promql.frames import Flags, Floats, Frame, Ints, Labels
from streams.promql.groups import Groups

HASH_MAX = 2.0**64


def largest(vector: Frame, groups: Groups, limit: Floats) -> Flags:
    """The ``limit[t]`` largest of each group; of equal ones the first; NaN last."""
    return _ranked(replace(vector, value=-vector.value), groups, limit)


def smallest(vector: Frame, groups: Groups, limit: Floats) -> Flags:
    """The ``limit[t]`` smallest of each group; of equal ones the first; NaN last."""
    return _ranked(vector, groups, limit)


def first(vector: Frame, groups: Groups, limit: Floats) -> Flags:
    """The first ``limit[t]`` of each group, in the order of the series."""
    chosen = np.zeros(vector.present.shape, np.bool_)
    for _, rows in groups.by_size():
        present = vector.present[rows]
        chosen[rows] = present & (np.cumsum(present, axis=1) <= np.trunc(limit))
    return chosen


def share(vector: Frame, groups: Groups, ratio: Floats) -> Flags:
    """About ``ratio[t]`` of the series, by a hash of their labels: always the same ones.

    A negative ratio takes those that ``1 + ratio`` would leave.
    """
    del groups
    place = np.array([_place(labels) for labels in vector.labels])[:, None]
    ratio = np.clip(ratio, -1.0, 1.0)
    chosen = np.where(ratio >= 0, place < ratio, place >= 1 + ratio)
    return chosen & vector.present


def ranking(op: str, vector: Frame, groups: Groups) -> Ints:
    """The series of an instant query in the order of its answer: by group, then by value."""
    if op not in ("topk", "bottomk"):
        return groups.order
    value, present = vector.value[:, 0], vector.present[:, 0]
    ordered = -value if op == "topk" else value
    return np.lexsort((ordered, np.isnan(value), ~present, groups.ids))


def _ranked(vector: Frame, groups: Groups, limit: Floats) -> Flags:
    chosen = np.zeros(vector.present.shape, np.bool_)
    for _, rows in groups.by_size():
        value, present = vector.value[rows], vector.present[rows]
        order = np.lexsort((value, np.isnan(value), ~present), axis=1)
        picked = np.arange(rows.shape[1])[None, :, None] < np.trunc(limit)
        flags = np.zeros(value.shape, np.bool_)
        np.put_along_axis(flags, order, np.broadcast_to(picked, value.shape), axis=1)
        chosen[rows] = flags & present
    return chosen


@lru_cache(maxsize=16_384)
def _place(labels: Labels) -> float:
    """Where a series lies between 0 and 1."""
    return series_hash(repr(labels)) / HASH_MAX
