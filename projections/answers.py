"""What may be asked of the read side, and the shapes of the answers: plain frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

MatchOp = Literal["=", "!=", "=~", "!~"]

Function = Literal[
    "avg", "sum", "min", "max", "count", "last", "stddev", "rate", "increase", "quantile"
]

FUNCTIONS: tuple[Function, ...] = (
    "avg",
    "sum",
    "min",
    "max",
    "count",
    "last",
    "stddev",
    "rate",
    "increase",
    "quantile",
)

EACH_SERIES = ("*",)
"""As ``group_by``: every series is a group of its own."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label, as in Prometheus: a missing label equals ``""``.

    ``=~`` and ``!~`` take RE2, anchored at both ends; ``.`` matches line ends too.
    """

    label: str
    op: MatchOp
    value: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Samples of the series that match, with ``start_ms <= t <= end_ms`` (Unix ms).

    ``metric`` None: any name (``__name__`` can still be matched as a label).
    """

    metric: str | None
    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class AsOf:
    """How fresh the answers are: newest sample time folded (None before the first sample), and the
    next offset to be read of each (topic, partition)."""

    time_ms: int | None
    positions: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Group:
    """One group's aggregate over the whole range, and by step.

    ``labels``: the group's labels; a label that its series lack is ``""``. ``value``: the function
    asked for; ``count`` samples of ``series`` series (None: values of one expression). ``min`` to
    ``last`` describe the samples whatever the function; ``first``/``last`` are the oldest and
    newest sample (of several at one time the first or last series by label text). ``points``:
    ``(t, value)`` of the steps ``[t, t + step_ms)`` that have samples, in order; none without a
    step.
    """

    labels: Mapping[str, str]
    value: float
    count: int
    series: int | None
    min: float
    max: float
    avg: float
    first: float
    last: float
    first_ms: int
    last_ms: int
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Aggregated:
    """Groups with samples in the range, ordered by labels; ``truncated`` where some are left out
    (``groups_total`` says how many there are)."""

    groups: tuple[Group, ...]
    groups_total: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric name: its type and unit (of its newest series), how many series, the time of its
    newest sample (None if it has none), and its label names in order."""

    name: str
    type: str
    unit: str
    series: int
    last_ms: int | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metrics:
    """A page of metrics, by name; ``total`` of all that match."""

    metrics: tuple[MetricInfo, ...]
    total: int


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The values of one label, ordered, at most the limit asked for; ``total`` of all.

    ``series[i]``: how many series carry ``values[i]``.
    """

    values: tuple[str, ...]
    series: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Described:
    """Everything about one metric: `MetricInfo`, the values of each label, and its samples."""

    info: MetricInfo
    labels: Mapping[str, LabelValues]
    first_ms: int | None
    last_ms: int | None
    points: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows stored. ``duplicates``: samples left out because an earlier one had their time;
    ``poison``: records that could not be understood."""

    points: int
    series: int
    windows: int
    metrics: int
    duplicates: int
    poison: int


@dataclass(frozen=True, slots=True)
class Exported:
    """Samples to be written out, ordered by series text, then time.

    ``batches``: Arrow record batches of ``name, labels, type, unit`` (dictionary-encoded text;
    ``labels`` is the series' canonical JSON with ``__name__``), ``at_ms`` (int64) and ``value``
    (float64). The staleness marker is left out. ``rows`` in all; ``truncated`` where the row limit
    cut some off.
    """

    rows: int
    truncated: bool
    batches: Iterator[Any]
