"""query_metrics names the PromQL of its points, and that gives the same points."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_api.tools.expression import points_expression
from mcp_api.tools.times import iso
from projections.answers import EACH_SERIES, Function, Matcher, Selection
from tests.api.tools_rig import NOW_MS, open_rig, point
from tests.effort import examples

STEP_MS = 10_000
LAST_MS = NOW_MS - 1
"""The last millisecond of a step."""
HOSTS = {"a": {"zone": "x"}, "b": {"zone": "x"}, "c": {}}
AGGREGATIONS = ("avg", "sum", "min", "max", "count", "last", "stddev", "p0", "p50", "p99.9", "p100")
JOINED = ("avg", "sum", "min", "max", "count")
"""What PromQL can say of the samples of several series together."""
NAMES = ("cpu", "a:b", "é", "a.b", "a b", 'a"b\\', "1a", "\n\x01", "sum", "by", "offset", "and")
SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(sorted(HOSTS)),
        st.integers(1, 60),
        st.one_of(st.integers(-100, 100), st.just("NaN")),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda sample: sample[:2],
)


def _comparable(answer, shift_ms):
    """Points by tags and time; a tag that a series lacks is none, and the name is no tag."""
    found = {}
    for result in answer["results"]:
        tags = {key: value for key, value in result["tags"].items() if value}
        tags.pop("__name__", None)
        found[tuple(sorted(tags.items()))] = dict(result["points"])
    moments = [iso(NOW_MS - n * STEP_MS + shift_ms) for n in range(1, 7)]
    return {tags: [points.get(at) for at in moments] for tags, points in found.items()}


def _same(left, right):
    if isinstance(left, str) or isinstance(right, str) or left is None or right is None:
        return left == right
    return left == pytest.approx(right, rel=1e-5, abs=1e-9)


@settings(max_examples=examples(8), deadline=None)
@given(SAMPLES, st.sampled_from([None, ["zone"], ["host", "zone"], ["*"]]))
async def test_the_expression_gives_the_same_points(tmp_path_factory, samples, group_by) -> None:
    span = {"start_time": iso(NOW_MS - 60_000), "end_time": iso(LAST_MS), "step": "10s"}
    grouping = {} if group_by is None else {"group_by": group_by}
    async with open_rig(tmp_path_factory.mktemp("rig")) as rig:
        await rig.collect(
            [
                point("m", value, NOW_MS - second * 1_000, host=host, **HOSTS[host])
                for host, second, value in samples
            ]
        )
        for aggregation in AGGREGATIONS:
            asked = {"metric_name": "m", "aggregation": aggregation, **grouping}
            answer = await rig.call("query_metrics", **asked, **span)
            alone = all(result["series"] == 1 for result in answer["results"])
            assert ("promql" in answer) == (alone or aggregation in JOINED)
            if "promql" not in answer:
                continue
            begin = {"start_time": iso(NOW_MS - 60_000 + STEP_MS - 1)}
            again = await rig.call("query_metrics", promql=answer["promql"], **span | begin)
            by_arguments = _comparable(answer, 0)
            by_promql = _comparable(again, STEP_MS - 1)
            if group_by is None:  # the one result has the tags that are common, or none
                by_arguments = dict(enumerate(by_arguments.values()))
                by_promql = dict(enumerate(by_promql.values()))
            assert by_arguments.keys() == by_promql.keys()
            for tags, points in by_arguments.items():
                pairs = zip(points, by_promql[tags], strict=True)
                assert all(_same(one, other) for one, other in pairs), answer["promql"]


def _expression(function: Function = "avg", *matchers: Matcher, **more) -> str | None:
    asked = {"group_by": None, "step_ms": 300_000, "alone": False, **more}
    quantile = 0.95 if function == "quantile" else None
    return points_expression(Selection("cpu", matchers, 0, 1), function, quantile, **asked)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "sum(sum_over_time(cpu[5m])) / sum(count_over_time(cpu[5m]))"),
        ({"alone": True}, "avg_over_time(cpu[5m])"),
        ({"alone": True, "group_by": ("host",)}, "avg by (host) (avg_over_time(cpu[5m]))"),
        ({"alone": True, "group_by": EACH_SERIES}, "avg_over_time(cpu[5m])"),
        ({"function": "count", "group_by": ("a", "b")}, "sum by (a, b) (count_over_time(cpu[5m]))"),
        ({"function": "quantile", "alone": True}, "quantile_over_time(0.95, cpu[5m])"),
        ({"function": "quantile"}, None),
        ({"function": "last"}, None),
        ({"function": "stddev"}, None),
        ({"function": "rate", "alone": True}, None),
        ({"function": "increase", "alone": True}, None),
        ({"function": "max", "step_ms": 90_500}, "max(max_over_time(cpu[1m30s500ms]))"),
    ],
)
def test_an_expression_reads_as_one_would_write_it(asked, text) -> None:
    assert _expression(**asked) == text


def test_tag_filters_are_matchers() -> None:
    matchers = (Matcher("host", "=~", r"web\d"), Matcher("host.name", "!=", 'a"b'))
    text = _expression("max", *matchers, alone=True)
    assert text == r'max_over_time(cpu{host=~"web\\d", "host.name"!="a\"b"}[5m])'


@pytest.mark.parametrize("name", NAMES)
def test_any_name_makes_an_expression_that_can_be_asked(name: str) -> None:
    for matchers in ((), (Matcher(name, "=", name), Matcher(name, "!~", 'a"\\d\n\x01'))):
        for group_by in (None, (name, "by")):
            text = points_expression(
                Selection(name, matchers, 0, 1),
                "avg",
                None,
                group_by=group_by,
                step_ms=1_001,
                alone=False,
            )
            assert text is not None


def test_what_could_not_be_asked_is_not_named() -> None:
    assert _expression("max", Matcher("host", "!=", "a" * 4_096)) is None
    assert _expression("max", Matcher("host", "!=", "\ud800")) is None
    assert _expression("max", Matcher("host", "=~", r"\Qa.b\E")) is None
    assert _expression("max", Matcher("__name__", "=", "cpu")) is None
