"""What /ready and the status line tell."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import httpx

from mcp_api.readiness import Readiness
from mcp_api.server import Server
from projections.rebuild import Rebuilt
from streams.errors import ProjectionError
from streams.events.topics import POINTS
from streams.log.sqlite_log import SqliteLog
from streams.processors.windows import WindowsProcessor
from streams.runners.local import LocalRunner
from tests.api.processes import PROGRAM, ROOT, environment, quick_settings


async def _pending() -> None:
    await asyncio.Event().wait()


async def _failed() -> None:
    raise ProjectionError("another process has the file")


def readiness(server: Server, start: asyncio.Task[None], rebuilt: Rebuilt | None) -> Readiness:
    return Readiness(server.log, server.runner, server.projector, start, lambda: rebuilt)


async def test_each_reason_is_a_sentence(running_server: Server) -> None:
    opening = asyncio.create_task(_pending())
    assert readiness(running_server, opening, None).reasons() == ["the database is being opened"]
    rebuilding = readiness(running_server, opening, Rebuilt(3_000, 10_000, 5, 1.0))
    assert "3,000 of 10,000 records" in rebuilding.reasons()[0]
    opening.cancel()
    failing = asyncio.create_task(_failed())
    await asyncio.wait({failing})
    reasons = readiness(running_server, failing, None).reasons()
    assert reasons == ["the database cannot be written: another process has the file"]


async def test_a_clock_that_was_set_back_is_a_reason(
    running_server: Server, tmp_path: Path
) -> None:
    now_ms = 1_795_000_000_000
    clock = [now_ms]
    with closing(SqliteLog.open(tmp_path / "other.db", clock=lambda: clock[0])) as log:
        runner = LocalRunner(log, [WindowsProcessor()], tick_ms=1_000, clock=lambda: clock[0])
        runner.start()
        try:
            async with asyncio.timeout(20):
                while log.ends()[POINTS, 0] == 0 or runner.lag()["windows", 0]:
                    await asyncio.sleep(0)
            ready = Readiness(
                log, runner, running_server.projector, running_server._starting[0], lambda: None
            )
            assert not any("clock" in reason for reason in ready.reasons())
            clock[0] -= 3_600_000
            assert ready.reasons()[0].startswith("the newest tick is 3,600 s ahead of the clock")
            clock[0] = now_ms - 5_000
            assert not any("clock" in reason for reason in ready.reasons())
        finally:
            assert runner.stop(20)


async def test_not_ready_is_a_503_with_the_reasons_until_it_is(tmp_path: Path) -> None:
    async with (
        Server(quick_settings(tmp_path)) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await client.get("/ready")
        while answer.status_code == 503:
            assert answer.json()["reasons"]
            assert answer.headers["retry-after"] == "1"
            answer = await client.get("/ready")
        assert answer.json() == {"status": "ready", "reasons": []}


async def test_a_dead_prober_and_a_dead_teller_are_told_and_begun_again(
    running_server: Server, client: httpx.AsyncClient
) -> None:
    prober, telling = running_server._watching.prober, running_server._telling
    assert telling is not None
    schedule, waiting = prober._schedule, telling._delivery._outstanding
    # bugs, as nothing from outside is known to end these
    prober._schedule = None  # type: ignore[assignment]
    telling._delivery._outstanding = None  # type: ignore[assignment]
    async with asyncio.timeout(60):
        while len(reasons := (await client.get("/ready")).json()["reasons"]) < 2:
            await asyncio.sleep(0)
        prober._schedule = schedule
        status = await running_server.calls.call("get_server_status", {}, actor="test")
        while (await client.get("/ready")).json()["reasons"]:
            await asyncio.sleep(0)
    assert [reason.partition(": ")[0] for reason in reasons] == [
        "targets are not checked",
        "nobody is told of alerts",
    ]
    assert set(reasons) <= set(status.content["problems"])
    assert telling._delivery._outstanding == waiting


async def test_a_log_with_much_to_read_is_ready_when_it_is_read(tmp_path: Path) -> None:
    metrics = [{"name": "m", "value": i, "metric_type": "gauge"} for i in range(100)]
    async with Server(quick_settings(tmp_path)) as server:
        for _ in range(20):
            arguments = {"source": "s", "metrics": metrics}
            await server.calls.call("collect_metrics", arguments, actor="test")
    (tmp_path / "logfire_mcp.duckdb").unlink()
    async with Server(quick_settings(tmp_path)) as server:
        await server.until_ready()
        status = await server.calls.call("get_server_status", {}, actor="test")
        assert status.content["metrics"]["total_metrics_stored"] > 0
        assert sum(server.runner.lag().values()) < 20


def test_a_person_sees_what_arrives(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--data-dir", str(tmp_path)],
        stdin=child,
        stdout=child,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(TERM="xterm", METRICS_COLLECTION_INTERVAL="1"),
    )
    os.close(child)
    shown = b""
    while b"points/s" not in shown or b"cpu" not in shown:
        shown += os.read(parent, 4_096)
    assert b"points stored" in shown
    assert b"series" in shown
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    os.close(parent)
    assert process.returncode == 0
    assert b"Traceback" not in errors
