"""Functions of classic histograms: series with an upper bound ``le`` that count cumulatively.

Semantics: Prometheus' documentation, ``histogram_quantile``, ``histogram_fraction``. Within a
bucket observations count as evenly spread. The functions that read native histograms only give
nothing here, as Prometheus does for floats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streams.promql.buckets import bucket_fraction, bucket_quantile
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
    unnamed,
)
from streams.promql.labelsets import merged, numbered, with_label, without
from streams.promql.quantiles import check_quantile, quantile_text

BOUND = "le"
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]?0x(?:[0-9a-f_]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?\d+", re.IGNORECASE)

OfBuckets = Callable[[Floats, Floats, Ints], Floats]
"""(bounds [B] ascending, counts [B, M], the step of each column [M]) -> values [M]"""


@dataclass(frozen=True)
class Histograms:
    """The series of a vector as histograms: equal labels but for ``le``, the name among them."""

    labels: tuple[Labels, ...]
    """[H], without ``le``"""
    rows: tuple[Ints, ...]
    """[H] The series that are buckets of each, by rising bound."""
    bounds: tuple[tuple[float, ...], ...]
    """[H] The bounds of these rows; equal ones may follow each other ("1" and "1.0")."""


def histogram_quantile(args: Sequence[Argument], context: Context) -> Frame:
    """``histogram_quantile(q, buckets)``: -Inf or +Inf, with a warning, for q outside of [0, 1]."""
    share, frame = args
    assert isinstance(share, ScalarSteps)
    assert isinstance(frame, Frame)
    check_quantile(share.value, context)
    return merged(_computed(frame, context, _quantile_at(share.value, context)))


def histogram_quantiles(args: Sequence[Argument], context: Context) -> Frame:
    """``histogram_quantiles(buckets, label, q, ...)``: each quantile under its text as a label."""
    frame, label, *shares = args
    assert isinstance(frame, Frame)
    assert isinstance(label, str)
    parts: list[Frame] = []
    for share in shares:
        assert isinstance(share, ScalarSteps)
        check_quantile(share.value, context)
        found = _computed(frame, context, _quantile_at(share.value, context))
        for one in np.unique(share.value).tolist():  # NaN once
            text = quantile_text(one)
            named = tuple(with_label(labels, label, text) for labels in found.labels)
            here = found.present & ((share.value == one) | np.isnan(share.value) & np.isnan(one))
            parts.append(Frame(named, found.value, here))
    return merged(
        Frame(
            tuple(labels for part in parts for labels in part.labels),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.present for part in parts]),
        )
    )


def histogram_fraction(args: Sequence[Argument], context: Context) -> Frame:
    """``histogram_fraction(lower, upper, buckets)``: the share of observations between them."""
    lower, upper, frame = args
    assert isinstance(lower, ScalarSteps)
    assert isinstance(upper, ScalarSteps)
    assert isinstance(frame, Frame)
    between = lower.value, upper.value

    def fraction(bounds: Floats, counts: Floats, step: Ints) -> Floats:
        return bucket_fraction(between[0][step], between[1][step], bounds, counts)

    return merged(_computed(frame, context, fraction))


def of_native(args: Sequence[Argument], context: Context) -> Frame:
    """Nothing: a series of floats is no native histogram."""
    del context
    (frame,) = args
    assert isinstance(frame, Frame)
    return Frame((), frame.value[:0], frame.present[:0])


def _quantile_at(share: Floats, context: Context) -> OfBuckets:
    def quantile(bounds: Floats, counts: Floats, step: Ints) -> Floats:
        value, mended = bucket_quantile(share[step], bounds, counts)
        if mended.any():
            context.annotations.info(
                "input to histogram_quantile needed to be fixed for monotonicity (see "
                "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                "#histogram_quantile)"
            )
        return value

    return quantile


def _computed(frame: Frame, context: Context, compute: OfBuckets) -> Frame:
    """A value for each histogram and step with any bucket; labels may collide."""
    context.budget.spend(frame.value.size)
    histograms = _histograms(frame, context)
    steps = frame.value.shape[1]
    value = np.zeros((len(histograms.labels), steps))
    present = np.zeros(value.shape, dtype=np.bool_)
    with np.errstate(all="ignore"):
        for of_bounds in _alike(histograms.bounds):
            bounds = np.array(histograms.bounds[of_bounds[0]])
            rows = np.stack([histograms.rows[one] for one in of_bounds], axis=1)  # [B, H]
            shape = (len(bounds), len(of_bounds) * steps)
            counts = frame.value[rows].reshape(shape)
            here = frame.present[rows].reshape(shape)
            result = np.zeros(shape[1])
            for buckets, columns in _patterns(here):
                some = counts[np.ix_(buckets, columns)]
                result[columns] = compute(bounds[buckets], some, columns % steps)
            value[of_bounds] = result.reshape(-1, steps)
            present[of_bounds] = here.any(axis=0).reshape(-1, steps)
    return Frame(tuple(map(unnamed, histograms.labels)), value, present)


def _histograms(frame: Frame, context: Context) -> Histograms:
    rows: list[int] = []
    bounds: list[float] = []
    for row, labels in enumerate(frame.labels):
        text = next((value for name, value in labels if name == BOUND), "")
        bound = _parsed_bound(text)
        if bound is not None:
            rows.append(row)
            bounds.append(bound)
        elif frame.present[row].any():
            context.annotations.warn(
                f'bucket label "{BOUND}" is missing or has a malformed value of "{text}"'
            )
    ids, distinct = numbered(without(frame.labels[row], {BOUND}) for row in rows)
    order = np.lexsort((np.array(bounds), ids)) if rows else np.zeros(0, dtype=np.int64)
    cuts = np.flatnonzero(np.diff(ids[order])) + 1
    groups = np.split(order, cuts) if rows else []
    return Histograms(
        tuple(distinct),
        tuple(np.array(rows)[group] for group in groups),
        tuple(tuple(bounds[one] for one in group) for group in groups),
    )


def _parsed_bound(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    return float.fromhex(text.replace("_", "")) if _HEXADECIMAL.fullmatch(text) else None


def _alike(bounds: Sequence[tuple[float, ...]]) -> Iterator[Ints]:
    """The histograms with equal bounds, together."""
    ids, distinct = numbered(bounds)
    for number in range(len(distinct)):
        yield np.flatnonzero(ids == number)


def _patterns(present: Flags) -> Iterator[tuple[Ints, Ints]]:
    """Which buckets exist and in which columns it is these: buckets may come and go with time."""
    if present.all():
        yield np.arange(present.shape[0]), np.arange(present.shape[1])
        return
    packed = np.ascontiguousarray(np.packbits(present, axis=0).T)
    _, first, ids = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    ids = ids.reshape(-1)
    for number, column in enumerate(first):
        buckets = np.flatnonzero(present[:, column])
        if len(buckets):
            yield buckets, np.flatnonzero(ids == number)


HISTOGRAM_FUNCTIONS: Mapping[str, VectorFunction] = {
    **{f"histogram_{name}": of_native for name in ("avg", "count", "stddev", "stdvar", "sum")},
    "histogram_fraction": histogram_fraction,
    "histogram_quantile": histogram_quantile,
    "histogram_quantiles": histogram_quantiles,
}
