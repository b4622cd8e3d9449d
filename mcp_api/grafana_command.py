"""``grafana``: sets Grafana up to show what this server knows."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import click

from mcp_api import screen
from mcp_api.options import data_dir_option, settings_of
from streams.config import Settings
from streams.errors import ConfigError
from streams.setting_kinds import is_loopback


@click.group()
def grafana() -> None:
    """Show it in Grafana: a data source and a dashboard."""


@grafana.command()
@click.option(
    "--server-url",
    metavar="URL",
    help="This server, as Grafana's machine reaches it.  [default: where it listens]",
)
@data_dir_option
def install(server_url: str | None, data_dir: Path | None) -> None:
    """Make the data source and the dashboard in GRAFANA_URL, by GRAFANA_API_KEY.

    Both are replaced where they are there already. Exit code 1 if Grafana refuses them.

    \b
    Examples:
      logfire-mcp-server grafana install
      logfire-mcp-server grafana install --server-url http://metrics.internal:8000
    """
    from mcp_api.grafana_api import Grafana, Source, dashboard

    settings = settings_of(data_dir=data_dir)
    if settings.grafana_url is None or settings.grafana_api_key is None:
        missing = "GRAFANA_URL" if settings.grafana_url is None else "GRAFANA_API_KEY"
        raise ConfigError(
            f"{missing} is not set; valid: the address of Grafana, like http://localhost:3000, "
            "and a service account's token with the role Admin"
        )
    source = Source((server_url or _own_url(settings)).rstrip("/"), settings.token)
    with Grafana(settings.grafana_url, settings.grafana_api_key) as api:
        api.set_source(source)
        shown = api.set_dashboard(dashboard())
        problem = api.source_problem()
    screen.out.print(f"Data source {source.url}")
    screen.out.print(f"Dashboard   {shown}")
    if problem:
        screen.err.print(f"Grafana cannot ask {source.url} yet: {problem}", markup=False)
        own, theirs = urlsplit(source.url).hostname or "", urlsplit(settings.grafana_url).hostname
        if is_loopback(own) and not is_loopback(theirs or ""):
            screen.err.print("It runs on another machine: give --server-url an address for it.")


@grafana.command("dashboard")
def print_dashboard() -> None:
    """Print the dashboard as JSON, to import it by hand."""
    from mcp_api.grafana_api import dashboard

    click.echo(json.dumps(dashboard(), indent=2, ensure_ascii=False))


def _own_url(settings: Settings) -> str:
    from mcp_api.discovery import find

    found = find(settings.data_dir)
    return f"http://{settings.host}:{settings.port}" if found is None else found.url
