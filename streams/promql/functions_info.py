"""``info``: labels of info metrics (``target_info``) joined to series of the same target.

Semantics: Prometheus' documentation, ``info()`` (experimental there). The labels ``instance`` and
``job`` name a target. Whoever evaluates selects the info series by `info_matchers`, at the times at
which the first argument's selector looks, and joins them by `enriched`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from streams.errors import QueryError
from streams.promql.frames import Flags, Frame, Ints, Labels
from streams.promql.labelsets import display, merged, only, with_label
from streams.promql.matchers import Matcher, matches, takes_absent

NAME = "__name__"
IDENTIFYING = ("instance", "job")
DEFAULT_NAME = Matcher(NAME, "=", "target_info")
SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def info_matchers(base: Frame, given: Sequence[Matcher]) -> tuple[Matcher, ...]:
    """What selects the info series that can match any of ``base``; empty: none can.

    ``given``: the second argument's matchers; without one on the name, ``target_info`` is meant.
    """
    ignored = _is_info(base.labels, given)
    narrow: list[Matcher] = []
    for name in IDENTIFYING:
        values = {
            dict(labels).get(name, "")
            for labels, ignore in zip(base.labels, ignored, strict=True)
            if not ignore
        } - {""}
        if values:
            pattern = "|".join(SPECIAL.sub(r"\\\g<0>", value) for value in sorted(values))
            narrow.append(Matcher(name, "=~", pattern))
    if not narrow:
        return ()
    return (*narrow, *_data_matchers(given), *_name_matchers(given))


def enriched(base: Frame, found: Frame, found_at_ms: Ints, given: Sequence[Matcher]) -> Frame:
    """``base`` with the data labels of the info series ``found``.

    ``found_at_ms`` [I, T]: when the samples of ``found`` were taken; of two info series for one
    target the newer counts at each step, two of one time are a `QueryError`, as are two metrics
    that give one label different values. A label that the series has stays as it is. With matchers
    given, only their labels are taken, and a series without a match is left out unless all of them
    take an absent label.
    """
    wanted = {matcher.name for matcher in _data_matchers(given)}
    keeps_unmatched = all(takes_absent(matcher) for matcher in _data_matchers(given))
    ignored = _is_info(base.labels, given)
    chosen = _newest(found, found_at_ms)
    by_target: dict[Labels, list[int]] = {}
    for row, labels in enumerate(found.labels):
        by_target.setdefault(only(labels, IDENTIFYING), []).append(row)
    labels_out: list[Labels] = []
    rows: list[int] = []
    present: list[Flags] = []
    for row, labels in enumerate(base.labels):
        donors = [] if ignored[row] else by_target.get(only(labels, IDENTIFYING), [])
        for donor_rows, steps in _combinations(chosen[donors]):
            here = base.present[row] & steps
            if not here.any():
                continue
            used = [donors[one] for one in donor_rows]
            if not used and not ignored[row] and not keeps_unmatched:
                continue
            labels_out.append(_joined(labels, [found.labels[one] for one in used], wanted))
            rows.append(row)
            present.append(here)
    shape = (len(rows), base.value.shape[1])
    flags = np.array(present, dtype=np.bool_).reshape(shape)
    return merged(Frame(tuple(labels_out), base.value[rows].reshape(shape), flags))


def _name_matchers(given: Sequence[Matcher]) -> list[Matcher]:
    """Those on the metric's name; where they only exclude, of what ends in ``_info``."""
    names = [matcher for matcher in given if matcher.name == NAME]
    if not names:
        return [DEFAULT_NAME]
    if any(matcher.op in ("=", "=~") for matcher in names):
        return names
    return [Matcher(NAME, "=~", ".+_info"), *names]


def _data_matchers(given: Sequence[Matcher]) -> list[Matcher]:
    return [matcher for matcher in given if matcher.name != NAME]


def _is_info(labels: Sequence[Labels], given: Sequence[Matcher]) -> Flags:
    """Which series are info series themselves: they stay as they are."""
    names = [dict(one).get(NAME, "") for one in labels]
    result = np.ones(len(names), dtype=np.bool_)
    for matcher in _name_matchers(given):
        result &= matches(matcher, names)
    return result


def _newest(found: Frame, at_ms: Ints) -> Flags:
    """[I, T] Where each info series is the newest of its metric for its target."""
    chosen = found.present.copy()
    groups: dict[Labels, list[int]] = {}
    for row, labels in enumerate(found.labels):
        groups.setdefault(only(labels, (NAME, *IDENTIFYING)), []).append(row)
    for rows in groups.values():
        if len(rows) == 1:
            continue
        times = np.where(found.present[rows], at_ms[rows], np.iinfo(np.int64).min)
        chosen[rows] &= times == times.max(axis=0)
        if (twice := chosen[rows].sum(axis=0) > 1).any():
            step = int(np.argmax(twice))
            one, other = (rows[here] for here in np.flatnonzero(chosen[rows][:, step])[:2])
            raise QueryError(
                "found duplicate series for info metric: existing "
                f"{display(found.labels[one])} @ {at_ms[one, step]}, "
                f"new {display(found.labels[other])} @ {at_ms[other, step]}"
            )
    return chosen


def _combinations(chosen: Flags) -> list[tuple[list[int], Flags]]:
    """Which donors [D] give at which steps: [D, T] taken apart by equal columns."""
    if not len(chosen):
        return [([], np.ones(chosen.shape[1], dtype=np.bool_))]
    distinct, ids = np.unique(chosen, axis=1, return_inverse=True)
    ids = ids.reshape(-1)
    return [
        (np.flatnonzero(distinct[:, number]).tolist(), ids == number)
        for number in range(distinct.shape[1])
    ]


def _joined(labels: Labels, donors: Sequence[Labels], wanted: set[str]) -> Labels:
    own = dict(labels)
    taken: dict[str, str] = {}
    for donor in donors:
        for name, value in donor:
            if name == NAME or (wanted and name not in wanted):
                continue
            if taken.get(name, value) != value:
                raise QueryError(f"conflicting label: {name}")
            if name not in own:
                taken[name] = value
    for name, value in taken.items():
        labels = with_label(labels, name, value)
    return labels
