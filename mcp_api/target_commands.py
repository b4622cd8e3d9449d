"""``targets``: what the running server checks: listed, registered, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from rich.table import Table
from rich.text import Text

from mcp_api import screen
from mcp_api.admin_client import ask
from mcp_api.options import data_dir_option, settings_of
from streams.errors import InputError

PATH = "/admin/targets"
KINDS = ("http", "tcp", "dns", "heartbeat", "mcp", "mcp-sse")
"""Not mcp-stdio: what starts a process comes from configuration."""


@click.group()
def targets() -> None:
    """Targets of the running server's health checks.

    Those that are registered here stay until they are removed. They are asked only at public
    addresses or in HEALTH_ALLOWED_NETWORKS; what is in your own network, and what is a process,
    belongs in the file that HEALTH_TARGETS names.

    \b
    Examples:
      logfire-mcp-server targets list
      logfire-mcp-server targets add shop https://shop.example.org/health --interval 60s
      logfire-mcp-server targets add search https://search.example.org/mcp --kind mcp
      logfire-mcp-server targets remove shop
    """


@targets.command("list")
@data_dir_option
def list_(data_dir: Path | None) -> None:
    """Every target with its state."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "state", "kind", "endpoint", "last check", "registered by"):
        table.add_column(title, overflow="fold")
    for each in ask(settings_of(data_dir=data_dir), "GET", PATH)["targets"]:
        target = each["target"]
        columns = (
            *(target["name"], each["state"], target["kind"], target["endpoint"]),
            *(each["last_check"] or "never", each["registered_by"]),
        )
        table.add_row(*map(Text, columns))
    screen.out.print(table)


@targets.command("add")
@click.argument("name")
@click.argument("endpoint", default="")
@click.option("--kind", type=click.Choice(KINDS), default="http", show_default=True)
@click.option("--interval", help="Between checks, such as 30s.  [default: HEALTH_CHECK_INTERVAL]")
@click.option("--timeout", help="Of a check, such as 5s.  [default: HEALTH_CHECK_TIMEOUT]")
@click.option("--failures", type=int, help="In a row make it unhealthy.  [default: 3]")
@click.option("--successes", type=int, help="In a row make it healthy.  [default: 1]")
@click.option("--degraded", help="Slower answers are a degraded health, such as 2s.")
@click.option("--status", type=int, multiple=True, help="Valid; may be repeated.  [200 to 299]")
@click.option("--body-contains", help="A text that the answer must hold.")
@click.option("--body-path", help="A JSONPath that the answer must have.")
@click.option("--depends-on", multiple=True, help="A target whose failure explains this one's.")
@data_dir_option
def add(name: str, endpoint: str, data_dir: Path | None, **options: Any) -> None:
    """Register a target, or change one that was registered so.

    ENDPOINT is a URL, for --kind tcp host:port, for dns a host name; a heartbeat has none. Returns
    when it is decided; exit code 1 where it is refused.
    """
    line = {"endpoint": endpoint} | {key: value for key, value in options.items() if value}
    body = json.dumps({"targets": {name: line}}).encode()
    [outcome] = ask(settings_of(data_dir=data_dir), "POST", PATH, body)["outcomes"]
    if outcome["outcome"] == "refused":
        raise InputError(f"{name}: {outcome['reason']}")
    screen.out.print(Text(f"{name}: {outcome['outcome']}"))


@targets.command("remove")
@click.argument("name")
@data_dir_option
def remove(name: str, data_dir: Path | None) -> None:
    """End the checks of a target that was registered here; its history stays."""
    outcome = ask(settings_of(data_dir=data_dir), "DELETE", f"{PATH}?{urlencode({'name': name})}")
    screen.out.print(Text(f"{name}: {outcome['outcome']}"))
