"""The Prometheus exposition: promtool has no remark, and a parser finds what was stored."""

from __future__ import annotations

import math
import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mcp_api.tools.export_prometheus import QUANTILES, prometheus_text
from mcp_api.tools.prometheus_names import family_name, label_names
from tests.api.exported import Row, batches, row_lists
from tests.effort import examples

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and not os.environ.get("REQUIRE_SERVICES"), reason="promtool is not installed"
)

_PARTS = st.sampled_from(
    [
        "latency",
        "ms",
        "s",
        "request",
        "count",
        "total",
        "sum",
        "bucket",
        "gauge",
        "counter",
        "summary",
        "histogram",
        "seconds",
        "milliseconds",
        "bytes",
        "kilobytes",
        "minutes",
        "h",
        "cpuUsage",
        "CPU",
        "info",
        "bits",
        "celsius",
        "fahrenheit",
        "9lives",
        "",
        "é",
        "a:b",
        "b",
    ]
)
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("_".join).filter(bool)


def _row(name, value=1.0, at_ms=1_700_000_000_000, kind="gauge", unit="", **tags) -> Row:
    return Row(name, tuple(sorted(tags.items())), kind, unit, at_ms, value)


def _text(rows) -> str:
    return b"".join(prometheus_text(batches(rows))).decode()


def _lint(text: str) -> None:
    """Exit code 1 is a syntax error, 3 a remark of the linter."""
    assert PROMTOOL is not None, "promtool is required here and not installed"
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), text


def _family_names(text: str) -> list[str]:
    return [line.split()[2] for line in text.split("\n") if line.startswith("# TYPE")]


@needs_promtool
@settings(max_examples=examples(40), deadline=None)
@given(row_lists())
def test_promtool_accepts_whatever_is_stored(rows) -> None:
    _lint(_text(rows))


@needs_promtool
@settings(max_examples=examples(15), deadline=None)
@given(st.lists(st.tuples(_NAMES, st.sampled_from(["counter", "gauge", "summary"])), max_size=40))
def test_promtool_has_no_remark_on_names_that_it_would_dislike(named) -> None:
    rows = [_row(name, kind=kind, le="1", quantile="x", camelCase="y") for name, kind in named]
    _lint(_text({row.labels: row for row in rows}.values()))


@given(row_lists())
def test_every_series_is_there_once_under_distinct_names(rows) -> None:
    text = _text(rows)
    families = list(text_string_to_metric_families(text))
    kinds = {(row.name, row.type) for row in rows}
    assert len(families) == len(kinds)
    assert len(set(_family_names(text))) == len(kinds)
    samples = [sample for family in families for sample in family.samples]
    seen = {(sample.name, *sorted(sample.labels.items())) for sample in samples}
    assert len(seen) == len(samples)
    states = {row.labels for row in rows if row.type in ("counter", "gauge")}
    observed = {row.labels for row in rows} - states
    assert len(samples) == len(states) + len(observed) * (len(QUANTILES) + 2)


def test_counters_and_gauges_show_their_latest_sample_with_its_time() -> None:
    text = _text(
        [
            _row("request_count", 5.0, 1_000, "counter", path='/a"b\\c\n'),
            _row("request_count", 9.0, 2_000, "counter", path='/a"b\\c\n'),
            _row("cpu_usage", math.inf, 3_000, "gauge", "percent", host="a"),
        ]
    )
    assert text == (
        "# HELP cpu_usage cpu_usage in percent\n"
        "# TYPE cpu_usage gauge\n"
        'cpu_usage{host="a"} +Inf 3000\n'
        "# HELP request_count_total request_count\n"
        "# TYPE request_count_total counter\n"
        'request_count_total{path="/a\\"b\\\\c\\n"} 9.0 2000\n'
    )


def test_observations_show_as_a_summary_of_the_range() -> None:
    rows = [_row("rpc_seconds", float(i), 1_000 + i, "histogram", "s") for i in range(1, 101)]
    [family] = text_string_to_metric_families(_text(rows))
    found = {(s.name, s.labels.get("quantile")): s.value for s in family.samples}
    assert family.type == "summary"
    assert found["rpc_seconds_count", None] == 100
    assert found["rpc_seconds_sum", None] == 5050
    assert found["rpc_seconds", "0.5"] == pytest.approx(50.5)
    assert found["rpc_seconds", "0.99"] == pytest.approx(99.01)


def test_names_that_prometheus_cannot_write_stay_distinct_and_help_has_the_original() -> None:
    text = _text(
        [_row("http.requests", 1.0), _row("http_requests", 2.0), _row("http requests", 3.0)]
    )
    names = _family_names(text)
    assert len(set(names)) == 3
    assert "http_requests" in names
    assert " http.requests\n" in text
    assert " http requests\n" in text


def test_the_same_name_with_two_types_makes_two_families() -> None:
    text = _text([_row("m", kind="gauge", a="1"), _row("m", kind="summary", a="2")])
    assert len(list(text_string_to_metric_families(text))) == 2


@given(_NAMES, st.sampled_from(["counter", "gauge"]))
def test_clean_names_stay_as_they_are(name, kind) -> None:
    once = family_name(name, kind)
    assert family_name(once, kind) == once


def test_labels_that_collide_or_are_reserved_get_names_of_their_own() -> None:
    names = label_names({"a.b": "1", "a_b": "2", "le": "3", "__meta": "4", "1st": "5"})
    assert len(set(names.values())) == 5
    assert names["le"] == "exported_le"
    assert names["__meta"] == "tag__meta"
    assert names["1st"] == "_1st"
