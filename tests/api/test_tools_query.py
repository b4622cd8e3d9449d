"""query_metrics: the numbers are right, the answer is small, and what is cut says so."""

from __future__ import annotations

import json
import math
import re

import pytest

from streams.errors import InputError, NotCaughtUp
from tests.api.tools_rig import NOW_MS, open_rig, point, waves

VALUES = [1.0, 2.0, 3.0, 4.0, 10.0]


def _minutes(name, values, **tags):
    last = len(values) - 1
    return [point(name, v, NOW_MS - (last - i) * 60_000, **tags) for i, v in enumerate(values)]


async def test_the_answer_has_the_contracts_fields(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        position = await rig.collect(
            _minutes("cpu", VALUES, host="a", service="api", unit="percent")
        )
        answer = await rig.call(
            "query_metrics", metric_name="cpu", tags={"host": "a"}, group_by=["service"]
        )
    assert answer["metric_name"] == "cpu"
    assert answer["aggregation"] == "avg"
    assert answer["promql"] == 'avg by (service) (avg_over_time(cpu{host="a"}[2m]))'
    assert answer["query_time"] == "2026-01-01T12:00:00Z"
    assert answer["unit"] == "percent"
    assert answer["range"]["start"] == "2026-01-01T11:00:00Z"
    assert answer["as_of"]["time"] == "2026-01-01T12:00:00Z"
    place, offset = position.rsplit("@", 1)
    [seen] = re.findall(rf"{re.escape(place)}@(\d+)", answer["as_of"]["position"])
    assert int(seen) >= int(offset)  # a tick may have come behind it
    assert not answer["truncated"]
    [result] = answer["results"]
    assert result == {
        "value": 4,
        "tags": {"service": "api"},
        "timestamp": "2026-01-01T12:00:00Z",
        "count": 5,
        "series": 1,
        "summary": {"min": 1, "max": 10, "avg": 4, "first": 1, "last": 10, "change": 9},
        "points": [
            ["2026-01-01T11:56:00Z", 1.5],
            ["2026-01-01T11:58:00Z", 3.5],
            ["2026-01-01T12:00:00Z", 10],
        ],
    }


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        ("avg", 4),
        ("sum", 20),
        ("min", 1),
        ("max", 10),
        ("count", 5),
        ("last", 10),
        ("p50", 3),
        ("p100", 10),
        ("p0", 1),
        ("p99.9", 9.976),
        ("increase", 9),
        ("rate", 9 / 3600),
        ("stddev", math.sqrt(10)),
    ],
)
async def test_each_aggregation_gives_its_number(tmp_path, aggregation, value) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(_minutes("m", VALUES))
        answer = await rig.call("query_metrics", metric_name="m", aggregation=aggregation)
    assert answer["results"][0]["value"] == pytest.approx(value)


async def test_tags_select_by_operators_and_a_leading_equals_makes_exact(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        hosts = ["web1", "web2", "db1", "!=x"]
        await rig.collect([point("m", 1, host=host) for host in hosts] + [point("m", 1)])

        async def counted(**tags):
            answer = await rig.call(
                "query_metrics", metric_name="m", aggregation="count", tags=tags
            )
            return sum(result["value"] for result in answer["results"])

        assert await counted(host="web1") == 1
        assert await counted(host="=~web.") == 2
        assert await counted(host="!~web.") == 3
        assert await counted(host="!=web1") == 4
        assert await counted(host="=!=x") == 1
        assert await counted(host="") == 1
        assert await counted(host="!=") == 4
        with pytest.raises(InputError):
            await counted(host="=~(")


async def test_without_group_by_the_tags_are_those_common_to_all(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("m", 1, host="a", zone="z"), point("m", 3, host="b", zone="z")])
        together = await rig.call("query_metrics", metric_name="m")
        apart = await rig.call("query_metrics", metric_name="m", group_by=["*"])
    assert together["results"][0]["tags"] == {"source": "app", "zone": "z"}
    assert together["results"][0]["series"] == 2
    assert [result["tags"]["host"] for result in apart["results"]] == ["a", "b"]


