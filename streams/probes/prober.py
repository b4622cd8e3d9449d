"""The prober: each target of this process looked at in its interval, and told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, assert_never

from streams.errors import ConfigError, LogError, Overloaded
from streams.events.health import HealthChecked, Target
from streams.log.wall_clock import wall_clock_ms
from streams.probes.addresses import AddressPolicy, Network
from streams.probes.dns import look_dns
from streams.probes.finding import Finding
from streams.probes.heartbeat import HeartbeatProbe, LastBeat
from streams.probes.http import look_http
from streams.probes.mcp_stdio_command import StdioCommand
from streams.probes.own_headers import OwnHeaders, own_headers
from streams.probes.schedule import Schedule
from streams.probes.tcp import look_tcp

if TYPE_CHECKING:
    from streams.probes.mcp import McpProbe
    from streams.probes.mcp_stdio import McpStdioProbe

_log = logging.getLogger(__name__)

LOOKS_MAX: Final = 50
"""Targets looked at in one moment: bounds open connections and the share of the event loop."""

POLL_S: Final = 1.0
"""How long a new target, or one that is gone, may go unnoticed."""

OVERTIME_S: Final = 5.0
"""What a look may take beyond its time-out to close its session; then it is ended by force."""


@dataclass(frozen=True, slots=True)
class ProberStatus:
    """``targets``, ``running``: now; the others since the start. ``skipped``: looks left out since
    the target's last had not ended; ``untold``: checks that the log did not take."""

    targets: int = 0
    running: int = 0
    checks: int = 0
    skipped: int = 0
    untold: int = 0


