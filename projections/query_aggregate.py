"""The aggregate query: samples of the selected series, by group, over the range and by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from projections.answers import EACH_SERIES, FUNCTIONS, Aggregated, Function, Group, Selection
from projections.matching import Matched, match_series
from projections.reading import Reader
from streams.errors import InputError, QueryTooExpensive
from streams.events.batch import Floats, Ints
from streams.events.labels import NAME

_CHOSEN = """FROM points JOIN chosen USING (series_id)
    WHERE at_ms BETWEEN $start_ms AND $end_ms AND value IS NOT NULL"""

_SUMMARY = f"""
    SELECT any_value(grp) AS grp, any_value(rank) AS rank, count(*) AS count, sum(value) AS sum,
        min(value) FILTER (WHERE NOT isnan(value)) AS min,
        max(value) FILTER (WHERE NOT isnan(value)) AS max,
        arg_min(value, at_ms) AS first, arg_max(value, at_ms) AS last,
        min(at_ms) AS first_ms, max(at_ms) AS last_ms
    {_CHOSEN} GROUP BY series_id ORDER BY grp, rank"""

_STEP = "at_ms - ((at_ms % $step_ms) + $step_ms) % $step_ms"
"""The start of a sample's step: floor division, before 1970 too."""

_QUANTILE = "quantile_cont(if(isnan(value), '-inf'::DOUBLE, value), $quantile)"
"""As PromQL's: NaN counts as less than every number. DuckDB has it above them all."""

_VALUES: Mapping[str, str] = {
    "avg": "avg(value)",
    "sum": "sum(value)",
    "min": "coalesce(min(value) FILTER (WHERE NOT isnan(value)), 'nan'::DOUBLE)",
    "max": "coalesce(max(value) FILTER (WHERE NOT isnan(value)), 'nan'::DOUBLE)",
    "count": "count(*)::DOUBLE",
    "last": "arg_max(value, at_ms::HUGEINT * $ranks + rank)",
    # DuckDB gives 0 for one NaN, and for values whose squares overflow.
    "stddev": "CASE WHEN bool_and(abs(value) < 1e150) THEN stddev_pop(value) ELSE 'nan' END",
    "quantile": f"CASE WHEN bool_or(isnan(value)) AND {_QUANTILE} = '-inf' THEN 'nan' "
    f"ELSE {_QUANTILE} END",
}

_GROWTH = f"""(
    SELECT grp, at_ms, CASE WHEN value < before AND NOT isnan(before) THEN value
        ELSE value - before END AS growth
    FROM (
        SELECT grp, at_ms, value,
            lag(value) OVER (PARTITION BY series_id ORDER BY at_ms) AS before
        {_CHOSEN}))"""  # noqa: S608  (constant text only)


_Steps = dict[int, list[tuple[int, float]]]
"""By number of group: start and value of each step."""


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """The selected series: ``grp[i]`` is the group of ``ids[i]``, ``rank[i]`` its place by text.

    ``labels``: those of each group, groups ordered by them.
    """

    matched: Matched
    grp: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    labels: Sequence[Mapping[str, str]]

    def table(self, kept: npt.NDArray[np.bool_] | None = None) -> Any:
        """As DuckDB joins it; ``kept`` cuts it to the series of some groups."""
        rows = pa.table(
            {
                "series_id": pa.array(self.matched.ids, pa.int32()),
                "grp": self.grp,
                "rank": self.rank,
            }
        )
        return rows if kept is None else rows.filter(pa.array(kept))


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """A function over the series of ``chosen``."""

    reader: Reader
    function: Function
    params: Mapping[str, object]
    chosen: Any

    def ask(
        self, step: str, more: Mapping[str, object], *, limit: int
    ) -> tuple[Ints, Ints, Floats]:
        """Group number, start of step and value (of rates the growth), ordered.

        Every SQL text here is a constant.
        """
        if self.function in ("rate", "increase"):
            what = f"{step} AS t, coalesce(sum(growth), 0) AS value FROM {_GROWTH}"
        else:
            what = f"{step} AS t, {_VALUES[self.function]} AS value {_CHOSEN}"
        sql = f"SELECT grp, {what} GROUP BY grp, t ORDER BY grp, t LIMIT $limit"
        params = {**self.params, **more, "limit": limit}
        used = {name: value for name, value in params.items() if f"${name}" in sql}
        rows = self.reader.table(sql, used, chosen=self.chosen)
        return rows.column("grp").to_numpy(), rows.column("t").to_numpy(), _floats(rows, "value")


