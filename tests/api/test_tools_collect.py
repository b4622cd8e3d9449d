"""collect_metrics: stores, answers with a position, and loses no good point for a bad one."""

from __future__ import annotations

import pytest

from streams.errors import InputError, RequestConflict
from tests.api.tools_rig import open_rig, point


async def test_the_answer_has_the_contracts_fields(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        metric = {"name": "test_metric", "value": 1, "metric_type": "gauge"}
        answer = await rig.call("collect_metrics", source="health_check", metrics=[metric])
    assert answer == {
        "status": "success",
        "collected_count": 1,
        "source": "health_check",
        "timestamp": "2026-01-01T12:00:00Z",
        "position": answer["position"],
        "rejected": [],
        "rejected_count": 0,
        "truncated": False,
        "as_of": {"time": "2026-01-01T12:00:00Z", "position": answer["position"]},
    }
    assert answer["position"].startswith("metrics.points/0@")


async def test_a_bad_point_is_refused_with_its_index_and_the_others_are_stored(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        metrics = [point("a", 1), {"name": "b"}, point("", 1), point("c", "NaN")]
        answer = await rig.answer("collect_metrics", source="app", metrics=metrics)
        found = await rig.call(
            "query_metrics", operation="list_metrics", min_position=answer.content["position"]
        )
    assert answer.content["collected_count"] == 2
    assert [r["index"] for r in answer.content["rejected"]] == [1, 2]
    assert "metrics[1]" in answer.text
    assert [metric["name"] for metric in found["metrics"]] == ["a", "c"]


async def test_if_every_point_is_bad_the_answer_is_an_error_with_the_reasons(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        bad = [{"name": "x"}] * 80
        answer = await rig.answer("collect_metrics", source="app", metrics=bad)
    assert answer.is_error
    assert answer.content["status"] == "error"
    assert answer.content["error"]["message"].startswith("all 80 points were refused")
    assert len(answer.content["rejected"]) == 50
    assert answer.content["rejected_count"] == 80
    assert answer.content["truncated"]


async def test_nothing_sent_is_no_error(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        answer = await rig.answer("collect_metrics", source="app", metrics=[])
    assert not answer.is_error
    assert answer.content["collected_count"] == 0
    assert answer.content["position"] == ""


async def test_a_retry_with_the_same_request_id_says_so_and_counts_once(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        sent = {"source": "app", "metrics": [point("a", 1)], "request_id": "r1"}
        first = await rig.call("collect_metrics", **sent)
        second = await rig.call("collect_metrics", **sent)
        with pytest.raises(RequestConflict):
            await rig.call("collect_metrics", **{**sent, "metrics": [point("a", 2)]})
        counted = await rig.call(
            "query_metrics", metric_name="a", aggregation="count", min_position=second["position"]
        )
    assert "duplicate" not in first
    assert second["duplicate"]
    assert second["position"] == first["position"]
    assert counted["results"][0]["value"] == 1


async def test_an_unknown_argument_is_refused_by_name(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InputError, match="did you mean 'metrics'"):
            await rig.call("collect_metrics", source="app", metric=[])


async def test_an_unknown_tool_is_refused_with_the_nearest(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InputError, match="did you mean 'query_metrics'"):
            await rig.toolbox.call("query_metric", {}, actor="test")
