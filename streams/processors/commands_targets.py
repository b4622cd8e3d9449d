"""What is decided of the targets of health checks, and which partitions hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from streams.domain.targets import TARGETS_MAX, check_dependencies, check_target, target_partition
from streams.errors import InputError
from streams.events.health import (
    HealthCheckRequested,
    HealthCommand,
    HealthFact,
    RegisterTarget,
    RemoveTarget,
    RequestHealthCheck,
    Target,
    TargetRegistered,
    TargetRemoved,
)
from streams.processors.packed import Edit

CONFIGURATION: Final = "configuration"
"""The actor of what the configuration registers: only that may have targets that are processes."""

Told = Sequence[tuple[int, HealthFact]]
"""Facts with the partitions of ``health.results`` that they go to."""


def decided(
    targets: Edit[Target], command: HealthCommand, actor: str, partitions: int
) -> tuple[HealthFact, Told]:
    """The answer, and what the partitions hear: a target's own, and as copies those of the targets
    on which it depends or depended. ``targets`` holds what is registered then.

    `InputError` with the reason where it is not done; then nothing is changed.
    """
    match command:
        case RegisterTarget(target):
            before = targets.get(target.name)
            _check(targets, target, actor)
            targets.put(target.name, target)
            near = (*target.depends_on, *(before.depends_on if before is not None else ()))
            copy = TargetRegistered(target, copy=True)
            return _told(TargetRegistered(target), copy, target.name, near, partitions)
        case RemoveTarget(name):
            near = _known(targets, name).depends_on
            targets.delete(name)
            return _told(
                TargetRemoved(name), TargetRemoved(name, copy=True), name, near, partitions
            )
        case RequestHealthCheck(name):
            asked = HealthCheckRequested(name)
            if not name:
                return asked, [(number, asked) for number in range(partitions)]
            _known(targets, name)
            return asked, [(target_partition(name, partitions), asked)]
        case _:
            assert_never(command)


def addressed(command: HealthCommand) -> str:
    """The name of its target; "" for all."""
    return command.target.name if isinstance(command, RegisterTarget) else command.name


def _told(
    fact: HealthFact, copy: HealthFact, name: str, near: Sequence[str], partitions: int
) -> tuple[HealthFact, Told]:
    home = target_partition(name, partitions)
    others = {target_partition(each, partitions) for each in near} - {home}
    return fact, [(home, fact), *((number, copy) for number in sorted(others))]


def _check(targets: Edit[Target], target: Target, actor: str) -> None:
    check_target(target)
    if target.kind == "mcp-stdio" and actor != CONFIGURATION:
        raise InputError(
            "a target of kind mcp-stdio starts a process: only the configuration may have one "
            "(HEALTH_TARGETS)"
        )
    if targets.get(target.name) is None and len(targets) >= TARGETS_MAX:
        raise InputError(f"there are {TARGETS_MAX} targets, which is the most: remove some")
    check_dependencies(target, dict(targets.items()))


def _known(targets: Edit[Target], name: str) -> Target:
    target = targets.get(name)
    if target is None:
        raise InputError(f"there is no target with the name {name}")
    return target
