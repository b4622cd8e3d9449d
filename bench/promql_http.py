"""PromQL over HTTP, this server and a real Prometheus side by side on the same samples.

Needs ``prometheus`` on the path. Each query is asked of both in turn, by one client over one
connection each, with gzip accepted as browsers and dashboards do; the median of several rounds.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import statistics
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench._prometheus import holding, until_ready
from bench._samples import log_of, scrapes
from bench._server import running
from streams.config import LOG_FILE

HOUR_S = 3_600
END_S = 1_800_000_000 // HOUR_S * HOUR_S


@dataclass(frozen=True)
class Question:
    """An expression at the end of the data (``range_s`` 0), or each step of a range up to it."""

    expr: str
    series: int
    """That it reads."""
    range_s: int = 0
    step_s: int = 60

    @property
    def path(self) -> str:
        if not self.range_s:
            return _path("query", query=self.expr, time=END_S)
        return _path(
            "query_range",
            query=self.expr,
            start=END_S - self.range_s,
            end=END_S,
            step=self.step_s,
        )

    def __str__(self) -> str:
        if not self.range_s:
            return self.expr
        return f"{self.expr}  {self.range_s // HOUR_S} h / {self.step_s} s"


def questions(hours: int, series: int, wide: int) -> tuple[Question, ...]:
    """``long…``: over all ``hours``; ``wide…``: more series, for one hour."""
    hour, all_s = HOUR_S, hours * HOUR_S
    few, some = '{instance=~"host-0000[0-9]"}', '{job="job-3"}'
    tenth = series // 10
    return (
        Question("wide_total", wide),
        Question("sum by (job) (rate(wide_total[5m]))", wide),
        Question("topk(5, rate(wide_total[5m]))", wide),
        Question(f"avg_over_time(long{some}[{hours}h])", tenth),
        Question(f"sum by (job) (increase(long_total[{hours}h]))", series),
        Question(f"quantile_over_time(0.99, long{some}[{hours}h])", tenth),
        Question(f"rate(long_total{few}[5m])", 10, hour, 15),
        Question(f"sum(rate(long_total{some}[5m]))", tenth, hour, 15),
        Question("sum by (job) (rate(wide_total[5m]))", wide, hour, 60),
        Question("rate(wide_total[5m])", wide, hour, 60),
        Question("max_over_time(wide_total[5m])", wide, hour, 60),
        Question(f"rate(long_total{few}[5m])", 10, all_s, 60),
        Question(f"avg by (instance) (long{some})", tenth, all_s, 60),
        Question("sum by (job) (rate(long_total[5m]))", series, all_s, 60),
        Question("sum by (job) (rate(long_total[5m]))", series, all_s, 300),
        Question("sum by (job) (long)", series, all_s, 60),
        Question("avg by (job) (avg_over_time(long[5m]))", series, all_s, 300),
        Question("max_over_time(long[1h])", series, all_s, 3_600),
        Question("max by (job) (max_over_time(long[1h]))", series, all_s, 300),
        Question("count_over_time(long[5m])", series, all_s, 300),
    )


def main(argv: list[str]) -> None:
    """Prints milliseconds of both for each query, and the memory that each takes."""
    options = argparse.ArgumentParser(prog="python -m bench promql_http", description=__doc__)
    options.add_argument("--hours", type=int, default=24, help="of the long range")
    options.add_argument("--series", type=int, default=1_000, help="over the long range")
    options.add_argument("--wide", type=int, default=10_000, help="series of the last hour")
    options.add_argument("--every", type=int, default=15, help="seconds between samples")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default="", help="queries with this text")
    asked = options.parse_args(argv)
    long_ms = _times(asked.hours, asked.every)
    metrics = [
        scrapes("long_total", asked.series, long_ms, counter=True),
        scrapes("long", asked.series, long_ms, counter=False),
        scrapes("wide_total", asked.wide, _times(1, asked.every), counter=True),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log_of(metrics, folder / LOG_FILE, 60_000)
        with (
            holding(metrics, folder / "prometheus") as theirs,
            running(folder, METRICS_COLLECTION_INTERVAL="0") as ours,
        ):
            until_ready(ours.port, "/ready")
            before = f"{ours.rss_mb():.0f} MB and {theirs.rss_mb():.0f} MB"
            table = _compared(asked, (ours.port, theirs.port))
            Console(width=150).print(table)
            print(
                f"{sum(map(len, metrics)):,} samples; resident, ours and Prometheus': "
                f"{before} before, {ours.rss_mb():.0f} MB and {theirs.rss_mb():.0f} MB after"
            )


def _compared(asked: argparse.Namespace, ports: tuple[int, int]) -> Table:
    table = Table(title=f"PromQL over HTTP, median of {asked.rounds}")
    for column in ("query", "series", "ours ms", "Prometheus ms", "ratio", "answers"):
        table.add_column(column, justify="left" if column == "query" else "right")
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=120) for port in ports]
    for question in questions(asked.hours, asked.series, asked.wide):
        if asked.only not in str(question):
            continue
        took: list[list[float]] = [[], []]
        bodies = [b"", b""]
        for _ in range(asked.rounds):
            for which, client in enumerate(clients):
                begun = time.perf_counter()
                client.request("GET", question.path, headers={"Accept-Encoding": "gzip"})
                bodies[which] = client.getresponse().read()
                took[which].append((time.perf_counter() - begun) * 1_000)
        ours, theirs = map(statistics.median, took)
        table.add_row(
            str(question),
            f"{question.series:,}",
            f"{ours:,.0f}",
            f"{theirs:,.0f}",
            f"{ours / theirs:.2f}",
            _agreement(*map(_values, bodies)),
        )
    return table


Values = dict[str, list[tuple[float, float]]] | str
"""Samples by series, or why there are none."""


def _values(body: bytes) -> Values:
    answer = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    if answer["status"] != "success":
        return str(answer["error"])
    return {
        json.dumps(one["metric"], sort_keys=True): [
            (float(at_s), float(value)) for at_s, value in one.get("values", [one.get("value")])
        ]
        for one in answer["data"]["result"]
    }


def _agreement(ours: Values, theirs: Values) -> str:
    """How far the answers are from being the same: other samples, or other values."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours if isinstance(ours, str) else str(theirs)
    if ours.keys() != theirs.keys():
        return f"{len(ours)} and {len(theirs)} series"
    if not ours:
        return "nothing"
    mine, other = (
        np.array([pair for name in sorted(ours) for pair in found[name]])
        for found in (ours, theirs)
    )
    if mine.shape != other.shape or (mine[:, 0] != other[:, 0]).any():
        return "other times"
    close = np.isclose(mine[:, 1], other[:, 1], rtol=1e-9, atol=0, equal_nan=True)
    return "equal" if close.all() else f"{(~close).sum():,} of {len(close):,} differ"


def _times(hours: int, every_s: int) -> npt.NDArray[np.int64]:
    """Up to a second before the end: a sample on a window's bound is one on which Prometheus
    2 and 3 differ."""
    count = hours * HOUR_S // every_s + 300 // every_s
    return 1_000 * (END_S - 1 - every_s * np.arange(count, dtype=np.int64)[::-1])


def _path(name: str, **asked: object) -> str:
    return f"/api/v1/{name}?{urllib.parse.urlencode(asked)}"