def aggregate(
    reader: Reader,
    selection: Selection,
    *,
    function: Function,
    quantile: float | None,
    group_by: tuple[str, ...] | None,
    step_ms: int | None,
    groups_max: int,
    points_max: int,
) -> Aggregated:
    """See `projections.queries.Queries.aggregate`."""
    _check(function, quantile, step_ms)
    names = None if selection.metric is None else (selection.metric,)
    matched = match_series(reader.series, names, selection.matchers)
    if not matched.ids:
        return Aggregated((), 0, truncated=False)
    choice = _choose(reader, matched, selection, group_by)
    params: dict[str, object] = {"start_ms": selection.start_ms, "end_ms": selection.end_ms}
    series = reader.table(_SUMMARY, params, chosen=choice.table())
    numbers, groups = _summarise(series, choice)
    total = len(groups)
    numbers, groups = numbers[:groups_max], groups[:groups_max]
    if not groups:
        return Aggregated((), total, truncated=total > 0)
    if group_by is None:
        groups = [replace(groups[0], labels=_common(series, choice, selection))]
    params |= {"quantile": quantile, "ranks": len(matched.ids)}
    asking = _Asking(reader, function, params, choice.table(np.isin(choice.grp, numbers)))
    steps: _Steps = {}
    if step_ms is not None:
        steps = _steps(asking, step_ms, len(groups) * points_max)
        _check_steps(steps, points_max)
    values = _range_values(asking, groups, numbers, steps)
    if function == "rate":
        span_ms = selection.end_ms - selection.start_ms
        values = {number: _a_second(value, span_ms) for number, value in values.items()}
        steps = {
            number: [(at_ms, _a_second(value, step_ms or 0)) for at_ms, value in points]
            for number, points in steps.items()
        }
    done = tuple(
        replace(group, value=values[number], points=tuple(steps.get(number, ())))
        for number, group in zip(numbers, groups, strict=True)
    )
    return Aggregated(done, total, truncated=total > len(done))


def _check(function: str, quantile: float | None, step_ms: int | None) -> None:
    if function not in FUNCTIONS:
        raise InputError(f"function is {function!r}; valid are {', '.join(FUNCTIONS)}")
    if function == "quantile" and (quantile is None or not 0 <= quantile <= 1):
        raise InputError(f"quantile is {quantile!r}; it must lie between 0 and 1")
    if step_ms is not None and step_ms <= 0:
        raise InputError(f"step is {step_ms} ms; it must be above 0")


def _check_steps(steps: _Steps, points_max: int) -> None:
    most = max(map(len, steps.values()), default=0)
    if most > points_max:
        raise QueryTooExpensive(
            f"more than {points_max} steps have samples: ask for a larger step or a shorter range"
        )


def _choose(
    reader: Reader, matched: Matched, selection: Selection, group_by: tuple[str, ...] | None
) -> _Choice:
    texts = [reader.series.texts[number] for number in matched.ids]
    rank = np.empty(len(texts), dtype=np.int32)
    rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    labels: list[dict[str, str]]
    if group_by is None:
        labels = [{} for _ in texts]
    elif group_by == EACH_SERIES:
        labels = [_own(one, selection) for one in matched.labels]
    else:
        labels = [{name: one.get(name, "") for name in group_by} for one in matched.labels]
    keys = [tuple(sorted(one.items())) for one in labels]
    ordered = sorted(set(keys))
    number = {key: i for i, key in enumerate(ordered)}
    grp = np.array([number[key] for key in keys], dtype=np.int32)
    return _Choice(matched, grp, rank, [dict(key) for key in ordered])


