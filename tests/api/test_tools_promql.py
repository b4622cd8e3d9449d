"""query_metrics with promql: the engine's numbers, within the limits of an answer."""

from __future__ import annotations

import json

import pytest

from streams.errors import InputError
from tests.api.tools_rig import NOW_MS, open_rig, point

END = "2026-01-01T12:00:00Z"


def _minutes(name, values, **tags):
    last = len(values) - 1
    return [point(name, v, NOW_MS - (last - i) * 60_000, **tags) for i, v in enumerate(values)]


async def test_an_expression_is_answered_in_the_contracts_shape(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([*_minutes("m", [0, 60, 120], host="a"), *_minutes("m", [5], host="b")])
        answer = await rig.call(
            "query_metrics",
            promql="sum by (host) (m) * 2",
            start_time="-2m",
            end_time=END,
            step="1m",
        )
    assert answer["metric_name"] is None
    assert answer["promql"] == "sum by (host) (m) * 2"
    assert answer["range"] == {"start": "2026-01-01T11:58:00Z", "end": END, "step": "1m"}
    assert answer["results"] == [
        {
            "value": 240,
            "tags": {"host": "a"},
            "timestamp": END,
            "count": 3,
            "summary": {"min": 0, "max": 240, "avg": 120, "first": 0, "last": 240, "change": 240},
            "points": [
                ["2026-01-01T11:58:00Z", 0],
                ["2026-01-01T11:59:00Z", 120],
                [END, 240],
            ],
        },
        {
            "value": 10,
            "tags": {"host": "b"},
            "timestamp": END,
            "count": 1,
            "summary": {"min": 10, "max": 10, "avg": 10, "first": 10, "last": 10, "change": 0},
            "points": [[END, 10]],
        },
    ]


async def test_many_series_and_steps_are_cut_and_the_answer_says_so(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        for host in range(30):
            await rig.collect(_minutes("m", [float(host)] * 60, host=f"h{host:02}", pad="x" * 400))
        few = await rig.call("query_metrics", promql="m")
        whole = await rig.answer("query_metrics", promql="m", limit=100, max_points=500)
        one = await rig.call("query_metrics", promql="max(m)")
    assert (len(few["results"]), few["total"], few["truncated"]) == (10, 30, True)
    assert all(len(result["points"]) <= 15 for result in few["results"])
    assert few["results"][0]["points"][-1][0] == END
    assert "30 series" in few["hint"]
    assert len(json.dumps(whole.content)) / 4 + len(whole.text) / 4 <= 8_000
    assert whole.content["truncated"]
    assert (one["total"], one["truncated"], one["results"][0]["value"]) == (1, False, 29)


async def test_an_empty_answer_says_why(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(_minutes("memory_used", [1.0, 2.0]))
        unknown = await rig.call("query_metrics", promql="rate(memory_use[5m]) + on () vector(1)")
        nothing = await rig.call("query_metrics", promql="memory_used > 5")
    assert unknown["why_empty"]["nearest_names"] == ["memory_used"]
    assert "no value" in nothing["why_empty"]["reason"]


async def test_notes_and_pictures_come_along(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(_minutes("m", [1.0, 2.0, 4.0]))
        answer = await rig.answer("query_metrics", promql="quantile(7, m)", chart=True)
    assert answer.image_png is not None
    assert answer.image_png.startswith(b"\x89PNG")
    assert "between 0 and 1" in answer.content["warnings"][0]
    assert "between 0 and 1" in answer.text
    assert answer.content["results"][0]["value"] == "+Inf"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"promql": "m{", "limit": 3}, "parse error"),
        ({"promql": ""}, "parse error"),
        ({"promql": "m[5m]"}, "range vector"),
        ({"promql": "m", "metric_name": "m"}, "metric_name does not go with promql"),
        ({"promql": "m", "group_by": ["host"]}, "group_by does not go with promql"),
        ({"promql": "m", "step": "1ms"}, "3600001 points"),
        ({"promql": "m", "start_time": "now", "end_time": "-1h"}, "is after end_time"),
        ({"promql": "m" * 5_000}, "at most 4096"),
    ],
)
async def test_a_wrong_question_is_refused_with_what_is_wrong(tmp_path, arguments, said) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InputError, match=said) as refused:
            await rig.call("query_metrics", **arguments)
    assert refused.value.field