async def test_numbers_that_json_cannot_write_are_strings(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(_minutes("m", ["NaN", "+Inf", "-Inf"]))
        answer = await rig.call("query_metrics", metric_name="m", aggregation="last", step="1m")
    json.loads(json.dumps(answer, allow_nan=False))
    assert [value for _, value in answer["results"][0]["points"]] == ["NaN", "+Inf", "-Inf"]
    assert answer["results"][0]["value"] == "-Inf"


async def test_the_unit_is_that_of_the_value(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(_minutes("m", VALUES, unit="bytes"))
        for aggregation, unit in (("max", "bytes"), ("rate", "bytes/s"), ("count", None)):
            answer = await rig.call("query_metrics", metric_name="m", aggregation=aggregation)
            assert answer.get("unit") == unit


async def test_a_step_or_max_points_is_kept_and_too_many_points_are_refused(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 4))
        stepped = await rig.call("query_metrics", metric_name="m", group_by=["host"], step="1m")
        few = await rig.call("query_metrics", metric_name="m", max_points=3)
        with pytest.raises(InputError, match=r"makes 3601 points .* at most 500 .* use 10s") as got:
            await rig.call("query_metrics", metric_name="m", step="1s")
    assert [len(result["points"]) for result in stepped["results"]] == [60] * 4
    assert len(few["results"][0]["points"]) <= 3
    assert got.value.field == "step"


async def test_a_typical_answer_is_small_and_none_is_large(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 40))
        alone = await rig.answer("query_metrics", metric_name="m")
        grouped = await rig.answer("query_metrics", metric_name="m", group_by=["host"])
        asked = {"group_by": ["*"], "limit": 100, "max_points": 500, "step": "1m"}
        large = await rig.answer("query_metrics", metric_name="m", **asked)
    assert _tokens(alone) <= 1_000
    assert _tokens(grouped) <= 2_300
    assert len(json.dumps(grouped.content, separators=(",", ":"))) / 4 <= 2_000
    assert _tokens(large) <= 8_000
    assert large.content["truncated"]
    assert large.content["next_cursor"]
    assert "narrow" in large.content["hint"]


def _tokens(answer) -> float:
    return (len(json.dumps(answer.content, separators=(",", ":"))) + len(answer.text)) / 4


async def test_tags_of_absurd_length_cut_points_rather_than_the_limit(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        tags = {f"t{i}": "x" * 4_000 for i in range(4)}
        points = [point("m", i, NOW_MS - i * 1_000, **tags) for i in range(500)]
        await rig.collect(points)
        answer = await rig.answer("query_metrics", metric_name="m", step="1s", start_time="-499s")
    assert _tokens(answer) <= 8_000
    assert answer.content["truncated"]
    assert "larger step" in answer.content["hint"]
    assert answer.content["results"][0]["points"][-1][0] == "2026-01-01T12:00:00Z"


async def test_cursors_lead_through_all_groups_once(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 25, points=3))
        asked = {"metric_name": "m", "group_by": ["host"], "start_time": "-2h"}
        seen, cursor, pages = [], {}, 0
        while pages < 9:
            answer = await rig.call("query_metrics", **asked, **cursor)
            seen += [result["tags"]["host"] for result in answer["results"]]
            pages += 1
            if "next_cursor" not in answer:
                break
            cursor = {"cursor": answer["next_cursor"]}
        with pytest.raises(InputError, match="not of this question"):
            await rig.call("query_metrics", **{**asked, "group_by": ["*"]}, **cursor)
        beyond = cursor["cursor"].replace("g20", "g99")
        empty = await rig.call("query_metrics", **asked, cursor=beyond)
    assert seen == [f"server{host:02d}" for host in range(25)]
    assert pages == 3
    assert empty["why_empty"]["reason"] == "there are 25 groups; the cursor is after the last"


async def test_min_position_waits_for_the_write_or_says_that_it_did_not_come(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        for value in range(5):
            metric = point("m", value, NOW_MS - value)
            wrote = await rig.call("collect_metrics", source="app", metrics=[metric])
            answer = await rig.call(
                "query_metrics",
                metric_name="m",
                aggregation="count",
                min_position=wrote["position"],
            )
            assert answer["results"][0]["value"] == value + 1
        with pytest.raises(InputError, match="min_position"):
            await rig.call("query_metrics", metric_name="m", min_position="soon")
        with pytest.raises(InputError, match="not projected"):
            await rig.call("query_metrics", metric_name="m", min_position="metrics.points/9@1")
    async with open_rig(tmp_path, wait_s=0.01) as rig:
        with pytest.raises(NotCaughtUp):
            await rig.call("query_metrics", metric_name="m", min_position="metrics.points/0@99999")


async def test_a_range_that_ends_before_it_starts_is_refused(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InputError, match="is after end_time"):
            await rig.call("query_metrics", metric_name="m", start_time="now", end_time="-1h")
        with pytest.raises(InputError, match="needs 'metric_name'"):
            await rig.call("query_metrics")
        with pytest.raises(InputError, match="beside tag names"):
            await rig.call("query_metrics", metric_name="m", group_by=["*", "host"])
