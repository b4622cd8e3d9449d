"""Label sets of a vector: grouping them, and keeping them distinct."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import TypeVar

import numpy as np

from streams.errors import QueryError
from streams.promql.frames import Flags, Frame, Ints, Labels

Key = TypeVar("Key", bound=Hashable)
DISPLAY_MAX = 500
SAME_LABELSET = "vector cannot contain metrics with the same labelset"


def only(labels: Labels, names: Collection[str]) -> Labels:
    """The labels of these names.

    >>> only((("__name__", "up"), ("job", "a")), {"job", "env"})
    (('job', 'a'),)
    """
    return tuple(pair for pair in labels if pair[0] in names)


def without(labels: Labels, names: Collection[str]) -> Labels:
    """The labels of other names."""
    return tuple(pair for pair in labels if pair[0] not in names)


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """With one label set; an empty value removes it.

    >>> with_label((("a", "1"), ("c", "3")), "b", "2")
    (('a', '1'), ('b', '2'), ('c', '3'))
    """
    rest = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*rest, (name, value)])) if value else tuple(rest)


def numbered(keys: Iterable[Key]) -> tuple[Ints, list[Key]]:
    """Each key as a number in the order of first appearance, and the distinct keys.

    >>> ids, distinct = numbered("abca")
    >>> ids.tolist(), distinct
    ([0, 1, 2, 0], ['a', 'b', 'c'])
    """
    known: dict[Key, int] = {}
    ids = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
    return ids, list(known)


def display(labels: Labels) -> str:
    """As Prometheus writes a series in its messages, cut where it is very long.

    >>> display((("__name__", "up"), ("job", "a")))
    '{__name__="up", job="a"}'
    """
    text = "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
    return text if len(text) <= DISPLAY_MAX else text[:DISPLAY_MAX] + "…"


def occupied(frame: Frame) -> Frame:
    """Without the series that have no value at any step."""
    some = frame.present.any(axis=1)
    if some.all():
        return frame
    rows = np.flatnonzero(some)
    labels = tuple(frame.labels[row] for row in rows)
    return Frame(labels, frame.value[rows], frame.present[rows])


def merged(frame: Frame) -> Frame:
    """With distinct labels: series with equal labels become one.

    Two of them with a value at the same step are a `QueryError`.
    """
    if len(set(frame.labels)) == len(frame.labels):
        return frame
    frame = occupied(frame)
    ids, labels = numbered(frame.labels)
    if len(labels) == len(frame.labels):
        return frame
    counts = per_group(frame.present, ids, len(labels))
    if (counts > 1).any():
        raise QueryError(SAME_LABELSET)
    value = np.zeros(counts.shape)
    rows, steps = np.nonzero(frame.present)
    value[ids[rows], steps] = frame.value[rows, steps]
    return Frame(tuple(labels), value, counts > 0)


def per_group(present: Flags, ids: Ints, groups: int) -> Ints:
    """[G, T]: how many series of each group have a value at each step."""
    order = np.argsort(ids, kind="stable")
    counts = np.zeros((groups, present.shape[1]), np.int64)
    if len(ids):
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        counts[ids[order][starts]] = np.add.reduceat(present[order], starts, axis=0, dtype=np.int64)
    return counts
