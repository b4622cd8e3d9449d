"""Discovery, and empty answers that say why they are empty."""

from __future__ import annotations

import json

import pytest

from streams.errors import InputError
from tests.api.tools_rig import NOW_MS, open_rig, point, waves


async def _asked(rig, **arguments):
    answer = await rig.answer("query_metrics", **arguments)
    assert answer.content.get("results", []) == []
    assert "Nothing found" in answer.text
    return answer.content["why_empty"]


async def test_an_empty_server_says_that_nothing_is_stored(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        why = await _asked(rig, metric_name="cpu")
        listed = await _asked(rig, operation="list_metrics")
        tags = await _asked(rig, operation="list_tags")
        described = await _asked(rig, operation="describe", metric_name="cpu")
    for reason in (why, listed, tags, described):
        assert reason == {
            "reason": "no metrics are stored yet; send some with collect_metrics",
        }


async def test_an_unknown_metric_comes_with_the_nearest_names(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("system_cpu_usage", 1), point("requests_total", 1)])
        why = await _asked(rig, metric_name="cpu_usage")
    assert why["reason"] == "no metric is named 'cpu_usage'"
    assert why["nearest_names"][0] == "system_cpu_usage"


async def test_a_range_without_data_comes_with_the_range_that_has_some(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 1, points=2))
        why = await _asked(rig, metric_name="m", start_time="-3d", end_time="-2d")
    assert why["data_range"] == {"start": "2026-01-01T11:59:00Z", "end": "2026-01-01T12:00:00Z"}


async def test_a_tag_value_that_never_occurs_comes_with_those_that_do(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 2, points=2))
        value = await _asked(rig, metric_name="m", tags={"host": "server1"})
        name = await _asked(rig, metric_name="m", tags={"hst": "server01"})
        regex = await _asked(rig, metric_name="m", tags={"host": "=~db.*"})
    assert "never has the value 'server1'; did you mean 'server01'" in value["reason"]
    assert value["tag_values"] == {"host": ["server00", "server01"]}
    assert "has no tag 'hst'; did you mean 'host'" in name["reason"]
    assert name["tag_values"]["source"] == ["app"]
    assert "all of these tags together" in regex["reason"]


async def test_tags_that_occur_but_never_together_are_told_so(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("m", 1, a="1", b="1"), point("m", 1, a="2", b="2")])
        why = await _asked(rig, metric_name="m", tags={"a": "1", "b": "2"})
    assert why["reason"] == "no series of 'm' has all of these tags together"


async def test_grouping_by_a_tag_that_does_not_exist_is_pointed_out(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("m", 1, points=2))
        answer = await rig.call("query_metrics", metric_name="m", group_by=["hots"])
    assert answer["results"][0]["tags"] == {"hots": ""}
    assert "has no tag 'hots'; did you mean 'host'" in answer["hint"]


async def test_metrics_are_listed_with_what_is_needed_to_ask_on(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([*waves("cpu_usage", 3, points=2), point("mem", 1)])
        everything = await rig.call("query_metrics", operation="list_metrics")
        some = await rig.call("query_metrics", operation="list_metrics", metric_name="cpu")
    assert everything["total"] == 2
    assert some["metrics"] == [
        {
            "name": "cpu_usage",
            "type": "gauge",
            "series": 3,
            "unit": "percent",
            "last_time": "2026-01-01T12:00:00Z",
            "tags": ["host", "source"],
        }
    ]


async def test_a_metric_is_described_with_its_tags_and_their_values(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu_usage", 3, points=2))
        answer = await rig.answer(
            "query_metrics", operation="describe", metric_name="cpu_usage", limit=2
        )
        with pytest.raises(InputError, match="describe needs 'metric_name'"):
            await rig.call("query_metrics", operation="describe")
    content = answer.content
    assert content["metrics"][0]["samples"] == 6
    assert content["metrics"][0]["first_time"] == "2026-01-01T11:59:00Z"
    assert content["tags"]["host"] == {"values": {"server00": 1, "server01": 1}, "total": 3}
    assert content["truncated"]
    assert "host (3 values): server00, server01" in answer.text


async def test_discovery_stays_below_the_limit_whatever_is_stored(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        names = [f"metric_{i}_" + "n" * 400 for i in range(120)]
        tags = {f"tag{i}" + "t" * 200: "v" * 100 + str(i) for i in range(40)}
        await rig.collect([point(name, 1, NOW_MS, **tags) for name in names])
        for operation in ("list_metrics", "list_tags", "describe"):
            asked = {"metric_name": names[0]} if operation == "describe" else {}
            answer = await rig.answer("query_metrics", operation=operation, limit=100, **asked)
            size = len(json.dumps(answer.content, separators=(",", ":"))) + len(answer.text)
            assert size / 4 <= 8_000
            if operation == "list_metrics":
                assert answer.content["truncated"]
                assert answer.content["total"] == 120
