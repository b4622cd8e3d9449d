"""Targets of health checks: what one must be, the file of a configuration, the default ones. Pure.

``HEALTH_TARGETS`` names a file, TOML or JSON, with one line a target::

    [targets]
    shop = "https://shop.example.org/health"
    search = {kind = "mcp", endpoint = "http://localhost:3000/mcp", interval = "10s"}
    clock = {kind = "mcp-stdio", command = "uvx", args = ["mcp-server-time"]}
    database = {kind = "tcp", endpoint = "db.example.org:5432", failures = 2}
    orders = {endpoint = "https://orders.example.org/health", depends_on = ["database"]}

    [targets.tools]
    kind = "mcp"
    endpoint = "https://tools.example.org/mcp"
    headers = {Authorization = "Bearer ${TOOLS_TOKEN}"}
"""

from __future__ import annotations

import json
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streams.domain.durations import parse_duration_ms
from streams.domain.unicode_text import is_text
from streams.errors import ConfigError, InputError
from streams.events.health import Kind, Target
from streams.probes.endpoints import check_endpoint
from streams.probes.mcp_stdio_command import StdioCommand
from streams.probes.own_headers import check_headers

TARGETS_MAX: Final = 1_000
DEPENDENCIES_MAX: Final = 20
NAME_CHARS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 1_000
STATUSES_MAX: Final = 50
_WITH_HEADERS: Final = ("http", "mcp", "mcp-sse")
DEFAULT_TARGETS: Final = {
    "task-master-mcp-server": "task-master",
    "crawl4ai-mcp": "crawl4ai",
    "context7-mcp": "context7",
    "surrealdb-mcp": "surrealdb",
    "magic-mcp": "magic",
}
"""Their names, and where they are below ``http://localhost:8000``."""


