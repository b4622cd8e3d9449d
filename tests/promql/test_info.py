"""``info``: labels of a target's info metrics on its other series."""

from __future__ import annotations

import pytest

from streams.errors import QueryError
from streams.promql.engine import instant_query, range_query
from streams.promql.frames import Labels
from streams.promql.source import MemorySource
from tests.promql.timelines import labels_of, memory

TARGET = {"instance": "i", "job": "j"}
SERIES = labels_of("x", **TARGET, own="o")
INFO = labels_of("target_info", **TARGET, version="1", zone="z")


def first(expr: str, source: MemorySource) -> Labels:
    (labels,) = instant_query(expr, source, 0).labels
    return labels


def test_a_series_gets_the_labels_of_its_target() -> None:
    source = memory({SERIES: [5], INFO: [1]})
    assert first("info(x)", source) == labels_of("x", **TARGET, own="o", version="1", zone="z")
    assert first('info(x, {version=~".+"})', source) == labels_of(
        "x", **TARGET, own="o", version="1"
    )


def test_a_series_without_a_match_stays_only_if_no_label_is_asked_for() -> None:
    source = memory({SERIES: [5]})
    assert first("info(x)", source) == SERIES
    assert first('info(x, {__name__="target_info", version=~".*"})', source) == SERIES
    assert instant_query('info(x, {version=~".+"})', source, 0).labels == ()


def test_a_label_that_the_series_has_stays() -> None:
    source = memory({SERIES: [5], labels_of("target_info", **TARGET, own="other"): [1]})
    assert first("info(x)", source) == SERIES


def test_of_two_info_series_the_newer_counts_step_by_step() -> None:
    newer = labels_of("target_info", **TARGET, version="2")
    older = labels_of("target_info", **TARGET, version="1")
    source = memory({SERIES: [5, 5, 5], older: [1], newer: [None, 1]})
    answer = range_query("info(x)", source, 0, 20_000, 10_000)
    assert [dict(labels)["version"] for labels in answer.labels] == ["1", "2"]
    assert answer.at_ms.tolist() == [0, 10_000, 20_000]


def test_two_info_series_of_one_time_are_refused() -> None:
    twice = memory(
        {
            SERIES: [5],
            labels_of("target_info", **TARGET, version="1"): [1],
            labels_of("target_info", **TARGET, version="2"): [1],
        }
    )
    with pytest.raises(QueryError, match="found duplicate series for info metric"):
        instant_query("info(x)", twice, 0)


def test_info_metrics_themselves_get_nothing() -> None:
    source = memory({INFO: [1], labels_of("build_info", **TARGET, build="b"): [1]})
    assert first('info(build_info, {__name__=~".+_info"})', source) == labels_of(
        "build_info", **TARGET, build="b"
    )
    # Only names that do not end so are excluded here, so it is none of the info metrics.
    assert dict(first("info(build_info)", source))["zone"] == "z"


def test_two_info_metrics_that_disagree_are_refused() -> None:
    source = memory({SERIES: [5], INFO: [1], labels_of("build_info", **TARGET, zone="q"): [1]})
    with pytest.raises(QueryError, match="conflicting label: zone"):
        instant_query('info(x, {__name__=~".+_info"})', source, 0)
