"""The prober in its own time: who is looked at, who is told, what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.errors import LogUnavailable
from streams.events.health import HealthChecked, Kind, Target
from streams.probes.mcp_stdio_command import StdioCommand
from streams.probes.prober import LOOKS_MAX, Prober
from tests.probes.answering import Request, answering, http

BEGIN_MS = 1_800_000_000_000
PATIENCE_S = 30


@dataclass
class Rig:
    """A prober on a clock that a test sets. ``told``: what it told, in order."""

    targets: dict[str, Target] = field(default_factory=dict)
    now_ms: int = BEGIN_MS
    beats_ms: dict[str, int] = field(default_factory=dict)
    told: asyncio.Queue[HealthChecked] = field(default_factory=asyncio.Queue)
    log_is_away: bool = False
    prober: Prober | None = None

    def begin(self, commands: Mapping[str, StdioCommand]) -> Prober:
        async def tell(checked: HealthChecked) -> None:
            if self.log_is_away:
                raise LogUnavailable("the disk is full")
            self.told.put_nowait(checked)

        self.prober = Prober(
            lambda: self.targets,
            tell,
            configured=dict(self.targets),
            commands=commands,
            last_beat_ms=self.beats_ms.get,
            clock=lambda: self.now_ms,
        )
        return self.prober

    async def advance(self, span_ms: int) -> None:
        """The prober sees the new time at once."""
        assert self.prober is not None
        self.now_ms += span_ms
        self.prober.ask("no such target")

    async def next(self) -> HealthChecked:
        return await asyncio.wait_for(self.told.get(), PATIENCE_S)

    async def until(self, **status: int) -> None:
        """The prober's status has these values."""
        assert self.prober is not None
        async with asyncio.timeout(PATIENCE_S):
            while any(getattr(self.prober.status(), k) != v for k, v in status.items()):
                await asyncio.sleep(0)


@asynccontextmanager
async def running(rig: Rig, **commands: StdioCommand) -> AsyncIterator[Prober]:
    prober = rig.begin(commands)
    task = asyncio.create_task(prober.run())
    try:
        yield prober
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def target(name: str, endpoint: str, kind: Kind = "http", **more: Any) -> Target:
    return Target(name=name, kind=kind, endpoint=endpoint, **more)


async def test_every_target_is_told_once_in_each_interval() -> None:
    async with answering({"/": http(200)}) as server:
        rig = Rig({f"t{n}": target(f"t{n}", server.url("/")) for n in range(20)})
        async with running(rig) as prober:
            await rig.until(targets=20, running=0)
            for _ in range(3):
                await rig.advance(30_000)
                told = [await rig.next() for _ in range(20)]
                assert {each.target for each in told} == set(rig.targets)
                assert {(each.cause, each.at_ms) for each in told} == {("ok", rig.now_ms)}
                await rig.until(running=0)
            assert rig.told.empty()
            assert prober.status().checks == 60
        await server.until_all_are_closed()


async def test_a_check_that_is_asked_for_comes_at_once() -> None:
    async with answering({"/": http(200)}) as server:
        rig = Rig({name: target(name, server.url("/")) for name in ("a", "b")})
        async with running(rig) as prober:
            await rig.until(targets=2)
            prober.ask("a")
            assert (await rig.next()).target == "a"
            prober.ask("")
            assert {(await rig.next()).target, (await rig.next()).target} == {"a", "b"}


async def test_a_target_that_is_gone_is_not_told_even_where_its_look_had_begun() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(asked: Request, writer: asyncio.StreamWriter) -> None:
        entered.set()
        await leave.wait()
        await http(200)(asked, writer)

    async with answering({"/": slow}) as server:
        rig = Rig({"a": target("a", server.url("/"))})
        async with running(rig) as prober:
            await rig.until(targets=1)
            prober.ask("a")
            await entered.wait()
            rig.targets = {}
            await rig.advance(1)
            await rig.until(targets=0)
            leave.set()
            await rig.advance(30_000)
            await rig.until(running=0)
            assert rig.told.empty()
            assert prober.status().checks == 0