@dataclass(frozen=True, slots=True)
class Configured:
    """Targets by name; ``commands``: of those that are processes, by the name too; ``headers``: of
    the requests of some, with references that are not resolved."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    commands: Mapping[str, StdioCommand] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    kind: Kind = "http"
    endpoint: str = ""
    interval: str = ""
    timeout: str = ""
    failures: int = 3
    successes: int = 1
    degraded: str = "0s"
    status: tuple[int, ...] = ()
    body_contains: str = ""
    body_path: str = ""
    depends_on: tuple[str, ...] = ()
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    headers: dict[str, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    targets: dict[str, str | _Line] = {}


def target_partition(name: str, partitions: int) -> int:
    """The partition of ``health.results`` that is a target's.

    >>> target_partition("context7-mcp", 4)
    1
    """
    return zlib.crc32(name.encode()) % partitions


def default_targets(interval_ms: int, timeout_ms: int) -> dict[str, Target]:
    """By name."""
    return {
        name: Target(
            name=name,
            kind="http",
            endpoint=f"http://localhost:8000/{path}/health",
            interval_ms=interval_ms,
            timeout_ms=timeout_ms,
            is_default=True,
        )
        for name, path in DEFAULT_TARGETS.items()
    }


def read_targets(text: str, interval_ms: int, timeout_ms: int) -> Configured:
    """The targets of a file's text; JSON where it begins with ``{``.

    ``interval_ms``, ``timeout_ms``: of those that say nothing else. `ConfigError` names the target
    and what is wrong with it.
    """
    try:
        plain: Any = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        lines = msgspec.convert(plain, _File).targets
    except (ValueError, RecursionError, msgspec.ValidationError) as problem:
        raise ConfigError(f"HEALTH_TARGETS: {problem}") from None
    targets: dict[str, Target] = {}
    commands: dict[str, StdioCommand] = {}
    headers: dict[str, Mapping[str, str]] = {}
    for name, line in lines.items():
        one = _Line(endpoint=line) if isinstance(line, str) else line
        try:
            targets[name] = _target(name, one, interval_ms, timeout_ms)
            check_target(targets[name])
            check_dependencies(targets[name], targets)
            check_headers(one.headers)
        except (ValueError, InputError) as problem:
            raise ConfigError(f"HEALTH_TARGETS: target {name[:60]!r}: {problem}") from None
        if one.headers:
            headers[name] = one.headers
        if one.kind == "mcp-stdio":
            commands[name] = StdioCommand(command=one.command, args=one.args, env=one.env)
    if len(targets) > TARGETS_MAX:
        raise ConfigError(
            f"HEALTH_TARGETS has {len(targets)} targets; valid: at most {TARGETS_MAX}"
        )
    return Configured(targets, commands, headers)


def _target(name: str, line: _Line, interval_ms: int, timeout_ms: int) -> Target:
    is_process = line.kind == "mcp-stdio"
    if is_process != bool(line.command):
        raise ValueError("a command belongs to a target of kind mcp-stdio, and that needs one")
    if line.headers and line.kind not in _WITH_HEADERS:
        raise ValueError(f"headers belong to targets of kind {', '.join(_WITH_HEADERS)}")
    interval_ms = parse_duration_ms(line.interval) if line.interval else interval_ms
    timeout_ms = parse_duration_ms(line.timeout) if line.timeout else min(timeout_ms, interval_ms)
    return Target(
        name=name,
        kind=line.kind,
        endpoint=name if is_process else line.endpoint,
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
        failures=line.failures,
        successes=line.successes,
        degraded_ms=parse_duration_ms(line.degraded),
        expected_status=line.status,
        body_contains=line.body_contains,
        body_path=line.body_path,
        depends_on=line.depends_on,
    )


def check_target(target: Target) -> None:
    """`InputError` with the first thing that is wrong with it."""
    if not 1 <= len(target.name) <= NAME_CHARS_MAX or not _is_plain(target.name):
        raise InputError(f"a target's name has 1 to {NAME_CHARS_MAX} printable characters")
    try:
        msgspec.convert(msgspec.to_builtins(target), Target)  # spans and thresholds in their limits
    except msgspec.ValidationError as problem:
        raise InputError(str(problem)) from None
    if target.timeout_ms > target.interval_ms:
        raise InputError(
            f"the time-out is {target.timeout_ms} ms; valid: at most the interval, "
            f"{target.interval_ms} ms"
        )
    if not 0 <= target.degraded_ms <= target.timeout_ms:
        raise InputError(
            f"degraded_ms is {target.degraded_ms}; valid: 0 to the time-out, {target.timeout_ms}"
        )
    statuses = target.expected_status
    if len(statuses) > STATUSES_MAX or not all(100 <= status <= 599 for status in statuses):
        raise InputError(f"expected_status is at most {STATUSES_MAX} of 100 to 599")
    for text in (target.body_contains, target.body_path):
        if len(text) > TEXT_CHARS_MAX or not is_text(text):
            raise InputError(
                f"what the body holds is a text of at most {TEXT_CHARS_MAX} characters"
            )
    check_endpoint(target.kind, target.endpoint)


def check_dependencies(target: Target, known: Mapping[str, Target]) -> None:
    """`InputError` where there are too many, or where a target depends on itself in the end: then
    each of a circle would explain the other's failure, and nobody were told."""
    if len(target.depends_on) > DEPENDENCIES_MAX or not all(map(_is_plain, target.depends_on)):
        raise InputError(f"depends_on is at most {DEPENDENCIES_MAX} names of targets")
    seen: set[str] = set()
    waiting = list(target.depends_on)
    while waiting:
        name = waiting.pop()
        if name == target.name:
            raise InputError(f"{name} depends on itself; valid: dependencies without a circle")
        if name in seen:
            continue
        seen.add(name)
        other = known.get(name)
        waiting += other.depends_on if other is not None else ()


def differences(
    wanted: Mapping[str, Target], known: Mapping[str, Target]
) -> tuple[list[Target], list[str]]:
    """What to register and what to remove for ``known`` to become ``wanted``, by name.

    >>> differences({}, {"a": Target(name="a", kind="http", endpoint="http://a")})
    ([], ['a'])
    """
    changed = [target for name, target in sorted(wanted.items()) if known.get(name) != target]
    return changed, sorted(known.keys() - wanted.keys())


def _is_plain(text: str) -> bool:
    return text.isprintable() and is_text(text)
