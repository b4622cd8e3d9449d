"""What Grafana's built-in Prometheus data source sends is answered as it expects.

The requests are those of https://github.com/grafana/grafana/tree/main/pkg/promlib/client and
https://github.com/grafana/grafana/tree/main/packages/grafana-prometheus/src (resource_clients.ts).
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.api.prometheus_requests import T0
from tests.api.test_prometheus_api import a_few, filled

HEADERS = {
    "user-agent": "Grafana/12.3.0",
    "accept-encoding": "gzip",
    "x-grafana-cache": "private, max-age=60",
    "x-dashboard-uid": "d1",
}
HOUR = {"start": str(T0 - 3_600), "end": str(T0)}
STEPS_MAX = 11_000
"""By which Grafana divides a range to find its smallest step."""


@pytest.fixture
async def grafana(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Grafana's backend, its data source set up with our address and nothing else."""
    await filled(client, a_few())
    client.headers.update(HEADERS)
    return client


async def posted(grafana: httpx.AsyncClient, path: str, form: dict[str, str]) -> Any:
    answer = await grafana.post(f"/api/v1/{path}", data=form)
    assert answer.status_code == 200, answer.text
    assert list(answer.json())[:2] == ["status", "data"]
    return answer.json()["data"]


async def got(grafana: httpx.AsyncClient, path: str, **fields: str) -> Any:
    answer = await grafana.get(f"/api/v1/{path}", params=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_save_and_test_succeeds(grafana: httpx.AsyncClient) -> None:
    for expression, kind in (("1+1", "scalar"), ("vector(1)+vector(1)", "vector")):
        data = await posted(grafana, "query", {"query": expression, "time": "4"})
        assert data["resultType"] == kind
        assert "2" in json.dumps(data["result"])
    build = await got(grafana, "status/buildinfo")
    assert int(build["version"].split(".")[0]) >= 3, "it asks for UTF-8 names then"
    assert "features" not in build, "with them it would take us for Mimir"


async def test_a_panel_is_drawn(grafana: httpx.AsyncClient) -> None:
    form = {"query": "rate(req_total[1m])", "start": str(T0 - 60), "end": str(T0), "step": "0.25"}
    data = await posted(grafana, "query_range", {**form, "timeout": "60s"})
    assert list(data) == ["resultType", "result"], "the kind comes before what is read by it"
    [line] = data["result"]
    assert len(line["values"]) == 241
    assert line["values"][0] == [T0 - 60, "1"]
    instant = await posted(grafana, "query", {"query": "up", "time": f"{T0}.5"})
    assert {row["value"][1] for row in instant["result"]} == {"0", "1"}
    assert await posted(grafana, "query_exemplars", {"query": "req_total", **HOUR}) == []


async def test_the_smallest_step_that_grafana_takes_is_taken(grafana: httpx.AsyncClient) -> None:
    start, end = str(T0 - STEPS_MAX), str(T0)
    form = {"query": "vector(1)", "start": start, "end": end, "step": "1"}
    [line] = (await posted(grafana, "query_range", form))["result"]
    assert len(line["values"]) == STEPS_MAX + 1


async def test_the_query_editor_knows_names_and_values(grafana: httpx.AsyncClient) -> None:
    limit = {"limit": "40000", **HOUR}
    assert await got(grafana, "label/__name__/values", **limit) == ["odd", "req_total", "up"]
    labels = await posted(grafana, "labels", {**limit, "match[]": '{__name__="up",job=~".+"}'})
    assert labels == ["__name__", "instance", "job", "source"]
    assert await posted(grafana, "labels", limit) == [
        "__name__",
        "instance",
        "job",
        "kind",
        "source",
    ]
    match = {"match[]": '{__name__="up",job!=""}'}
    assert await got(grafana, "label/job/values", **limit, **match) == ["node", "prometheus"]
    series = await posted(grafana, "series", {**limit, "match[]": '{__name__!=""}'})
    assert {one["__name__"] for one in series} == {"odd", "req_total", "up"}
    assert len(await posted(grafana, "series", {**limit, "match[]": "odd", "limit": "2"})) == 2
    metadata = await got(grafana, "metadata", limit="40000")
    assert metadata["req_total"][0].keys() == {"type", "help", "unit"}


async def test_variables_of_a_dashboard_are_found(grafana: httpx.AsyncClient) -> None:
    assert await got(grafana, "label/job/values", **{"match[]": "up"}, **HOUR)
    assert await got(grafana, "label/U__service_2e_name/values", **HOUR) == []
    found = await posted(grafana, "query", {"query": "topk(1, up)", "time": str(T0)})
    assert found["result"][0]["metric"]["job"] == "node"


async def test_what_takes_get_only_refuses_a_form_so_that_grafana_asks_again(
    grafana: httpx.AsyncClient,
) -> None:
    for path in ("metadata", "label/job/values", "status/buildinfo"):
        assert (await grafana.post(f"/api/v1/{path}", data=HOUR)).status_code == 405
        assert (await grafana.get(f"/api/v1/{path}", params=HOUR)).status_code == 200


async def test_an_error_is_told_where_grafana_looks_for_it(grafana: httpx.AsyncClient) -> None:
    form = {"query": "rate(up)", "start": str(T0 - 60), "end": str(T0), "step": "15"}
    answer = await grafana.post("/api/v1/query_range", data=form)
    assert answer.status_code == 400
    told = answer.json()
    assert (told["status"], told["errorType"]) == ("error", "bad_data")
    assert "expected type" in told["error"]