class Prober:
    """Looks at each target in its interval, at most `LOOKS_MAX` at once, never twice at one.

    When a target is due comes from its name and the wall clock alone (`Schedule`): targets are
    spread over their interval, and one that moves to another process keeps its times. A target
    that is equal to one of ``configured`` may be at any address but clouds' metadata; any other
    only at public addresses, or in ``allowed``.
    """

    def __init__(
        self,
        targets: Callable[[], Mapping[str, Target]],
        tell: Callable[[HealthChecked], Awaitable[None]],
        *,
        configured: Mapping[str, Target],
        commands: Mapping[str, StdioCommand],
        last_beat_ms: LastBeat,
        last_tools_hash: Callable[[str], str] = lambda _: "",
        headers: Mapping[str, Mapping[str, str]] | None = None,
        environ: Mapping[str, str] | None = None,
        allowed: tuple[Network, ...] = (),
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``targets``: by name, those that this process is to look at; asked each second.
        ``tell``: appends the event; where it raises `LogError` or `Overloaded` the check is lost
        and counted, and the next one comes in its interval. ``configured``: targets of the
        configuration and defaults, by name. ``commands``: by the endpoint of ``mcp-stdio``.
        ``last_beat_ms``: when the heartbeat of a target last came, or None. ``last_tools_hash``:
        by name of the target, as of `streams.probes.mcp_asking.LastHash`. ``headers``: by name of
        the target, those of its requests, which may refer to variables of ``environ``."""
        self._targets = targets
        self._tell = tell
        self._configured = configured
        self._commands = commands
        self._last_tools_hash = last_tools_hash
        self._headers = headers or {}
        self._environ = environ or {}
        self._allowed = allowed
        self._clock = clock
        self._schedule = Schedule()
        self._known: dict[str, Target] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(LOOKS_MAX)
        self._asked = asyncio.Event()
        self._beats = HeartbeatProbe(last_beat_ms, clock)
        self._mcp: asyncio.Task[tuple[McpProbe, McpStdioProbe]] | None = None
        self._status = ProberStatus()

    async def run(self) -> None:
        """Until cancelled; then it ends every session and process that it began. It may be run
        again."""
        try:
            while True:
                self._asked.clear()
                self._reap()
                targets = dict(self._targets())
                await self._forget(targets)
                for target in self._schedule.due(self._clock(), targets):
                    self._begin(target)
                await self._pause()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._running.clear()
            await self.close()

    async def check(self, target: Target) -> HealthChecked:
        """One look now, beside the schedule, at a target that need not be registered; it is
        returned, not told. Raises nothing that the target could cause."""
        if target.kind in {"mcp", "mcp-sse", "mcp-stdio"}:
            await self._mcp_probes()  # to make them takes seconds, which are not the target's
        async with self._room:
            at_ms = self._clock()
            limit_s = target.timeout_ms / 1000 + OVERTIME_S
            command = self._commands.get(target.endpoint)
            if target.kind == "mcp-stdio" and command is not None:
                limit_s += command.start_timeout_ms / 1000
            try:
                async with asyncio.timeout(limit_s):
                    finding = await self._look(target)
            except ConfigError as error:
                finding = Finding(cause="unauthorized", reason=str(error))
            except TimeoutError:
                finding = Finding(cause="timeout", reason=f"it did not end within {limit_s:g} s")
            except Exception as error:  # noqa: BLE001  a bug in one look is no other's loss
                _log.exception("looking at %s failed", target.name)
                reason = f"the probe failed: {type(error).__name__}: {error}"
                finding = Finding(cause="invalid_reply", reason=reason)
            return finding.checked(target, at_ms)

    def ask(self, name: str) -> None:
        """The target of that name, "" for all, is due at once."""
        self._schedule.ask(name)
        self._asked.set()

    def status(self) -> ProberStatus:
        """Now, and since the start."""
        running = sum(not task.done() for task in self._running.values())
        return replace(self._status, targets=len(self._known), running=running)

    async def close(self) -> None:
        """Ends what is kept alive between looks; `run` does so itself."""
        self._beats.close()
        if self._mcp is not None:
            _, stdio = await self._mcp
            await stdio.close()

    async def _look(self, target: Target) -> Finding:
        is_configured = self._configured.get(target.name) == target
        policy = AddressPolicy(public_only=not is_configured, allowed=self._allowed)
        match target.kind:
            case "http":
                own = self._own_headers(target, is_configured=is_configured)
                return _redacted(await look_http(target, policy, own), own)
            case "tcp":
                return await look_tcp(target, policy)
            case "dns":
                return await look_dns(target, policy)
            case "heartbeat":
                return self._beats.look(target)
            case "mcp" | "mcp-sse":
                own = self._own_headers(target, is_configured=is_configured)
                mcp, _ = await self._mcp_probes()
                return _redacted(await mcp.look(target, policy, own), own)
            case "mcp-stdio":
                if not is_configured:
                    return Finding(cause="forbidden", reason="commands come from configuration")
                _, stdio = await self._mcp_probes()
                return await stdio.look(target)
            case _:
                assert_never(target.kind)

    def _own_headers(self, target: Target, *, is_configured: bool) -> OwnHeaders:
        """Whoever registers another target under the name gets none of them."""
        headers = self._headers.get(target.name, {}) if is_configured else {}
        return own_headers(target.endpoint, headers, self._environ)

    async def _mcp_probes(self) -> tuple[McpProbe, McpStdioProbe]:
        if self._mcp is None:
            made = asyncio.to_thread(_mcp_probes, self._commands, self._last_tools_hash)
            self._mcp = asyncio.create_task(made)
        return await asyncio.shield(self._mcp)

    def _begin(self, target: Target) -> None:
        running = self._running.get(target.name)
        if running is not None and not running.done():
            self._status = replace(self._status, skipped=self._status.skipped + 1)
            return
        self._reap()
        self._running[target.name] = asyncio.create_task(self._check_and_tell(target))

    async def _check_and_tell(self, target: Target) -> None:
        checked = await self.check(target)
        if self._known.get(target.name) != target:
            return  # removed, or another one by now
        self._status = replace(self._status, checks=self._status.checks + 1)
        if target.kind == "heartbeat" and checked.cause == "ok":
            return  # its coming was told when it came
        try:
            await self._tell(checked)
        except (LogError, Overloaded) as error:
            self._status = replace(self._status, untold=self._status.untold + 1)
            _log.warning("the check of %s is lost: %s", target.name, error)

    async def _forget(self, targets: dict[str, Target]) -> None:
        gone = [name for name, target in self._known.items() if targets.get(name) != target]
        self._known = targets
        for name in gone:
            self._beats.forget(name)
            if self._mcp is not None:
                for probe in await self._mcp_probes():
                    probe.forget(name)

    async def _pause(self) -> None:
        """Until the next target is due, or is asked for, for `POLL_S` at most."""
        next_ms = self._schedule.next_ms()
        pause_s = POLL_S if next_ms is None else (next_ms - self._clock()) / 1000
        try:
            async with asyncio.timeout(min(max(pause_s, 0.01), POLL_S)):
                await self._asked.wait()
        except TimeoutError:
            pass

    def _reap(self) -> None:
        for name in [name for name, task in self._running.items() if task.done()]:
            self._running.pop(name).result()  # a bug ends the prober, in sight


def _redacted(finding: Finding, own: OwnHeaders) -> Finding:
    return replace(finding, reason=own.redacted(finding.reason))


def _mcp_probes(
    commands: Mapping[str, StdioCommand], last_hash: Callable[[str], str]
) -> tuple[McpProbe, McpStdioProbe]:
    # The SDK takes 2 s and 50 MB: only where there is an MCP target, and beside the event loop.
    from streams.probes.mcp import McpProbe
    from streams.probes.mcp_asking import Baselines
    from streams.probes.mcp_stdio import McpStdioProbe

    baselines = Baselines(last_hash)
    return McpProbe(baselines), McpStdioProbe(commands, baselines)
