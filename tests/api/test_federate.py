"""/federate: what another Prometheus takes from here, and how names reach it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mcp_api.prometheus_api.exposed_names import Format
from mcp_api.prometheus_api.federate import exposition
from mcp_api.server import Server
from projections.promql_newest import NewestSample
from streams.ingest.counters import CounterSamples
from streams.ingest.samples import as_request
from streams.ingest.system import SystemCollector
from streams.log.wall_clock import wall_clock_ms
from tests.api.kafka_nodes import eventually
from tests.api.test_alert_tools import tool

AT_MS = 1_700_000_000_123
PLAIN, UTF8 = Format(), Format("1.0.0", "allow-utf-8")
CPU = NewestSample((("__name__", "cpu_usage"), ("host", "a")), "gauge", "percent", AT_MS, 12.5)


def point(name: str, value: object, age_s: float = 1, **more: Any) -> dict[str, Any]:
    at_s = wall_clock_ms() / 1000 - age_s
    return {"name": name, "value": value, "metric_type": "gauge", "timestamp": at_s, **more}


async def stored(client: httpx.AsyncClient, *points: dict[str, Any]) -> None:
    answer = await tool(client, "collect_metrics", source="app", metrics=points)
    assert answer["collected_count"] == len(points), answer
    seen = {"operation": "list_metrics", "min_position": answer["position"]}
    await tool(client, "query_metrics", **seen)


async def federated(client: httpx.AsyncClient, *selectors: str, **headers: str) -> str:
    answer = await client.get("/federate", params={"match[]": selectors}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def text_of(*samples: NewestSample, form: Format = PLAIN) -> str:
    return "".join(exposition(samples, form))


def sample(name: str, value: float = 1.0, kind: str = "gauge", **labels: str) -> NewestSample:
    told = tuple(sorted({"__name__": name, **labels}.items()))
    return replace(CPU, labels=told, type=kind, unit="", value=value)


async def test_each_series_shows_its_newest_sample_with_its_time(client: httpx.AsyncClient) -> None:
    at_s = int(wall_clock_ms() / 1000) - 60
    await stored(
        client,
        *(
            {**point("cpu_usage", value, unit="percent", tags={"host": host}), "timestamp": at}
            for host, value, at in (("a", 1, at_s - 5), ("a", 2.5, at_s + 0.25), ("b", 3, at_s))
        ),
    )
    assert await federated(client, "cpu_usage") == (
        "# HELP cpu_usage cpu_usage in percent\n"
        "# TYPE cpu_usage gauge\n"
        f'cpu_usage{{host="a",instance="",source="app"}} 2.5 {at_s}250\n'
        f'cpu_usage{{host="b",instance="",source="app"}} 3 {at_s}000\n'
    )


async def test_what_is_stale_too_old_or_yet_to_come_is_left_out(client: httpx.AsyncClient) -> None:
    await stored(
        client,
        point("old", 1, age_s=301),
        point("ended", 1, age_s=20),
        point("ended", "StaleNaN", age_s=10),
        point("both", 1, age_s=20),
        point("both", 2, age_s=-60),
        point("ended_before", 1, age_s=20),
        point("ended_before", "StaleNaN", age_s=10),
        point("ended_before", 3, age_s=-60),
        point("to_come", 1, age_s=-60),
    )
    text = await federated(client, '{source="app"}')
    lines = [line.split(" ")[:2] for line in text.splitlines() if not line.startswith("#")]
    assert lines == [['both{instance="",source="app"}', "1"]]


async def test_several_selectors_tell_each_series_once(client: httpx.AsyncClient) -> None:
    await stored(client, *(point("load", 1, tags={"host": host}) for host in "abc"))
    text = await federated(client, 'load{host="a"}', 'load{host=~"a|b"}', "no_such_metric")
    assert text.count("load{") == 2


REFUSED = [
    ("", "no match[] parameter"),
    ("match[]=cpu{", "match[]"),
    ("match[]=rate(cpu[5m])", "series are selected by a name and matchers"),
    ("match[]=" + "&match[]=".join(["up"] * 101), "at most 100"),
    ("match[]=%ff", "not UTF-8"),
]


@pytest.mark.parametrize(("query", "said"), REFUSED)
async def test_what_selects_nothing_is_refused(
    client: httpx.AsyncClient, query: str, said: str
) -> None:
    answer = await client.get(f"/federate?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_names_of_utf_8_are_quoted_for_those_who_read_them(
    client: httpx.AsyncClient,
) -> None:
    await stored(client, point("http.in flight", 1, tags={"net.peer": 'a"b\\\n', "ä": "1"}))
    quoted = await federated(
        client, '{source="app"}', accept="text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6"
    )
    assert '# TYPE "http.in flight" gauge\n' in quoted
    line = r'{"http.in flight",instance="","net.peer"="a\"b\\\n",source="app","ä"="1"} 1 '
    assert line in quoted
    plain = await federated(client, '{source="app"}')
    assert 'http_in_flight{instance="",net_peer=' in plain
    await federated(client, '{source="app"}', **{"accept-encoding": "gzip"})


def test_types_are_told_where_the_name_keeps_to_the_convention() -> None:
    told = text_of(
        sample("calls_total", kind="counter"),
        sample("calls", kind="counter"),
        sample("wait_seconds_count", kind="counter"),
        sample("jobs_total"),
        sample("seen", kind="histogram"),
        sample("mixed", kind="gauge"),
        sample("mixed", kind="counter", host="a"),
        CPU,
    )
    types = dict(line.split(" ")[2:] for line in told.splitlines() if line.startswith("# TYPE"))
    assert types == {
        "calls": "untyped",
        "calls_total": "counter",
        "cpu_usage": "gauge",
        "jobs_total": "untyped",
        "mixed": "untyped",
        "seen": "untyped",
        "wait_seconds_count": "untyped",
    }


def test_names_that_escaping_makes_equal_are_kept_apart() -> None:
    told = text_of(sample("a.b", 1), sample("a_b", 2, **{"x.y": "1", "x_y": "2"}))
    lines = [line for line in told.splitlines() if not line.startswith("#")]
    assert lines[0].startswith('a_b{instance="",x_y="2",x_y_x')
    assert lines[1].startswith("a_b_x")


def test_an_instance_of_its_own_is_kept() -> None:
    assert 'up{instance="web:80"} 1 ' in text_of(sample("up", instance="web:80"))


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=6),
            st.dictionaries(
                st.text(min_size=1, max_size=4).filter(lambda tag: not tag.startswith("__")),
                st.text(max_size=6),
                max_size=3,
            ),
            st.floats(),
        ),
        max_size=5,
        unique_by=lambda one: repr((one[0], sorted(one[1].items()))),
    )
)
def test_whatever_the_names_are_a_scraper_reads_each_series_once(rows: list[Any]) -> None:
    samples = [sample(name, value, **labels) for name, labels, value in rows]
    for form in (PLAIN, UTF8, Format(scheme="dots"), Format(scheme="values")):
        told = text_of(*samples, form=form)
        read = [
            (one.name, tuple(sorted(one.labels.items())))
            for family in text_string_to_metric_families(told)
            for one in family.samples
        ]
        assert len(set(read)) == len(samples)


async def test_promtool_has_no_remark_on_what_this_server_collects(
    running_server: Server, client: httpx.AsyncClient, requires: Callable[[str], str]
) -> None:
    counters = CounterSamples(running_server.telemetry.mcp_counts, {"host": "a"})
    await stored(client, {**point("response_seconds", 2), "metric_type": "histogram"})
    now_ms = wall_clock_ms()
    for collected in (SystemCollector().sample(now_ms), as_request("own", counters.take(now_ms))):
        await running_server.edge.collect(collected, actor="test")
    await stored(client, point("cpu_usage", 1, tags={"host": "a"}))
    page = await federated(client, '{source=~".+"}')
    for name in ("system_load_1m", "mcp_requests_total", "mcp_request_duration_seconds_sum"):
        assert f"\n{name}{{" in page
    checked = await asyncio.create_subprocess_exec(
        requires("promtool"), "check", "metrics", stdin=-1, stdout=-1, stderr=-1
    )
    out, err = await checked.communicate(page.encode())
    assert checked.returncode == 0, out + err


@contextmanager
def scraping(program: str, folder: Path, url: str) -> Iterator[str]:
    """A Prometheus that federates from ``url``; its own url."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "prometheus.yml").write_text(
        f"""
scrape_configs:
  - job_name: federated
    scrape_interval: 1s
    metrics_path: /federate
    honor_labels: true
    params: {{"match[]": ['{{source="app"}}']}}
    static_configs: [{{targets: ["{url.removeprefix("http://")}"]}}]
"""
    )
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


async def test_a_real_prometheus_takes_the_series_as_they_are(
    running_server: Server,
    client: httpx.AsyncClient,
    tmp_path_factory: pytest.TempPathFactory,
    requires: Callable[[str], str],
) -> None:
    program, folder = requires("prometheus"), tmp_path_factory.mktemp("prometheus")
    sent = point("cpu_usage", 42.5, age_s=5, tags={"host": "a", "job": "web"})
    await stored(client, sent)
    with scraping(program, folder, running_server.url) as url:
        async with httpx.AsyncClient(base_url=url) as prometheus:
            found: list[Any] = []

            async def taken() -> bool:
                try:
                    answer = await prometheus.get("/api/v1/query?query=cpu_usage[5m]")
                except httpx.TransportError:
                    return False  # not up yet
                found[:] = answer.json()["data"]["result"] if answer.status_code == 200 else []
                return bool(found)

            await eventually(taken, "Prometheus has the series")
    labels = {"__name__": "cpu_usage", "host": "a", "job": "web", "source": "app"}
    assert found[0]["metric"] == labels
    at_s, value = found[0]["values"][0]
    assert value == "42.5"
    assert at_s == pytest.approx(sent["timestamp"], abs=0.001)
