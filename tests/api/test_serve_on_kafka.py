"""Serve nodes on a real Kafka: they answer the same, start anew, and get over what goes away."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from mcp_api.server import Server
from projections.verify import projection_hashes, verify
from streams.config import Settings
from streams.errors import LogLocked, ProjectionError
from streams.events.topics import POINTS
from tests.api.kafka_nodes import (
    collect,
    eventually,
    node_settings,
    points,
    query,
    reasons,
    status,
    stored,
)
from tests.api.processes import PROGRAM, ROOT, environment, run
from tests.api.test_stdio import Stdio

Settle = Callable[..., Settings]


@pytest.fixture
def settle(kafka: str, kafka_prefix: str, tmp_path: Path) -> Settle:
    """``settle(name)``: the settings of the node of that name."""

    def settled(name: str, **more: Any) -> Settings:
        return node_settings(kafka, kafka_prefix, tmp_path / name, **more)

    return settled


@asynccontextmanager
async def serving(settings: Settings, **more: Any) -> AsyncIterator[Server]:
    async with Server(settings, **more) as node:
        async with asyncio.timeout(60):
            await node.until_ready()
        yield node


def is_the_fold(node: Server) -> bool:
    with node.projector.reading(60.0) as reader:
        return verify(node.log, projection_hashes(reader)).equal


async def test_two_nodes_answer_the_same_at_a_position_that_either_gave(settle: Settle) -> None:
    async with serving(settle("a")) as a, serving(settle("b")) as b:
        for i, (writer, reader) in enumerate([(a, b), (b, a)] * 5):
            position = await collect(writer, points(20, float(i)))
            told = await query(reader, position)
            assert told == await query(writer, position)
            assert len(told) == 20
        assert await stored(a) == await stored(b) == 200
        assert is_the_fold(a)
        assert is_the_fold(b)


async def test_a_node_tells_what_its_log_is_and_how_far_it_is(settle: Settle) -> None:
    settings = settle("a")
    async with serving(settings) as node, httpx.AsyncClient(base_url=node.url) as client:
        await query(node, await collect(node, points(20)))
        told = await status(node)
        page = (await client.get("/metrics")).text
        assert await reasons(client) == []
    assert told["status"] == "healthy"
    assert told["components"]["kafka"] == "connected"
    assert told["log"]["kind"] == "kafka"
    assert told["log"]["durable"] is False, "one broker has one copy"
    assert told["log"]["brokers"] == list(settings.kafka_bootstrap_servers)
    assert told["log"]["lag"] == []
    assert told["log"]["dropped"] == 0
    assert told["log"]["node"] == (settings.data_dir / "node").read_text().strip()
    lag = 'logfire_mcp_projection_partition_lag_records{partition="2",topic="metrics.points"} 0.0'
    assert lag in page
    assert "logfire_mcp_log_reachable 1.0" in page
    assert "logfire_mcp_log_durable 0.0" in page


async def test_what_is_new_comes_through_the_agents_and_what_they_lack_from_the_log(
    settle: Settle,
) -> None:
    async with serving(settle("a")) as a, serving(settle("b")) as b:
        tail = b.tail
        assert tail is not None

        async def told_by_agents() -> bool:
            position = await collect(a, points(20))
            await query(b, position)
            return tail.held_bytes > 0 and tail.failure() is None

        await eventually(told_by_agents, "a record from an agent")
        position = await collect(a, points(20))
        assert await query(a, position) == await query(b, position)


async def test_a_new_node_is_not_told_again_of_what_was_before_it(settle: Settle) -> None:
    async with serving(settle("a")) as a:
        for i in range(50):
            position = await collect(a, points(20, float(i)))
        async with serving(settle("b")) as b:
            tail = b.tail
            assert tail is not None
            assert await query(b, position) == await query(a, position), "it read the log"

            async def told() -> bool:
                await query(b, await collect(a, points(20)))
                return tail.told > 0

            await eventually(told, "a record from an agent")
            assert tail.told < 150, "three partitions, 50 records each"


async def test_an_mcp_client_may_start_a_node_of_its_own(
    settle: Settle, kafka: str, kafka_prefix: str
) -> None:
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": "3",
    }
    async with serving(settle("a")) as a:
        one = Stdio(settle("b").data_dir, **variables)
        stored_there = await one.call("collect_metrics", source="mcp", metrics=points(1))
        assert not stored_there.is_error
        assert stored_there.structured_content is not None
        told = await query(a, stored_there.structured_content["position"])
        assert [one["count"] for one in told] == [1]
        other = Stdio(settle("b").data_dir, **variables)
        status_there = await other.call("get_server_status")
        assert status_there.structured_content is not None
        assert status_there.structured_content["log"]["kind"] == "kafka"
        await other.leave()
        await one.leave()


async def test_a_request_that_is_sent_again_to_another_node_counts_once(settle: Settle) -> None:
    metrics = [{**point, "timestamp": "2026-01-01T00:00:00Z"} for point in points(20)]
    async with serving(settle("a")) as a, serving(settle("b")) as b:
        await collect(a, metrics, request_id="once")
        position = await collect(b, metrics, request_id="once")
        for node in (a, b):
            await query(node, position)
            assert await stored(node) == 20


async def test_a_node_keeps_its_name_and_goes_on_where_it_stopped(settle: Settle) -> None:
    names = []
    for i in range(3):
        async with serving(settle("a")) as node:
            position = await collect(node, points(5, float(i)))
            await query(node, position)
            assert await stored(node) == 5 * (i + 1)
            names.append((await status(node))["log"]["node"])
    assert len(set(names)) == 1


async def test_a_data_directory_has_one_node_at_a_time(settle: Settle) -> None:
    async with serving(settle("a")) as node:
        with pytest.raises(LogLocked, match=node.url):
            async with Server(settle("a")):
                pass
        assert await reasons_of(node) == []


async def reasons_of(node: Server) -> list[str]:
    async with httpx.AsyncClient(base_url=node.url) as client:
        return await reasons(client)


async def test_each_node_measures_its_own_machine(settle: Settle) -> None:
    async with (
        serving(settle("a", metrics_collection_interval_s=1, host_label="rack-1")) as a,
        serving(settle("b", metrics_collection_interval_s=1, host_label="rack-2")) as b,
    ):

        async def both() -> bool:
            arguments = {"operation": "list_tags", "metric_name": "system_cpu_usage"}
            answer = await b.calls.call("query_metrics", arguments, actor="test")
            return "rack-1" in json.dumps(answer.content) and "rack-2" in answer.text

        await eventually(both, "both machines at one node")
        assert a.not_ready() == []


async def test_a_new_node_begins_with_anothers_snapshot(
    settle: Settle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(settle("a", token="secret")) as a:
        for i in range(5):
            position = await collect(a, points(20, float(i)))
        await query(a, position)
        async with serving(settle("b", snapshot_from=a.url, snapshot_token="secret")) as b:
            assert "took a snapshot" in caplog.text
            position = await collect(a, points(20, 9.0))
            assert await query(b, position) == await query(a, position)
            assert await stored(b) == 120
            assert is_the_fold(b)
        caplog.clear()
        async with serving(settle("c", snapshot_from=a.url, snapshot_token="wrong")) as c:
            assert "answered 401" in caplog.text
            assert await query(c, position) == await query(a, position), "from the log's start"
        async with httpx.AsyncClient(base_url=a.url) as client:
            assert (await client.get("/admin/snapshot")).status_code == 401
    caplog.clear()
    async with serving(settle("d", snapshot_from=a.url)) as d:
        assert "gave no snapshot" in caplog.text
        await query(d, position)
        assert await stored(d) == 120


async def test_without_the_logs_beginning_a_node_needs_a_snapshot_and_says_so(
    settle: Settle,
) -> None:
    async with serving(settle("away")) as away:
        await query(away, await collect(away, points(20)))
    async with serving(settle("a")) as a:
        position = await collect(a, points(20))
        await query(a, position)
        await cut_off(settle("a"))
        with pytest.raises(ProjectionError, match=r"no longer holds.*SNAPSHOT_FROM"):
            async with Server(settle("b")):
                pass
        assert not list(settle("b").data_dir.glob("*.duckdb*")), "nothing incomplete is left"
        with pytest.raises(ProjectionError, match=r"no longer holds.*SNAPSHOT_FROM"):
            async with Server(settle("away")):
                pass
        for name in ("b", "away"):
            async with serving(settle(name, snapshot_from=a.url)) as node:
                assert await query(node, position) == await query(a)
                assert await stored(node) == 40
        (_,) = settle("away").data_dir.glob("*.damaged-*Z")


async def cut_off(settings: Settings) -> None:
    """Deletes every record so far, as retention does in time."""
    kafka = settings.kafka()
    assert kafka is not None
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers[0])
    await admin.start()
    try:
        topic = kafka.topic(POINTS)
        await admin.delete_records(
            {TopicPartition(topic, i): RecordsToDelete(-1) for i in range(kafka.partitions)}
        )
    finally:
        await admin.close()


async def test_a_deleted_database_comes_back_while_the_other_node_goes_on(settle: Settle) -> None:
    path = settle("a").data_dir / "logfire_mcp.duckdb"
    async with serving(settle("a")) as a, serving(settle("b")) as b:
        await query(a, await collect(a, points(20)))
        path.unlink()

        async def back() -> bool:
            await query(b, await collect(a, points(20)))
            return path.exists()

        await eventually(back, "the database file")
        position = await collect(b, points(20))
        assert await query(a, position) == await query(b, position)
        assert is_the_fold(a)
        count = await stored(b)
    path.unlink()
    async with serving(settle("a")) as a, serving(settle("b")) as b:
        assert await stored(a) == await stored(b) == count


async def test_processors_may_run_in_the_node(settle: Settle) -> None:
    async with serving(settle("a"), with_worker=True) as node:
        position = await collect(node, points(20))

        async def windows() -> bool:
            await query(node, position)
            told = await status(node)
            return bool(told["metrics"]["windows"]) and told["lag"]["windows"]["records"] < 20

        assert node.runner is not None
        old = [{**point, "timestamp": "2026-01-01T00:00:00Z"} for point in points(20)]
        await collect(node, old)
        await eventually(windows, "closed windows", 120)
        assert node.runner.failure() is None


def test_the_commands_work_on_kafka(settle: Settle, kafka: str, kafka_prefix: str) -> None:
    settings = settle("a")
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_TOPIC_PREFIX": kafka_prefix,
        "KAFKA_PARTITIONS": "3",
        "LOGFIRE_DATA_DIR": str(settings.data_dir),
    }

    async def fill() -> None:
        async with serving(settings) as node:
            await query(node, await collect(node, points(20)))
            beside = await asyncio.to_thread(run, "verify", **variables)
            assert "Equal" in beside.stdout, beside.stderr

    asyncio.run(fill())
    lines = run("replay", "--topic", "metrics.points", **variables).stdout.splitlines()
    assert sum("web-7" in line for line in lines) == 1
    assert "metrics.points" in run("tail", "--no-follow", **variables).stdout
    assert "20 points" in run("rebuild", **variables).stdout
    assert "Equal" in run("verify", **variables).stdout
    exported = run("export", "--metric", "load", **variables).stdout
    assert exported.count("web-") == 20
    refused = run("demo", **variables)
    assert refused.returncode == 1
    assert "unset it for the demo" in refused.stderr


def test_an_embedded_server_loads_nothing_of_kafka(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from mcp_api.server import Server\n"
        "from streams.config import load_settings\n"
        "import mcp_api.cli, mcp_api.serving, mcp_api.stdio\n"
        "async def main():\n"
        "    settings = load_settings({}, None, data_dir=Path(sys.argv[1]), port=0)\n"
        "    async with Server(settings) as server:\n"
        "        await server.until_ready()\n"
        "asyncio.run(main())\n"
        "print({'aiokafka', 'faust', 'mode', 'kafka'} & set(sys.modules))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    assert ended.stdout.strip() == "set()", ended.stderr


def test_a_node_is_ended_by_a_signal_in_bounded_time(settle: Settle, kafka: str) -> None:
    settings = settle("a")
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--data-dir", str(settings.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(
            KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC_PREFIX=settings.kafka_topic_prefix
        ),
    )
    assert process.stdout is not None
    assert any(line.startswith("Ready") for line in process.stdout)
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
