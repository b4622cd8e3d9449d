"""The command of an MCP server, from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioCommand:
    """``env``: added to HOME, LOGNAME, PATH, SHELL, TERM and USER of ours; no more of our
    environment is passed on, it has our secrets. ``start_timeout_ms``: from the start to the first
    answer; real servers need up to 13 s."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    start_timeout_ms: int = 30_000
