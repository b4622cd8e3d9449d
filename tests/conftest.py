"""Servers to talk to, and what a test does where a program that it needs is not installed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from hypothesis import settings

import mcp_api.plain_pydantic  # noqa: F401 - before anything imports pydantic
from mcp_api.server import Server
from tests.api.processes import quick_settings
from tests.kafka_cluster import Cluster, delete_topics, missing_program
from tests.projections.sink_servers import RedisServer, VictoriaServer

# A busy machine makes any example slow: no test asserts a duration.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")

HOW_TO_GET = {
    "kcat": "apt-get install kcat",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "npx": "install Node.js 20 or newer",
    "redis-server": "apt-get install redis-server",
    "victoria-metrics": "apt-get install victoria-metrics",
}


@pytest.fixture
def requires() -> Callable[[str], str]:
    """``requires(program)``: its path; skips with the reason and how to get it.

    ``REQUIRE_SERVICES=1`` (the builds) makes it a failure: there nothing may be left out.
    """

    def found(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            leave_out(f"{program} is not installed: {HOW_TO_GET[program]}")
        return path

    return found


def leave_out(reason: str) -> NoReturn:
    """Skips the test; fails it where nothing may be left out."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def redis_server(tmp_path: Path, requires: Callable[[str], str]) -> Iterator[RedisServer]:
    """A real Redis of the test's own."""
    server = RedisServer(requires("redis-server"), tmp_path)
    yield server
    server.program.stop()


@pytest.fixture
def victoria(tmp_path: Path, requires: Callable[[str], str]) -> Iterator[VictoriaServer]:
    """A real VictoriaMetrics of the test's own, which takes InfluxDB's writes."""
    server = VictoriaServer(requires("victoria-metrics"), tmp_path / "victoria")
    yield server
    server.program.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a real broker, one for all tests: give topics names of your own.

    The one at ``KAFKA_TEST_BOOTSTRAP`` where that is set, else one is started.
    """
    if running := os.environ.get("KAFKA_TEST_BOOTSTRAP"):
        yield running
        return
    require_kafka()
    cluster = Cluster(1)
    yield cluster.bootstrap
    cluster.stop()


def require_kafka() -> None:
    """For tests that start brokers: `leave_out` where these cannot be started."""
    if reason := missing_program():
        leave_out(f"{reason}, or set KAFKA_TEST_BOOTSTRAP to the address of a broker")


@pytest.fixture(scope="module")
def start_kafka() -> Iterator[Callable[..., Cluster]]:
    """Makes a `Cluster` for tests that end brokers or set them up otherwise; stopped at the end."""
    require_kafka()
    made: list[Cluster] = []

    def start(*arguments: Any, **keywords: Any) -> Cluster:
        made.append(Cluster(*arguments, **keywords))
        return made[-1]

    yield start
    for cluster in made:
        cluster.stop()


@pytest.fixture
def kafka_prefix(kafka: str) -> Iterator[str]:
    """Begins the names of this test's topics and groups, and of no others.

    Topics that begin so are deleted at the end.
    """
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    yield prefix
    delete_topics(kafka, prefix)


@pytest.fixture
async def running_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A whole server in this process, on a free port of loopback, with a data directory of its own.

    It measures nothing by itself and ticks every second.
    """
    async with Server(quick_settings(tmp_path)) as server:
        await server.until_ready()
        yield server


@pytest.fixture
async def client(running_server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the `running_server`."""
    async with httpx.AsyncClient(base_url=running_server.url, timeout=30) as client:
        yield client
