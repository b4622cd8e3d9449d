"""MCP servers that are commands: started once, kept alive between looks, asked over their pipes.

Commands come from configuration alone: to start one that came over the network would be to let
anybody run anything.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from streams.events.health import Target
from streams.probes.finding import Finding, elapsed_ms
from streams.probes.mcp_asking import CLIENT_INFO, Baselines, ask, misanswered
from streams.probes.mcp_stdio_command import StdioCommand

STDERR_BYTES_MAX: Final = 300
"""The end of a process' stderr that is told when it fails."""


LAST_WORDS_S: Final = 0.5
"""How long after its end a process' stderr is waited for."""


class _Tail(asyncio.Protocol):
    """Keeps the end of a pipe, and always reads it: a full pipe would stop whoever writes."""

    def __init__(self) -> None:
        self.end = b""
        self.closed = asyncio.Event()

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self.end = (self.end + data)[-STDERR_BYTES_MAX:]

    async def text(self, error: Exception) -> str:
        """Of a process that ended it comes a moment after the end is known."""
        if not isinstance(error, TimeoutError):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closed.wait(), LAST_WORDS_S)
        return " ".join(self.end.decode(errors="replace").split())


@dataclass(slots=True)
class _Child:
    """``task`` owns the process: it starts it, and ends it when ``stop`` is set."""

    target: Target
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stderr: _Tail = field(default_factory=_Tail)
    ready: asyncio.Future[Client] = field(default_factory=asyncio.Future)
    task: asyncio.Task[None] | None = None

    def failed(self, error: Exception) -> None:
        """It will not be ready, if it is not."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # nobody may be waiting, and that is no matter


class _Ended(Exception):
    """The target went while its process started."""


class McpStdioProbe:
    """The first look starts the process, at most for its command's ``start_timeout_ms``; that time
    is told apart from the answers'. One that dies, hangs or fails is ended, its whole group, and
    the next look starts another: stdin is closed, after 2 s comes SIGTERM, after 2 more SIGKILL.
    """

    def __init__(self, commands: Mapping[str, StdioCommand], baselines: Baselines) -> None:
        self._commands = commands
        self._baselines = baselines
        self._children: dict[str, _Child] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def look(self, target: Target) -> Finding:
        """A look at ``mcp-stdio``."""
        command = self._commands.get(target.endpoint)
        if command is None:
            reason = f"no command {target.endpoint[:60]!r} is configured"
            return Finding(cause="forbidden", reason=reason)
        child = self._children.get(target.name)
        if child is not None and child.target != target:
            self._end(child)
            child = None
        start_s = time.perf_counter()
        is_new = child is None
        if child is None:
            child = self._start(target, command)
        timeout_ms = command.start_timeout_ms
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                client = await asyncio.shield(child.ready)
            spawn_ms = elapsed_ms(start_s) if is_new else None
            start_s = time.perf_counter()
            timeout_ms = target.timeout_ms
            async with asyncio.timeout(timeout_ms / 1000):
                tools = await ask(client)
        except Exception as error:  # noqa: BLE001  the SDK raises groups of whatever went wrong
            finding = _explained(error, await child.stderr.text(error), timeout_ms)
            self._end(child)
            return finding
        latency_ms = elapsed_ms(start_s)
        found = self._baselines.found(target, client, tools)
        return Finding(cause="ok", latency_ms=latency_ms, spawn_ms=spawn_ms, mcp=found)

    def forget(self, name: str) -> None:
        """That target is gone: its process is ended."""
        if name in self._children:
            self._end(self._children[name])

    async def close(self) -> None:
        """Ends every process; returns when none is left, after at most 7 s."""
        for child in list(self._children.values()):
            self._end(child)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _start(self, target: Target, command: StdioCommand) -> _Child:
        child = _Child(target)
        child.task = asyncio.create_task(_kept(child, command), name=f"mcp-stdio {target.name}")
        self._children[target.name] = child
        return child

    def _end(self, child: _Child) -> None:
        if self._children.get(child.target.name) is child:
            del self._children[child.target.name]
        assert child.task is not None
        child.stop.set()
        if not child.ready.done():
            child.task.cancel()  # it is still starting; the SDK ends the process all the same
        if not child.task.done():
            self._ending.add(child.task)
            child.task.add_done_callback(self._ending.discard)


async def _kept(child: _Child, command: StdioCommand) -> None:
    """A process from its start to its end, in one task, as the SDK's scopes need it."""
    parameters = StdioServerParameters(
        command=command.command, args=list(command.args), env=dict(command.env), cwd=command.cwd
    )
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb", buffering=0) as reader, os.fdopen(write_fd, "w") as writer:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: child.stderr, reader)
        try:
            reached = stdio_client(parameters, errlog=writer)
            async with Client(reached, client_info=CLIENT_INFO, cache=None) as client:
                writer.close()  # its end is seen when the process closes it
                child.ready.set_result(client)
                await child.stop.wait()
        except Exception as error:  # noqa: BLE001  whoever looks explains it
            child.failed(error)
        finally:
            child.failed(_Ended("it was ended while it started"))
            transport.close()


def _explained(error: Exception, stderr: str, timeout_ms: int) -> Finding:
    said = f"; its stderr ends: {stderr}" if stderr else ""
    match error:
        case TimeoutError():
            finding = Finding(cause="timeout", reason=f"no answer within {timeout_ms / 1000:g} s")
        case OSError():
            reason = f"it cannot be started: {error.strerror or error}"
            finding = Finding(cause="died", reason=reason)
        case _:
            kind = type(error).__name__
            finding = misanswered(error) or Finding(cause="died", reason=f"{kind}: {error}")
    return Finding(cause=finding.cause, reason=finding.reason + said)
