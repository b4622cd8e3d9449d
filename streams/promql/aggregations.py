"""Aggregations over the series of each step: grouping, parameters, and the table of operators.

https://prometheus.io/docs/prometheus/latest/querying/operators/#aggregation-operators
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from streams.errors import QueryError
from streams.promql import aggregations_choose as choose
from streams.promql import aggregations_fold as fold
from streams.promql.frames import Context, Flags, Floats, Frame, Labels, ScalarSteps
from streams.promql.groups import Groups
from streams.promql.labelsets import numbered, only, with_label, without
from streams.promql.quantiles import check_quantile, shortest

FOLDS: dict[str, Callable[[Frame, Groups], Floats]] = {
    "sum": fold.total,
    "avg": fold.mean,
    "min": fold.least,
    "max": fold.greatest,
    "count": fold.count,
    "group": fold.one,
    "stdvar": fold.variance,
    "stddev": fold.deviation,
}
CHOICES: dict[str, Callable[[Frame, Groups, Floats], Flags]] = {
    "topk": choose.largest,
    "bottomk": choose.smallest,
    "limitk": choose.first,
    "limit_ratio": choose.share,
}
INT64 = 2.0**63


def aggregate(
    op: str,
    vector: Frame,
    parameter: ScalarSteps | str | None,
    grouping: tuple[bool, Sequence[str]],
    context: Context,
) -> Frame:
    """One aggregation; ``grouping`` is (``by``, the labels), else ``without`` the labels.

    `QueryError` for a parameter that is no possible one; warnings for one out of range.
    """
    context.budget.spend(vector.value.size)
    if isinstance(parameter, str):
        return _count_values(vector, parameter, grouping, context)
    groups, labels = _grouped(vector.labels, grouping)
    if op in FOLDS:
        return Frame(labels, FOLDS[op](vector, groups), groups.counts(vector.present) > 0)
    assert parameter is not None
    if op == "quantile":
        check_quantile(parameter.value, context)
        value = fold.quantile(vector, groups, parameter.value)
        return Frame(labels, value, groups.counts(vector.present) > 0)
    if not _checked(op, parameter.value, context) or not len(vector.labels):
        return Frame((), vector.value[:0], vector.present[:0])
    chosen = CHOICES[op](vector, groups, parameter.value)
    if chosen.shape[1] > 1:
        return Frame(vector.labels, vector.value, chosen)
    rows = choose.ranking(op, vector, groups)
    rows = rows[chosen[rows, 0]]
    return Frame(tuple(vector.labels[row] for row in rows), vector.value[rows], chosen[rows])


def _grouped(
    labels: tuple[Labels, ...], grouping: tuple[bool, Sequence[str]]
) -> tuple[Groups, tuple[Labels, ...]]:
    if grouping == (True, ()):
        one = ((),) if labels else ()
        return Groups(np.zeros(len(labels), np.int64), len(one)), one
    ids, keys = numbered(_group_labels(series, grouping) for series in labels)
    return Groups(ids, len(keys)), tuple(keys)


def _group_labels(labels: Labels, grouping: tuple[bool, Sequence[str]]) -> Labels:
    by, names = grouping
    return only(labels, names) if by else without(labels, {*names, "__name__"})


def _checked(op: str, parameter: Floats, context: Context) -> bool:
    """Whether anything is chosen at all; the limits are those of Prometheus' messages."""
    if op == "limit_ratio":
        if np.isnan(parameter).any():
            raise QueryError("Ratio value is NaN")
        for bound, worst in ((1.0, parameter.max()), (-1.0, parameter.min())):
            if worst * bound > 1:
                context.annotations.warn(
                    f"ratio value should be between -1 and 1, got {shortest(worst)}, "
                    f"capping to {shortest(bound)}"
                )
        return bool((parameter != 0).any())
    if np.isnan(parameter).any():
        raise QueryError("Parameter value is NaN")
    if parameter.max() < 1:
        return False
    if parameter.min() <= -INT64:
        raise QueryError(f"Scalar value {shortest(parameter.min())} underflows int64")
    if parameter.max() >= INT64:
        raise QueryError(f"Scalar value {shortest(parameter.max())} overflows int64")
    return True


def _count_values(
    vector: Frame, label: str, grouping: tuple[bool, Sequence[str]], context: Context
) -> Frame:
    """How many series of a group have each value; the value, as text, is a label."""
    if not label:
        raise QueryError('invalid label name "" in count_values()')
    by, names = grouping
    grouping = (True, (*names, label)) if by else grouping
    groups, _ = _grouped(tuple(with_label(s, label, "") for s in vector.labels), grouping)
    first = {group: row for row, group in reversed(list(enumerate(groups.ids.tolist())))}
    rows, steps = np.nonzero(vector.present)
    width = vector.value.shape[1]
    bits, of_bits = np.unique(vector.value[rows, steps].view(np.uint64), return_inverse=True)
    context.budget.hold(len(bits), width)  # before anything is made for each value
    text_ids, texts = numbered(_text(value) for value in bits.view(np.float64).tolist())
    codes = text_ids[of_bits] if len(bits) else of_bits
    pair, which = np.unique(groups.ids[rows] * max(len(texts), 1) + codes, return_inverse=True)
    context.budget.hold(len(pair), width)
    keys = [
        _group_labels(with_label(vector.labels[first[group]], label, texts[code]), grouping)
        for group, code in (divmod(one, len(texts)) for one in pair.tolist())
    ]
    ids, labels = numbered(keys)
    cell = ids[which] * width + steps if len(which) else steps
    counts = np.bincount(cell, minlength=len(labels) * width).reshape(len(labels), width)
    return Frame(tuple(labels), counts.astype(np.float64), counts > 0)


def _text(value: float) -> str:
    if not np.isfinite(value):
        return shortest(value)
    return np.format_float_positional(value, trim="-")