async def test_a_target_is_never_looked_at_twice_at_once_and_no_more_than_the_limit() -> None:
    leave = asyncio.Event()

    async def slow(asked: Request, writer: asyncio.StreamWriter) -> None:
        await leave.wait()
        await http(200)(asked, writer)

    async with answering({"/": slow}) as server:
        count = LOOKS_MAX + 10
        rig = Rig(
            {f"t{n}": target(f"t{n}", server.url("/"), timeout_ms=30_000) for n in range(count)}
        )
        async with running(rig) as prober:
            await rig.until(targets=count)
            prober.ask("")
            await rig.until(running=count)
            while len(server.paths) < LOOKS_MAX:
                await asyncio.sleep(0)
            prober.ask("")
            await rig.until(skipped=count)
            assert server.open == len(server.paths) == LOOKS_MAX
            leave.set()
            told = [await rig.next() for _ in range(count)]
            assert {each.cause for each in told} == {"ok"}


async def test_a_heartbeat_is_told_only_when_it_does_not_come() -> None:
    rig = Rig({"job": target("job", "", "heartbeat", interval_ms=60_000)})
    async with running(rig) as prober:
        await rig.until(targets=1)
        prober.ask("job")  # from here on it is listened for
        await rig.until(checks=1, running=0)
        for n in range(2, 5):
            rig.beats_ms["job"] = rig.now_ms + 59_000
            await rig.advance(60_000)
            await rig.until(checks=n, running=0)
        assert rig.told.empty()
        await rig.advance(60_000)
        silent = await rig.next()
        assert silent.cause == "silent"
        assert silent.reason == "the heartbeat came last 61 s ago; it is due every 60 s"


async def test_a_check_that_the_log_does_not_take_is_counted_and_the_next_one_comes() -> None:
    async with answering({"/": http(200)}) as server:
        rig = Rig({"a": target("a", server.url("/"))}, log_is_away=True)
        async with running(rig) as prober:
            await rig.until(targets=1)
            prober.ask("a")
            await rig.until(untold=1, running=0)
            rig.log_is_away = False
            await rig.advance(30_000)
            assert (await rig.next()).cause == "ok"


async def test_processes_end_with_their_target_and_with_the_prober(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "from mcp.server import MCPServer\n"
        "MCPServer('a', log_level='WARNING').run('stdio')\n"
    )
    command = StdioCommand(command=sys.executable, args=("-c", code, str(tmp_path)))
    rig = Rig({name: target(name, "server", "mcp-stdio") for name in ("a", "b")})
    async with running(rig, server=command) as prober:
        await rig.until(targets=2)
        prober.ask("")
        assert {(await rig.next()).cause, (await rig.next()).cause} == {"ok"}
        await rig.until(running=0)
        pids = {int(file.name) for file in tmp_path.iterdir()}
        assert len(pids) == 2
        del rig.targets["a"]
        await rig.advance(1)
        await rig.until(targets=1)
        async with asyncio.timeout(PATIENCE_S):
            while len(_alive(pids)) == 2:
                await asyncio.sleep(0)
    assert _alive(pids) == set()


async def test_a_target_that_goes_while_its_process_starts_ends_only_that(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "signal.pause()\n"
    )
    command = StdioCommand(command=sys.executable, args=("-c", code, str(tmp_path)))
    rig = Rig({"slow": target("slow", "server", "mcp-stdio"), "port": target("port", "a", "tcp")})
    async with running(rig, server=command) as prober:
        await rig.until(targets=2)
        prober.ask("slow")
        async with asyncio.timeout(PATIENCE_S):
            while not list(tmp_path.iterdir()):
                await asyncio.sleep(0)
        del rig.targets["slow"]
        await rig.advance(30_000)
        assert (await rig.next()).target == "port"
        await rig.until(targets=1, running=0)
    assert _alive({int(file.name) for file in tmp_path.iterdir()}) == set()


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path("/proc", str(pid)).exists()}
