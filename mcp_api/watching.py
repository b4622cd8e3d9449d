"""Health checks in this process: which targets it looks at, and what becomes of what it finds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mcp_api.keeping import Kept
from mcp_api.telemetry import Gauge
from projections.health_queries import HealthQueries
from streams.commanding import Commander, command_id_of
from streams.config import Settings, all_variables
from streams.domain.targets import (
    Configured,
    default_targets,
    differences,
    read_targets,
    target_partition,
)
from streams.errors import ConfigError
from streams.events.catalogue import Envelope, Event
from streams.events.codec import encode
from streams.events.health import HealthChecked, HealthCommand, RegisterTarget, RemoveTarget
from streams.events.topics import HEALTH_RESULTS
from streams.log.opening import ServerLog
from streams.log.protocol import Append, Entry, Position
from streams.log.sleepers import woken
from streams.log.wall_clock import wall_clock_ms
from streams.probes.prober import Prober
from streams.processors.commands_targets import CONFIGURATION
from streams.processors.health_state import HealthStates, Watched
from streams.runners.runner import Runner

LOOK_S = (0.1, 1.0)
"""Between two looks at the targets: the least, and the most where nothing changes."""

SOURCE = "prober"


def configured_targets(settings: Settings) -> Configured:
    """Those of the file and the default ones, which it may replace; `ConfigError` says what is
    wrong with the file."""
    interval_ms = 1_000 * settings.health_check_interval_s
    timeout_ms = min(1_000 * settings.health_check_timeout_s, interval_ms)
    told = Configured()
    if settings.health_targets is not None:
        try:
            text = settings.health_targets.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"HEALTH_TARGETS cannot be read: {error}") from None
        told = read_targets(text, interval_ms, timeout_ms)
    defaults = default_targets(interval_ms, timeout_ms) if settings.default_targets else {}
    return Configured({**defaults, **told.targets}, told.commands, told.headers)


async def register(commander: Commander, health: HealthQueries, configured: Configured) -> None:
    """Registers what is configured, and removes what was and is no more. Call it when the
    projection is up to date: what is registered already is left alone."""
    known = {
        each.target.name: each.target
        for each in await asyncio.to_thread(health.targets)
        if each.registered_by == CONFIGURATION
    }
    changed, gone = differences(configured.targets, known)
    commands: list[HealthCommand] = [*map(RegisterTarget, changed), *map(RemoveTarget, gone)]
    for command in commands:
        command_id = command_id_of(CONFIGURATION, None)
        await commander.send(command, command_id=command_id, actor=CONFIGURATION)


class Watching:
    """Looks at the targets of the partitions that this process' runner has, and appends what it
    finds. Made inside the event loop that uses it."""

    def __init__(
        self, log: ServerLog, runner: Runner | None, configured: Configured, settings: Settings
    ) -> None:
        """``runner`` None: other processes look at the targets; `check` works nevertheless."""
        self._log = log
        self._runner = runner
        self._held: dict[int, HealthStates] = {}
        self._watched: Mapping[str, Watched] = {}
        self._asked_ms: dict[str, int] = {}
        self._kept = Kept("targets are not checked")
        self.prober = Prober(
            lambda: {name: each.target for name, each in self._watched.items()},
            self._tell,
            configured=configured.targets,
            commands=configured.commands,
            last_beat_ms=self._last_beat_ms,
            last_tools_hash=self._last_tools_hash,
            headers=configured.headers,
            environ=all_variables(os.environ, Path(".env")),
            allowed=settings.health_allowed_networks,
        )

    async def run(self) -> None:
        """Until cancelled; begun again after an error, which is told in `problems` meanwhile."""
        await self._kept.run(self._run)

    def failure(self) -> BaseException | None:
        """What ended it, or None: a worker's process is to be started again then."""
        return self._kept.failure()

    def problems(self) -> list[str]:
        """A sentence while no target is checked."""
        return self._kept.problems()

    async def tell(self, checked: HealthChecked) -> Position:
        """Appends what was found, durably; of an endpoint that is no target, too."""
        now_ms = wall_clock_ms()
        name = checked.target or checked.endpoint
        number = target_partition(name, self._log.partitions(HEALTH_RESULTS))
        envelope = Envelope(id=command_id_of(SOURCE, None), source=SOURCE, time_ms=now_ms)
        message = encode(Event(envelope, checked))
        receipt = await self._log.append(Append((Entry(HEALTH_RESULTS, number, message),)))
        return receipt.positions[0]

    def gauges(self) -> Iterator[Gauge]:
        """For ``/metrics``."""
        status = self.prober.status()
        kinds = (
            ("targets", "Targets that this process looks at.", status.targets),
            ("running", "Health checks that run now.", status.running),
            ("checks", "Health checks since the start.", status.checks),
            ("skipped", "Checks left out since the one before had not ended.", status.skipped),
            ("untold", "Checks that the log did not take.", status.untold),
        )
        for name, text, value in kinds:
            yield Gauge(f"logfire_mcp_prober_{name}", text, (), {(): float(value)})

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.prober.run(), name="prober")
            if self._runner is not None:
                tasks.create_task(self._follow(self._runner), name="targets")

    async def _tell(self, checked: HealthChecked) -> None:
        await self.tell(checked)

    async def _follow(self, runner: Runner) -> None:
        with runner.changes() as changed:
            while True:
                changed.clear()
                self._look(runner)
                await asyncio.sleep(LOOK_S[0])
                await woken(changed, LOOK_S[1])

    def _look(self, runner: Runner) -> None:
        """What is held is kept while the state has not absorbed the log's newest records."""
        held: dict[int, HealthStates] = {}
        for name, number in runner.lag():
            if name == "health":
                state = runner.state("health", number) or self._held.get(number)
                if state is not None:
                    held[number] = state
        if {id(each) for each in held.values()} == {id(each) for each in self._held.values()}:
            return
        self._held = held
        self._watched = {name: each for one in held.values() for name, each in one.targets.items()}
        asked = {name: each.asked_ms for name, each in self._watched.items() if each.asked_ms}
        for name, asked_ms in asked.items():
            checked_ms = self._watched[name].health.checked_ms or 0
            if self._asked_ms.get(name) != asked_ms and checked_ms <= asked_ms:
                self.prober.ask(name)
        self._asked_ms = asked

    def _last_beat_ms(self, name: str) -> int | None:
        watched = self._watched.get(name)
        return None if watched is None else watched.health.well_ms

    def _last_tools_hash(self, name: str) -> str:
        watched = self._watched.get(name)
        return "" if watched is None else watched.tools_hash
