"""What the commands print: where to look, how to connect, and a line that lives while they run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

NAME = "logfire-mcp"

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the status line shows. ``cpu_percent``: the newest ``system_cpu_usage``, if any."""

    points: int
    series: int
    points_per_s: float
    cpu_percent: float | None


def failed(message: str) -> None:
    """One error, on stderr: what is wrong and what to do."""
    err.print(Text.assemble(("Error: ", "bold red"), message))


def banner(url: str, data_dir: Path, *, token: bool) -> None:
    """Where to look and how to connect, once the server answers."""
    rows = [
        ("MCP", f"{url}/mcp"),
        ("tools over HTTP", f"{url}/logfire-mcp"),
        ("Prometheus metrics", f"{url}/metrics"),
        ("data", str(data_dir)),
    ]
    out.print(Text("Logfire MCP Server", style="bold"))
    for title, value in rows:
        out.print(Text.assemble((f"  {title:<20}", "dim"), value))
    out.print()
    out.print(Text.assemble(("  Claude Code         ", "dim"), claude_command(url, token=token)))
    cursor = f"~/.cursor/mcp.json: {cursor_config(url, token=token)}"
    out.print(Text.assemble(("  Cursor              ", "dim"), cursor))
    out.print()


def claude_command(url: str, *, token: bool) -> str:
    """The command that connects Claude Code."""
    header = ' --header "Authorization: Bearer $LOGFIRE_MCP_TOKEN"' if token else ""
    return f"claude mcp add --transport http {NAME} {url}/mcp{header}"


def cursor_config(url: str, *, token: bool) -> str:
    """The configuration that connects Cursor, in one line."""
    server: dict[str, object] = {"url": f"{url}/mcp"}
    if token:
        server["headers"] = {"Authorization": "Bearer ${env:LOGFIRE_MCP_TOKEN}"}
    return json.dumps({"mcpServers": {NAME: server}})


def status_line(numbers: Numbers) -> Text:
    """One line for a terminal.

    >>> status_line(Numbers(1200, 3, 40.0, 12.5)).plain
    '1,200 points stored · 3 series · 40 points/s · cpu 12 %'
    """
    parts = [
        f"{numbers.points:,} points stored",
        f"{numbers.series:,} series",
        f"{numbers.points_per_s:,.0f} points/s",
    ]
    if numbers.cpu_percent is not None:
        parts.append(f"cpu {numbers.cpu_percent:.0f} %")
    return Text(" · ".join(parts))


def interactive() -> bool:
    """Whether a person watches: progress bars and the status line are for them only."""
    return out.is_terminal and sys.stdin is not None
