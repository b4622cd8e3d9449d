"""Points and firings at a destination: whole, with their own times, also after it was away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mcp_api.observability import wire
from mcp_api.observability.points import AT_MS_MAX, REQUEST_BYTES_MAX, PointsEncoder
from mcp_api.server import Server
from streams.events.batch import STALE, MetricBatch
from streams.events.labels import series_text
from tests.api.kafka_nodes import eventually
from tests.api.processes import serving
from tests.effort import examples
from tests.observability.calling import FAST, TOKEN, alert, call, collect
from tests.observability.collector import Collector, Point, collecting, points_of

NOW_MS = int(time.time() * 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
series = st.tuples(
    st.builds(series_text, texts, st.dictionaries(texts, texts, max_size=3)),
    st.sampled_from(["gauge", "counter", "histogram"]),
    st.sampled_from(["", "ms"]),
)
rows = st.tuples(
    st.integers(0, 4),
    st.integers(-(10**12), 253_402_300_799_999),
    st.floats(allow_nan=False),
)


@given(st.lists(series, min_size=5, max_size=5, unique_by=lambda one: one[0]), st.lists(rows))
@settings(max_examples=examples(100))
def test_every_point_that_otlp_can_say_is_said_as_it_is(
    dictionary: list[tuple[str, str, str]], told: list[tuple[int, int, float]]
) -> None:
    labels, types, units = zip(*dictionary, strict=True)
    columns = list(zip(*told, strict=True)) or [[], [], []]
    batch = MetricBatch(
        labels,
        types,
        units,
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
    )
    found = encoded(PointsEncoder(), batch)
    said = [(*dictionary[i], at_ms * 1_000_000, v) for i, at_ms, v in told if sayable(at_ms)]
    assert sorted(map(plain, found)) == sorted(
        (text, "sum" if kind == "counter" else "gauge", unit, at_ns, value)
        for text, kind, unit, at_ns, value in said
    )


def sayable(at_ms: int) -> bool:
    return 0 <= at_ms <= AT_MS_MAX


def plain(point: Point) -> tuple[Any, ...]:
    text = series_text(point.name, dict(point.labels))
    return text, point.kind, point.unit, point.at_ns, point.value


def encoded(encoder: PointsEncoder, batch: MetricBatch) -> list[Point]:
    found = []
    for content, count in encoder.scopes(batch):
        request = ExportMetricsServiceRequest.FromString(wire.envelope({}, content))
        points = points_of(request)
        assert len(points) == count
        found += points
    return found


def test_requests_are_small_and_a_stale_marker_has_no_value() -> None:
    count = 40_000
    text = series_text("m", {"host": "x" * 100})
    batch = MetricBatch(
        (text,),
        ("gauge",),
        ("",),
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64),
        np.full(count, STALE),
    )
    pieces = list(PointsEncoder().scopes(batch))
    assert len(pieces) > 1
    assert all(len(content) < REQUEST_BYTES_MAX + 1_000 for content, _ in pieces)
    request = ExportMetricsServiceRequest.FromString(wire.envelope({}, pieces[0][0]))
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    assert {point.flags for point in metric.gauge.data_points} == {1}


def test_logfire_gets_points_and_firings_intact_also_after_it_was_away(tmp_path: Path) -> None:
    with collecting(token=TOKEN) as logfire:
        told = {
            "LOGFIRE_TOKEN": TOKEN,
            "LOGFIRE_BASE_URL": logfire.url,
            "LOGFIRE_FORWARD_POINTS": "on",
            "ENVIRONMENT": "staging",
        }
        with serving(tmp_path, **told, **FAST) as (_, found):
            wait_for_component(found.url, "logfire", "connected")
            sent = send_points(found.url, 0)
            logfire.wait_for(lambda: len(loads(logfire)) >= len(sent))
            logfire.answer = lambda _: 503
            sent += send_points(found.url, 100)
            wait_for_component(found.url, "logfire", "error: ")
        logfire.answer = lambda _: 200
        with serving(tmp_path, **told, **FAST) as (_, found):
            logfire.wait_for(lambda: set(sent) <= set(loads(logfire)))
            assert sorted(loads(logfire)) == sorted(sent)
            alert(found.url)
            collect(found.url, 9.0)
            (line,) = logfire.wait_for(lambda: [x for x in logfire.lines if "fired" in x.body])
    assert line.severity == 17
    assert line.attributes["alert.name"] == "High load"
    assert line.attributes["label.source"] == "test"
    assert line.resource["deployment.environment.name"] == "staging"


def send_points(url: str, first: int) -> list[tuple[int, float]]:
    """Five minutes old and each at a time of its own."""
    points = [(NOW_MS - 300_000 + first + i, float(first + i)) for i in range(100)]
    metrics = [
        {"name": "load", "value": value, "timestamp": at_ms, "metric_type": "gauge"}
        for at_ms, value in points
    ]
    call(url, "collect_metrics", source="test", metrics=metrics)
    return [(at_ms * 1_000_000, value) for at_ms, value in points]


def loads(collector: Collector) -> list[tuple[int, float]]:
    return [(point.at_ns, point.value) for point in collector.points if point.name == "load"]


def test_a_wrong_token_is_told_in_the_status_and_the_token_is_not(tmp_path: Path) -> None:
    with collecting(token=TOKEN) as logfire:
        wrong = "pylf_v1_us_wrong"
        told = {"LOGFIRE_TOKEN": wrong, "LOGFIRE_BASE_URL": logfire.url}
        with serving(tmp_path, **told) as (_, found):
            status = wait_for_component(found.url, "logfire", "error: ")
            page = httpx.get(f"{found.url}/metrics").text
    assert "/v1/logs answers 401" in status["components"]["logfire"]
    assert wrong not in str(status) + page


def wait_for_component(url: str, name: str, begins: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status: dict[str, Any] = call(url, "get_server_status")
        if status["components"][name].startswith(begins):
            return status
    raise AssertionError(status["components"])


async def test_processors_tell_how_often_how_long_and_how_badly(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    async def has_stepped() -> bool:
        return 'steps_total{processor="route"}' in (await client.get("/metrics")).text

    await eventually(has_stepped, "no tick was routed")
    before, after = [(await client.get("/metrics")).text for _ in range(2)]
    for name in ("steps", "failed_steps", "records", "seconds"):
        sample = f'logfire_mcp_processor_{name}_total{{processor="route"}}'
        assert value_of(after, sample) >= value_of(before, sample)
    assert value_of(after, 'logfire_mcp_processor_records_total{processor="route"}') > 0


def value_of(page: str, sample: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith(sample)]
    return float(line.rpartition(" ")[2])