def _own(labels: Mapping[str, str], selection: Selection) -> dict[str, str]:
    """A series' labels; its name only where the question left the name open."""
    return {
        name: value for name, value in labels.items() if name != NAME or selection.metric is None
    }


def _common(series: Any, choice: _Choice, selection: Selection) -> dict[str, str]:
    """Labels that all series with samples share."""
    by_rank = {int(rank): i for i, rank in enumerate(choice.rank)}
    rows = [by_rank[rank] for rank in series.column("rank").to_pylist()]
    common = dict(_own(choice.matched.labels[rows[0]], selection))
    for row in rows[1:]:
        labels = choice.matched.labels[row]
        common = {name: value for name, value in common.items() if labels.get(name) == value}
    return common


def _summarise(series: Any, choice: _Choice) -> tuple[list[int], list[Group]]:
    """One row a series to one a group: their numbers and summaries, in order of labels."""
    grp, rank = series.column("grp").to_numpy(), series.column("rank").to_numpy()
    if not len(grp):
        return [], []
    starts = np.flatnonzero(np.append(True, grp[1:] != grp[:-1]))
    count = series.column("count").to_numpy().astype(np.int64)
    first_ms, last_ms = series.column("first_ms").to_numpy(), series.column("last_ms").to_numpy()
    oldest = np.lexsort((rank, first_ms, grp))[starts]
    newest = np.lexsort((rank, last_ms, grp))[np.append(starts[1:], len(grp)) - 1]
    counts = np.add.reduceat(count, starts)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and ±Inf are values
        sums = np.add.reduceat(_floats(series, "sum"), starts)
        low = np.fmin.reduceat(_floats(series, "min"), starts)
        high = np.fmax.reduceat(_floats(series, "max"), starts)
    columns = {
        "value": sums,
        "count": counts,
        "series": np.diff(np.append(starts, len(grp))),
        "min": low,
        "max": high,
        "avg": sums / counts,
        "first": _floats(series, "first")[oldest],
        "last": _floats(series, "last")[newest],
        "first_ms": first_ms[oldest],
        "last_ms": last_ms[newest],
    }
    numbers: list[int] = grp[starts].tolist()
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    groups = [
        Group(choice.labels[number], **dict(zip(columns, row, strict=True)), points=())
        for number, row in zip(numbers, rows, strict=True)
    ]
    return numbers, groups


def _floats(series: Any, name: str) -> Floats:
    """NULL, which here means that every value was NaN, as NaN."""
    values: Floats = series.column(name).to_numpy().astype(np.float64, copy=False)
    return values


def _range_values(
    asking: _Asking, groups: Sequence[Group], numbers: Sequence[int], steps: _Steps
) -> dict[int, float]:
    match asking.function:
        case "sum":
            values = [group.value for group in groups]
        case "count":
            values = [float(group.count) for group in groups]
        case "avg" | "min" | "max" | "last":
            values = [float(getattr(group, asking.function)) for group in groups]
        case "rate" | "increase" if steps:  # to find it costs as much as all the rest
            values = [sum(value for _, value in steps[number]) for number in numbers]
        case _:
            found = asking.ask("0::BIGINT", {}, limit=len(groups))
            return dict(zip(found[0].tolist(), found[2].tolist(), strict=True))
    return dict(zip(numbers, values, strict=True))


def _a_second(growth: float, span_ms: int) -> float:
    return growth / (span_ms / 1000) if span_ms else 0.0


def _steps(asking: _Asking, step_ms: int, limit: int) -> _Steps:
    grp, at_ms, value = asking.ask(_STEP, {"step_ms": step_ms}, limit=limit + 1)
    if len(grp) > limit:
        raise QueryTooExpensive(
            f"more than {limit} steps of all groups have samples: ask for a larger step, a "
            "shorter range or fewer groups"
        )
    steps: _Steps = {}
    for number, start, one in zip(grp.tolist(), at_ms.tolist(), value.tolist(), strict=True):
        steps.setdefault(number, []).append((start, one))
    return steps
