"""Samples as a Prometheus text exposition (format 0.0.4): one state a series, not its history.

https://prometheus.io/docs/instrumenting/exposition_formats/
Counters and gauges show the latest sample of the range, with its time. Histogram and summary points
are observations: they show as a summary of the range (quantiles, sum, count).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcp_api.tools.prometheus_names import family_name, is_observed, label_names, unique
from mcp_api.tools.series_columns import series_columns
from streams.events.batch import Floats, MetricType
from streams.events.labels import parse_series

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_LINES_A_CHUNK = 2_000


@dataclass(slots=True)
class _Run:
    """The samples of one series, which may go on in the next batch."""

    name: str
    labels: str
    type: str
    unit: str
    value: float
    at_ms: int
    observed: list[Floats] = field(default_factory=list)


@dataclass(slots=True)
class _Family:
    name: str
    type: str
    unit: str
    samples: list[tuple[str, tuple[float, ...], int]] = field(default_factory=list)
    """Labels' text, values (one; or quantiles, sum and count), time."""


def prometheus_text(batches: Iterable[Any]) -> Iterator[bytes]:
    """The exposition, which `promtool check metrics` accepts without a remark.

    ``batches`` come ordered by series, then time. Holds one state a series in memory, since all
    series of a name must stand together.
    """
    families: dict[tuple[str, str], _Family] = {}
    for run in _runs(batches):
        family = families.setdefault((run.name, run.type), _Family(run.name, run.type, run.unit))
        family.samples.append((run.labels, _values(run), run.at_ms))
    taken: set[str] = set()
    for key in sorted(families):
        family = families[key]
        exposed = unique(family_name(family.name, family.type), "\0".join(key), taken)
        yield from _chunks(_lines(exposed, family))


def _runs(batches: Iterable[Any]) -> Iterator[_Run]:
    """Each series once, with its last sample and, where they count, all its values."""
    current: _Run | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        found = series_columns(batch)
        values, times = batch["value"].to_numpy(), batch["at_ms"].to_numpy()
        starts = np.flatnonzero(np.r_[True, found.row[1:] != found.row[:-1]])
        ends = np.r_[starts[1:], len(values)]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            series = int(found.row[start])
            text, kind = found.labels[series], found.types[series]
            if current is None or current.labels != text:
                if current is not None:
                    yield current
                current = _Run(found.names[series], text, kind, found.units[series], 0.0, 0)
            current.value, current.at_ms = float(values[end - 1]), int(times[end - 1])
            if is_observed(kind):
                current.observed.append(values[start:end])
    if current is not None:
        yield current


def _values(run: _Run) -> tuple[float, ...]:
    if not run.observed:
        return (run.value,)
    observed = np.concatenate(run.observed)
    finite = observed[np.isfinite(observed)]  # a quantile among infinities is not a number
    quantiles = np.quantile(finite, QUANTILES) if len(finite) else [float("nan")] * len(QUANTILES)
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(observed.sum())
    return (*map(float, quantiles), total, float(len(observed)))


def _lines(exposed: str, family: _Family) -> Iterator[str]:
    observed = is_observed(family.type)
    about = f"{family.name} in {family.unit}" if family.unit else family.name
    if observed:
        about += f", {family.type} observations of the exported range"
    yield f"# HELP {exposed} {_escaped(about)}\n"
    yield f"# TYPE {exposed} {MetricType.SUMMARY if observed else family.type}\n"
    for text, values, at_ms in family.samples:
        pairs = _pairs(parse_series(text)[1])
        if not observed:
            yield f"{exposed}{_braced(pairs)} {_number(values[0])} {at_ms}\n"
            continue
        for quantile, value in zip(QUANTILES, values, strict=False):
            braced = _braced([*pairs, f'quantile="{quantile}"'])
            yield f"{exposed}{braced} {_number(value)} {at_ms}\n"
        for suffix, value in zip(("_sum", "_count"), values[len(QUANTILES) :], strict=True):
            yield f"{exposed}{suffix}{_braced(pairs)} {_number(value)} {at_ms}\n"


def _pairs(tags: dict[str, str]) -> list[str]:
    return [f'{label}="{_quoted(tags[tag])}"' for tag, label in label_names(tags).items()]


def _braced(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    for line in lines:
        waiting.append(line)
        if len(waiting) == _LINES_A_CHUNK:
            yield "".join(waiting).encode()
            waiting.clear()
    yield "".join(waiting).encode()
