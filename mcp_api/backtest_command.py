"""``rules backtest``: what rules would have done in the past, by the running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from mcp_api import screen
from mcp_api.admin_client import running_server
from mcp_api.options import data_dir_option, settings_of
from streams.errors import InputError, LogfireMcpError

if TYPE_CHECKING:
    from streams.config import Settings

WORK_S: Final = 3_600.0

Show = Callable[[float], None]
"""Takes the share that is done."""


@click.command()
@click.argument("rule", metavar="FILE|NAME")
@click.option("--from", "start", default="-24h", show_default=True, help="ISO 8601 or relative.")
@click.option("--until", "end", default="now", show_default=True)
@data_dir_option
def backtest(rule: str, start: str, end: str, data_dir: Path | None) -> None:
    """Try a rule of the server out on the past, or each alert rule of a Prometheus rule file.

    Nothing is created and nobody is told. Ctrl-C ends it.

    \b
    Examples:
      logfire-mcp-server rules backtest 'High CPU Usage' --from -7d
      logfire-mcp-server rules backtest node-exporter.rules.yml --from -30d --until -1d
    """
    settings = settings_of(data_dir=data_dir)
    for title, wanted in _wanted(rule):
        with _progress(title) as show:
            told = _ask(settings, {**wanted, "start": start, "end": end}, show)
        screen.out.print(Text.assemble((told["name"], "bold"), f": {told['backtest']['text']}."))
        _print(told["backtest"])


def _wanted(rule: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is tried out, one after another."""
    from streams.domain.rule_files import read_rules

    file = Path(rule)
    if not file.is_file():
        yield rule, {"name": rule}
        return
    try:
        found = read_rules(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error}") from error
    alerts = [one for one in found.rules if not one.record]
    if not alerts:
        raise InputError(f"{file} has no alert rules that can be taken over")
    for one in alerts:
        yield one.name, {"rule": msgspec.to_builtins(one)}


def _print(found: Mapping[str, Any]) -> None:
    """The first firings, who would have been told, and the difference from what happened."""
    if firings := found["first_firings"]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("  from", "to", "labels", "why"):
            table.add_column(title, overflow="fold")
        for one in firings:
            labels = ", ".join(f"{name}={value}" for name, value in one["labels"].items())
            ends = one["to"] or "still firing"
            table.add_row(*map(Text, (f"  {one['from']}", ends, labels, one["reason"])))
        screen.out.print(table)
    told = ", ".join(f"{name} {count} times" for name, count in found["notifications"].items())
    screen.out.print(Text(f"  Told: {told or 'nobody'}."))
    difference = found["difference"]
    if difference["happened"]:
        screen.out.print(
            f"  It did fire {difference['happened']} times: {difference['same']} of these firings "
            f"are the same, {difference['only_in_reality']} would not have been, "
            f"{difference['only_in_backtest']} are new."
        )


def _ask(settings: Settings, wanted: Mapping[str, Any], show: Show) -> dict[str, Any]:
    """The "done" line; `LogfireMcpError` for its "error" line, or where no server runs."""
    import httpx

    url, headers = running_server(settings)
    timeout = httpx.Timeout(WORK_S, connect=5.0)
    try:
        with httpx.stream(
            "POST",
            f"{url}/admin/backtest",
            json=wanted,
            headers=headers,
            timeout=timeout,
            trust_env=False,
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                raise LogfireMcpError(answer.json()["error"]["message"])
            for line in answer.iter_lines():
                told: dict[str, Any] = json.loads(line)
                match told.pop("event"):
                    case "progress":
                        show(told["share"])
                    case "done":
                        return told
                    case _:
                        raise LogfireMcpError(told["error"]["message"])
    except httpx.HTTPError as error:
        raise LogfireMcpError(f"the server at {url} went away: {error}") from error
    raise LogfireMcpError(f"the server at {url} went away before it was done")


@contextmanager
def _progress(title: str) -> Iterator[Show]:
    """A bar for a person, nothing for a pipe."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    terminal = screen.err.is_terminal
    with Progress(*columns, console=screen.err, disable=not terminal, transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
