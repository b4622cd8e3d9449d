"""Hostile and broken PromQL: every request is refused in a sentence or answered, none harms."""

from __future__ import annotations

import asyncio
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import psutil

from mcp_api.prometheus_api.endpoints import SELECTORS_MAX
from streams.promql.functions_labels import TEXT_CHARS_MAX
from tests.api.processes import serving
from tests.api.prometheus_fuzzing import BEGIN_S, Asked, requests
from tests.api.prometheus_requests import T0
from tests.api.test_prometheus_api import a_few, filled, got, point
from tests.effort import UNTRACED, examples

INPUTS = examples(10_000)
AT_ONCE = 8
GROWTH_BYTES_MAX = 1 << 30

HOSTILE = [
    "(" * 2_000 + "up" + ")" * 2_000,
    "-" * 3_000 + "1",
    "+".join(["up"] * 1_000),
    'up{a=~"' + "(a*)*" * 400 + 'b"}',
    'up{a=~"' + "(" * 1_500 + '"}',
    'up{job=~"(.{1,1000}){1,1000}"}',
    'up{job=~"' + ".*" * 1_900 + 'z"}',
    "up{" + ",".join(['job=~".+"'] * 380) + "}",
    "sum(" * 300 + "up" + ")" * 300,
    "rate(up[100y:1ms])",
    "count_over_time(" * 5 + "up" + "[100y:1s])" * 5,
    "absent_over_time(up[99999999999999y])",
    'label_replace(up, "a", "' + "$1" * 1_000 + '", "job", "(.*)")',
    'count_values("x", up) * 1e308 ^ 1e308',
    f"sum by ({','.join(f'l{n}' for n in range(700))}) (up)",
    f"up * on (job) group_left ({','.join(f'l{n}' for n in range(700))}) up",
    "up @ 1e308",
    "up offset 1000000y",
    "up offset 1e999",
    "rate(up[1e300])",
    "\x00",
    "'\\xff'",
    "quantile(nan, up) or topk(1e300, up)",
    "vector(1) [1y:1s]",
    "🙂",
    "x" * 5_000,
]


async def test_hostile_expressions_are_bounded_and_harm_nobody(client: httpx.AsyncClient) -> None:
    await filled(client, a_few())
    asked = [
        client.post(
            f"/api/v1/{path}", data={"query": expr, "start": 1, "end": T0, "step": 2_000_000}
        )
        for expr in HOSTILE
        for path in ("query", "query_range", "format_query", "parse_query")
    ]
    for answer in await asyncio.gather(*asked):
        check(answer)
    assert (await got(client, "query", query="count(up)", time=T0))["result"][0]["value"] == [
        T0,
        "2",
    ]


async def test_labels_that_grow_by_a_factor_at_each_level_are_refused(
    client: httpx.AsyncClient,
) -> None:
    await filled(client, a_few())
    for name, (before, after) in {
        "label_replace": ("label_replace(", ', "job", "$1$1$1$1$1$1$1$1", "job", "(.*)")'),
        "label_join": ("label_join(", ', "job", ""' + ', "job"' * 8 + ")"),
    }.items():
        for levels, status in ((3, 200), (40, 422)):
            expr = before * levels + "up" + after * levels
            form = {"query": f"count({expr})", "time": T0}
            answer = await client.post("/api/v1/query", data=form)
            assert answer.status_code == status, (name, levels, answer.text)
            if status == 422:
                assert f"more than {TEXT_CHARS_MAX} characters" in answer.json()["error"]


async def test_a_request_has_a_bounded_number_of_selectors(client: httpx.AsyncClient) -> None:
    for path in ("series", "labels"):
        for count, status in ((SELECTORS_MAX, 200), (SELECTORS_MAX + 1, 400)):
            form = {"match[]": ["up"] * count}
            assert (await client.post(f"/api/v1/{path}", data=form)).status_code == status


async def test_ten_thousand_fuzzed_requests_leave_the_server_as_it_was(tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()
    with serving(tmp_path, **UNTRACED) as (process, found):
        memory = psutil.Process(process.pid)
        async with httpx.AsyncClient(base_url=found.url, timeout=60) as client:
            await filled(client, fleet())
            before = memory.memory_info().rss
            good = {"query": "sum by (job) (level)", "time": BEGIN_S + 600}
            answered = await got(client, "query", **good)
            every = iter(list(requests(seed=3, count=INPUTS)))

            def ask() -> Counter[int]:
                told: Counter[int] = Counter()
                connection = HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
                for asked in every:
                    answer = sent(connection, asked)
                    check(answer)
                    told[answer.status_code] += 1
                connection.close()
                return told

            for told in await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(AT_ONCE))):
                statuses += told
            assert memory.memory_info().rss - before < GROWTH_BYTES_MAX
            assert process.poll() is None
            assert await got(client, "query", **good) == answered
    assert sum(statuses.values()) == INPUTS
    assert statuses[200] > INPUTS / 4, "some were good"
    assert statuses[400] > INPUTS / 4
    assert statuses[422] > 0


def sent(connection: HTTPConnection, asked: Asked) -> httpx.Response:
    """Without httpx, which would take most of the time."""
    path, fields = f"/api/v1/{quote(asked.path)}", urlencode(asked.fields, doseq=True)
    if asked.path.startswith("label/"):
        connection.request("GET", f"{path}?{fields}")
    else:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, fields, form)
    answer = connection.getresponse()
    return httpx.Response(answer.status, content=answer.read())


def check(answer: httpx.Response) -> None:
    """It is an answer, or a refusal of which the client is told in one sentence."""
    assert answer.status_code in {200, 400, 422, 503}, answer.text[:300]
    told = answer.json()
    if answer.status_code == 200:
        assert told["status"] == "success"
        return
    assert told["status"] == "error"
    assert told["errorType"] in {"bad_data", "execution", "timeout", "unavailable"}
    assert told["error"]
    assert len(told["error"]) < 9_000
    assert "Traceback" not in told["error"]


def fleet() -> list[dict[str, Any]]:
    """An hour of a few metrics that the expressions name."""
    return [
        point(
            name, n * 15 % 97, BEGIN_S + n * 60 + 7, job=f"{'abc'[n % 3]}pi", instance=str(n % 10)
        )
        for name in ("up", "level", "requests_total", "temperature", "flaky")
        for n in range(60)
    ] + [
        point("latency_bucket", n, BEGIN_S + n * 60, job="api", le=str(le))
        for le in (0.1, 1, "+Inf")
        for n in range(60)
    ]
