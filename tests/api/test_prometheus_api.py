"""`/api/v1` answers as Prometheus documents it, and refuses as Prometheus does.

The shapes are those of https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.prometheus_api.endpoints import ENDPOINTS
from mcp_api.prometheus_api.route import PATHS, QUERIES_WAITING_MAX
from mcp_api.server import Server
from tests.api.processes import quick_settings
from tests.api.prometheus_requests import AT, T0


async def filled(client: httpx.AsyncClient, metrics: list[dict[str, Any]]) -> None:
    """Stores the points; returns when they can be queried."""
    stored = await tool(client, "collect_metrics", source="test", metrics=metrics)
    await tool(client, "query_metrics", metric_name="up", min_position=stored["position"])


async def tool(client: httpx.AsyncClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    answer = await client.post("/logfire-mcp", json={"tool": tool, "arguments": arguments})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def point(name: str, value: object, at_s: float = T0, **tags: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "metric_type": "counter" if name.endswith("_total") else "gauge",
        "tags": tags,
        "timestamp": at_s,
        "unit": "",
    }


def a_few() -> list[dict[str, Any]]:
    jobs = (("prometheus", "a:1"), ("node", "b:2"))
    ups = [point("up", n % 2, job=job, instance=at) for n, (job, at) in enumerate(jobs)]
    steps = [point("req_total", n * 15, T0 - 300 + n * 15, job="node") for n in range(21)]
    odd = [point("odd", value, kind=str(value)) for value in ("NaN", "+Inf", "-Inf", 1e-7, 0.25)]
    return [*ups, *steps, *odd]


@pytest.fixture
async def api(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await filled(client, a_few())
    return client


async def got(client: httpx.AsyncClient, path: str, /, **asked: Any) -> Any:
    """The data of a success."""
    answer = await client.get(f"/api/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status"] == "success"
    return answer.json()["data"]


def test_the_paths_are_those_that_have_an_endpoint() -> None:
    assert set(ENDPOINTS) == PATHS


async def test_an_instant_query_gives_a_vector(api: httpx.AsyncClient) -> None:
    data = await got(api, "query", query="up", time=f"{AT[:-1]}.781Z")
    assert data["resultType"] == "vector"
    source = {"source": "test"}
    assert sorted(data["result"], key=lambda row: row["metric"]["job"]) == [
        {
            "metric": {"__name__": "up", "job": "node", "instance": "b:2"} | source,
            "value": [1435781430.781, "1"],
        },
        {
            "metric": {"__name__": "up", "job": "prometheus", "instance": "a:1"} | source,
            "value": [1435781430.781, "0"],
        },
    ]


async def test_a_range_query_gives_a_matrix(api: httpx.AsyncClient) -> None:
    data = await got(
        api, "query_range", query="rate(req_total[1m])", start=T0 - 60, end=AT, step="30s"
    )
    assert data == {
        "resultType": "matrix",
        "result": [
            {
                "metric": {"job": "node", "source": "test"},
                "values": [[T0 - 60, "1"], [T0 - 30, "1"], [T0, "1"]],
            }
        ],
    }


async def test_scalars_strings_and_range_vectors_have_their_shapes(api: httpx.AsyncClient) -> None:
    assert await got(api, "query", query="1 / 4", time=T0) == {
        "resultType": "scalar",
        "result": [T0, "0.25"],
    }
    assert await got(api, "query", query='"foo"', time=T0) == {
        "resultType": "string",
        "result": [T0, "foo"],
    }
    data = await got(api, "query", query="req_total[30s]", time=T0)
    assert data["resultType"] == "matrix"
    assert data["result"][0]["values"] == [[T0 - 15, "285"], [T0, "300"]]


async def test_numbers_are_written_as_prometheus_writes_them(api: httpx.AsyncClient) -> None:
    data = await got(api, "query", query="odd", time=T0)
    shown = {row["metric"]["kind"]: row["value"][1] for row in data["result"]}
    assert shown == {"NaN": "NaN", "+Inf": "+Inf", "-Inf": "-Inf", "1e-07": "1e-07", "0.25": "0.25"}


async def test_a_form_is_as_good_as_a_url(api: httpx.AsyncClient) -> None:
    for path in ("query", "query_range"):
        asked = {"query": "up", "time": AT, "start": AT, "end": AT, "step": "15"}
        posted = await api.post(f"/api/v1/{path}", data=asked)
        assert posted.json()["data"] == await got(api, path, **asked)


async def test_series_labels_and_values_are_found(api: httpx.AsyncClient) -> None:
    found = await got(api, "series", **{"match[]": ['up{job="node"}', "req_total"]})
    assert [row["__name__"] for row in found] == ["req_total", "up"]
    assert await got(api, "labels") == ["__name__", "instance", "job", "kind", "source"]
    assert await got(api, "labels", **{"match[]": "odd"}) == ["__name__", "kind", "source"]
    assert await got(api, "label/job/values") == ["node", "prometheus"]
    assert await got(api, "label/__name__/values") == ["odd", "req_total", "up"]
    assert await got(api, "label/job/values", start=T0 + 1, end=T0 + 2) == []
    assert await got(api, "label/U__no_2e_such/values") == []


async def test_a_limit_cuts_and_says_so(api: httpx.AsyncClient) -> None:
    for path, asked in (
        ("series", {"match[]": "odd"}),
        ("labels", {}),
        ("label/kind/values", {}),
        ("query", {"query": "odd", "time": str(T0)}),
    ):
        answer = (await api.get(f"/api/v1/{path}", params={**asked, "limit": 2})).json()
        data = answer["data"]
        assert len(data["result"] if path == "query" else data) == 2
        assert answer["warnings"] == ["results truncated due to limit"]


async def test_a_request_may_say_how_old_a_sample_may_be(api: httpx.AsyncClient) -> None:
    at = {"query": "count(up)", "time": T0 + 2}
    assert len((await got(api, "query", **at))["result"]) == 1
    assert len((await got(api, "query", **at, lookback_delta="3s"))["result"]) == 1
    assert (await got(api, "query", **at, lookback_delta="1"))["result"] == []
    span = {"query": "count(up)", "start": T0, "end": T0 + 600, "step": 1, "lookback_delta": "10m"}
    [line] = (await got(api, "query_range", **span))["result"]
    assert len(line["values"]) == 600


async def test_metadata_tells_type_and_unit(api: httpx.AsyncClient) -> None:
    told = await got(api, "metadata", metric="req_total")
    assert told == {"req_total": [{"type": "counter", "help": "", "unit": ""}]}
    assert list(await got(api, "metadata", limit=1)) == ["odd"]


async def test_the_rest_of_what_clients_ask_is_there(api: httpx.AsyncClient) -> None:
    build = await got(api, "status/buildinfo")
    assert {"version", "revision", "goVersion"} <= set(build)
    tsdb = await got(api, "status/tsdb")
    assert tsdb["headStats"]["numSeries"] == 8
    assert tsdb["seriesCountByMetricName"][0] == {"name": "odd", "value": 5}
    assert await got(api, "targets") == {
        "activeTargets": [],
        "droppedTargets": [],
        "droppedTargetCounts": {},
    }
    assert await got(api, "query_exemplars", query="up", start=T0, end=T0) == []
    assert await got(api, "format_query", query="foo/bar") == "foo / bar"


async def test_an_expression_is_told_as_a_tree(api: httpx.AsyncClient) -> None:
    def selector(name: str) -> dict[str, Any]:
        return {
            "type": "vectorSelector",
            "name": name,
            "offset": 0,
            "matchers": [{"name": "__name__", "type": "=", "value": name}],
            "timestamp": None,
            "startOrEnd": None,
        }

    tree = await got(api, "parse_query", query="foo/bar")
    assert tree == {
        "type": "binaryExpr",
        "op": "/",
        "bool": False,
        "lhs": selector("foo"),
        "rhs": selector("bar"),
        "matching": {"card": "one-to-one", "labels": [], "on": False, "include": []},
    }
    expr = 'sum by (a) (rate(x{b!~"c"}[5m:1m] offset 2m)) > bool (-2) and max(y[1m] @ end()) or "z"'
    for query in (expr.rpartition(" and ")[0], "max_over_time(y[1m] @ 3)", '"z"', "time() + up"):
        assert (await got(api, "parse_query", query=query))["type"]


async def test_notes_of_the_engine_stand_beside_the_data(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/query", params={"query": "quantile(2, up)", "time": T0})
    [warning] = answer.json()["warnings"]
    assert warning.startswith("PromQL warning: quantile value should be between 0 and 1")


async def test_a_larger_answer_is_compressed_for_who_takes_it(api: httpx.AsyncClient) -> None:
    url = f"/api/v1/query_range?query=req_total&start={T0 - 300}&end={T0}&step=1"
    whole = (await api.get(url, headers={"accept-encoding": "identity"})).content
    async with api.stream("GET", url, headers={"accept-encoding": "gzip, br"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert len(packed) < len(whole) / 2
    assert gzip.decompress(packed) == whole


BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("query", {"query": "up{"}, 400, "bad_data", 'parameter "query": '),
    ("query", {}, 400, "bad_data", 'parameter "query": '),
    ("query", {"query": "up", "time": "soon"}, 400, "bad_data", "to a valid timestamp"),
    ("query", {"query": "up", "time": "1e300"}, 400, "bad_data", "outside of the years"),
    ("query", {"query": "up", "time": "2015-02-30T00:00:00Z"}, 400, "bad_data", "timestamp"),
    ("query", {"query": "up", "timeout": "x"}, 400, "bad_data", "to a valid duration"),
    ("query", {"query": "up", "lookback_delta": "-1"}, 400, "bad_data", "positive"),
    ("query", {"query": "up", "limit": "-1"}, 400, "bad_data", "non-negative"),
    ("query", {"query": "up + on() odd", "time": T0}, 422, "execution", "match"),
    ("query", {"query": "up", "timeout": "0"}, 503, "timeout", "longer than"),
    ("query_range", {"query": "up"}, 400, "bad_data", '"start"'),
    ("query_range", {"query": "up", "start": 2, "end": 1, "step": 1}, 400, "bad_data", "before"),
    ("query_range", {"query": "up", "start": 1, "end": 2}, 400, "bad_data", '"step"'),
    ("query_range", {"query": "up", "start": 1, "end": 2, "step": 0}, 400, "bad_data", "zero"),
    ("query_range", {"query": "up", "start": 1, "end": 2, "step": "1e99"}, 400, "bad_data", "292"),
    ("query_range", {"query": "up", "start": 0, "end": 11_001, "step": 1}, 400, "bad_data", "11,0"),
    ("query_range", {"query": "up[1m]", "start": 1, "end": 2, "step": 1}, 400, "bad_data", "type"),
    ("series", {}, 400, "bad_data", "no match[]"),
    ("series", {"match[]": "up +"}, 400, "bad_data", '"match[]"'),
    ("series", {"match[]": '{job=~"("}'}, 400, "bad_data", "regex"),
    ("series", {"match[]": "{}"}, 400, "bad_data", '"match[]"'),
    ("label//values", {}, 400, "bad_data", "label name"),
    ("format_query", {"query": "a b"}, 400, "bad_data", "parse error"),
    ("nothing", {}, 404, "not_found", "query_range"),
]


async def test_what_cannot_be_answered_is_an_error_of_its_kind(api: httpx.AsyncClient) -> None:
    for path, asked, status, kind, said in BAD:
        answer = await api.get(f"/api/v1/{path}", params=asked)
        told = answer.json()
        assert (answer.status_code, told["status"]) == (status, "error"), (path, asked, told)
        assert told["errorType"] == kind
        assert said in told["error"]


async def test_methods_are_bounded_and_the_form_too(api: httpx.AsyncClient) -> None:
    refused = await api.post("/api/v1/metadata")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await api.delete("/api/v1/series")).status_code == 405
    large = await api.post("/api/v1/query", data={"query": "x" * 300_000})
    assert (large.status_code, large.json()["errorType"]) == (400, "bad_data")
    assert (await api.get("/api/v1/query?query=%ff")).status_code == 400
    assert (await api.get("/api/v1/query?" + "a=b&" * 2_000)).status_code == 400


async def test_many_queries_at_once_are_answered_or_told_to_come_again(
    running_server: Server,
) -> None:
    no_limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running_server.url, limits=no_limits, timeout=60) as many:
        answers = await asyncio.gather(*(many.get("/api/v1/query?query=1%2B1") for _ in range(200)))
    served = [answer for answer in answers if answer.status_code == 200]
    assert all(answer.json()["data"]["result"][1] == "2" for answer in served)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert all(answer.json()["errorType"] == "unavailable" for answer in refused)
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert len(served) >= QUERIES_WAITING_MAX


async def test_the_guard_stands_before_it(tmp_path: Path) -> None:
    async with Server(quick_settings(tmp_path, token="secret" * 4)) as server:
        await server.until_ready()
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/api/v1/query?query=1")).status_code == 401
            client.headers["authorization"] = "Bearer " + "secret" * 4
            assert (await got(client, "query", query="1"))["resultType"] == "scalar"
