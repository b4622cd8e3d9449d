"""A real Prometheus and our server, asked the same over HTTP: status, shape, types and sense."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.prometheus_requests import REQUESTS, T0, Request
from tests.api.test_prometheus_api import a_few, filled
from tests.promql.prometheus_server import PrometheusServer
from tests.promql.timelines import Columns, labels_of


class Theirs(PrometheusServer):
    """With the data that ours has."""

    @property
    def url(self) -> str:
        return str(self._client.base_url)

    def fill(self) -> None:
        samples: dict[Any, list[tuple[int, float]]] = {}
        for point in a_few():
            labels = labels_of(point["name"], source="test", **point["tags"])
            samples.setdefault(labels, []).append((point["timestamp"] * 1_000, point["value"]))
        columns: Columns = {
            labels: (
                np.array([at_ms for at_ms, _ in some], dtype=np.int64),
                np.array([value for _, value in some], dtype=np.float64),
            )
            for labels, some in samples.items()
        }
        self.write(columns)


@pytest.fixture
def prometheus(tmp_path: Path, requires: Any) -> Iterator[str]:
    """The address of a Prometheus."""
    (tmp_path / "theirs").mkdir()
    server = Theirs(requires("prometheus"), tmp_path / "theirs")
    try:
        server.fill()
        yield server.url
    finally:
        server.close()


@pytest.fixture
async def both(
    client: httpx.AsyncClient, prometheus: str
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of Prometheus and of ours, over the same samples."""
    await filled(client, a_few())
    async with httpx.AsyncClient(base_url=prometheus, timeout=30) as theirs:
        yield theirs, client


async def test_every_answer_is_prometheus_or_has_a_reason(
    both: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    problems = []
    for request in REQUESTS:
        theirs, ours = [await sent(client, request) for client in both]
        if problem := problem_of(request, theirs, ours):
            problems.append(f"{request}: {problem}\n  {theirs.text:.300}\n  {ours.text:.300}")
    assert not problems, "\n".join(problems)


async def test_both_are_compressed_for_the_same_clients(
    both: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    path = f"/api/v1/query_range?query=req_total&start={T0 - 300}&end={T0}&step=1"
    for accepted in ("gzip", "br, gzip", "deflate;q=0, gzip", "identity", "gzip;q=0", "*;q=0"):
        encodings = []
        for client in both:
            async with client.stream("GET", path, headers={"accept-encoding": accepted}) as answer:
                packed = b"".join([chunk async for chunk in answer.aiter_raw()])
            encoding = answer.headers.get("content-encoding")
            plain = gzip.decompress(packed) if encoding == "gzip" else packed
            assert json.loads(plain)["status"] == "success"
            assert answer.headers["content-type"] == "application/json"
            encodings.append(encoding)
        assert encodings[0] == encodings[1], accepted


async def sent(client: httpx.AsyncClient, request: Request) -> httpx.Response:
    fields = {"data" if request.method == "POST" else "params": request.fields}
    return await client.request(
        request.method, f"/api/v1/{request.path}", **(fields if request.fields else {})
    )


def problem_of(request: Request, theirs: httpx.Response, ours: httpx.Response) -> str | None:
    """What is not as the table says."""
    differs = difference(request, theirs, ours)
    if not request.why:
        return differs
    if ours.status_code != request.ours:
        return f"ours is not {request.ours}"
    return None if differs else f"no difference any more, so no reason: {request.why}"


def difference(request: Request, theirs: httpx.Response, ours: httpx.Response) -> str | None:
    """The first one that matters, in words."""
    if theirs.status_code != ours.status_code:
        return "other status"
    if theirs.headers["content-type"] != ours.headers["content-type"]:
        return "other content type"
    one, two = theirs.json(), ours.json()
    if one["status"] == "error":
        return refusal_difference(request, one, two)
    if request.like == "shape":
        return None if within(one, two) else "other shape"
    return None if Counter(rows(one)) == Counter(rows(two)) else "other data"


def refusal_difference(request: Request, one: Any, two: Any) -> str | None:
    if one.keys() != two.keys():
        return "other fields"
    if one["errorType"] != two["errorType"]:
        return "other type of error"
    both = all(re.search(request.said, told["error"]) for told in (one, two))
    return None if both else "another sense"


def rows(answer: Any) -> list[str]:
    """All parts of an answer as exact text: ``1`` is not ``1.0``. A vector has no order."""
    data = answer["data"]
    vector = isinstance(data, dict) and data.get("resultType") == "vector"
    parts = data.pop("result") if vector else []
    return [json.dumps(part, sort_keys=True) for part in (answer, *parts)]


def within(one: Any, two: Any) -> bool:
    """Every field of ``one`` is in ``two``, with the same types all the way down."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return all(name in two and within(value, two[name]) for name, value in one.items())
    return (
        all(within(a, b) for a, b in zip(one, two, strict=False)) if isinstance(one, list) else True
    )
