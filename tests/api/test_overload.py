"""More than the disk can take: refusals that say when to come back, bounded memory, recovery."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from mcp_api.discovery import Found
from mcp_api.guard import GuardLimits
from mcp_api.server import Server
from tests.api.processes import quick_settings, run, serving

WRITERS = 200
POINTS = 12_000
SERIES = 20
ROUNDS_MAX = 100


@contextmanager
def slow_disk(data_dir: Path) -> Iterator[None]:
    """Another process' connection holds the log's lock: nothing can be written meanwhile."""
    blocker = sqlite3.connect(data_dir / "logfire_mcp.db", isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        yield
        blocker.execute("ROLLBACK")
    finally:
        blocker.close()


def metrics(points: int) -> bytes:
    start_s = 1_760_000_000
    return json.dumps(
        [
            {
                "name": "load",
                "value": i,
                "metric_type": "gauge",
                "tags": {"n": f"{i % SERIES}"},
                "timestamp": start_s + i // SERIES,
            }
            for i in range(points)
        ],
        separators=(",", ":"),
    ).encode()


def body(writer: int, shared: bytes) -> bytes:
    head = b'{"tool":"collect_metrics","arguments":{"source":"w%d","metrics":' % writer
    return head + shared + b"}}"


class Writers:
    """All send one request each, with a key of its own, and again while they are refused."""

    def __init__(self, found: Found, shared: bytes) -> None:
        self._found = found
        self._shared = shared
        self.statuses: Counter[int] = Counter()
        self.refused = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.position = ""

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=WRITERS)
        timeout = httpx.Timeout(120)
        async with httpx.AsyncClient(
            base_url=self._found.url, limits=limits, timeout=timeout
        ) as client:
            await asyncio.gather(*(self._write(client, n) for n in range(WRITERS)))

    async def _write(self, client: httpx.AsyncClient, number: int) -> None:
        headers = {"content-type": "application/json", "idempotency-key": f"k{number}"}
        content = body(number, self._shared)
        for _ in range(ROUNDS_MAX):
            answer = await client.post("/logfire-mcp", content=content, headers=headers)
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                told = answer.json()
                assert told["collected_count"] == POINTS
                self.position = max(self.position, told["position"], key=_offset)
                return
            assert answer.status_code in {429, 503}, answer.text
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["message"]
            self.refused.release()
            await self.open.wait()
        raise AssertionError(f"writer {number} was refused {ROUNDS_MAX} times")


def _offset(position: str) -> int:
    return int(position.rpartition("@")[2] or -1)


async def test_two_hundred_writers_on_a_disk_that_stands_still(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, found):
        writers = Writers(found, metrics(POINTS))
        running = asyncio.create_task(writers.run())
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        with slow_disk(tmp_path):
            for _ in range(10):
                await asyncio.wait_for(writers.refused.acquire(), 60)
            alive = await asyncio.to_thread(httpx.get, f"{found.url}/health", timeout=30)
            assert alive.status_code == 200
            assert memory.memory_info().rss - before < 600 << 20
        writers.open.set()
        await running
        assert writers.statuses[200] == WRITERS
        assert writers.statuses[429] + writers.statuses[503] >= 10
        counts = await asyncio.to_thread(counted, found, writers.position)
        assert counts == {f"w{n}": POINTS for n in range(WRITERS)}
        verified = await asyncio.to_thread(run, "verify", "--data-dir", str(tmp_path))
        assert verified.returncode == 0, verified.stderr


def counted(found: Found, position: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    cursor: dict[str, str] = {}
    while len(counts) < WRITERS:
        arguments = {
            "metric_name": "load",
            "start_time": "2025-01-01T00:00:00Z",
            "aggregation": "count",
            "group_by": ["source"],
            "max_points": 1,
            "limit": 100,
            "min_position": position,
            **cursor,
        }
        call = {"tool": "query_metrics", "arguments": arguments}
        told = httpx.post(f"{found.url}/logfire-mcp", json=call, timeout=60).json()
        counts |= {row["tags"]["source"]: row["count"] for row in told["results"]}
        if "next_cursor" not in told:
            break
        cursor = {"cursor": told["next_cursor"]}
    return counts


async def post(server: Server, client: httpx.AsyncClient, number: int) -> httpx.Response:
    return await client.post(
        f"{server.url}/logfire-mcp",
        content=body(number, metrics(3)),
        headers={"content-type": "application/json", "idempotency-key": f"k{number}"},
    )


async def test_a_write_that_takes_too_long_may_be_repeated_and_counts_once(tmp_path: Path) -> None:
    async with (
        Server(quick_settings(tmp_path), limits=GuardLimits(call_s=0.2)) as server,
        httpx.AsyncClient(timeout=30) as client,
    ):
        with slow_disk(tmp_path):
            late = await post(server, client, 1)
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        assert "same Idempotency-Key" in late.json()["error"]["message"]
        again = await post(server, client, 1)
        while again.status_code == 503:
            again = await post(server, client, 1)
        assert again.json()["duplicate"] is True
        assert again.json()["collected_count"] == 3


async def test_requests_over_the_number_served_at_once_are_refused_at_once(tmp_path: Path) -> None:
    async with (
        Server(quick_settings(tmp_path), limits=GuardLimits(requests_max=20)) as server,
        httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=WRITERS)) as client,
    ):
        with slow_disk(tmp_path):
            tasks = [asyncio.create_task(post(server, client, n)) for n in range(WRITERS)]
            waiting: set[asyncio.Task[Any]] = set(tasks)
            while len(waiting) > 20:
                done, waiting = await asyncio.wait(
                    waiting, return_when=asyncio.FIRST_COMPLETED, timeout=60
                )
                assert done
                assert {task.result().status_code for task in done} == {503}
        accepted = await asyncio.gather(*waiting)
        assert {answer.status_code for answer in accepted} == {200}
        assert (await post(server, client, 500)).status_code == 200
