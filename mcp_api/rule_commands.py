"""``rules``: rule files of Prometheus in and out of the running server, and its rules as a list."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from mcp_api import screen
from mcp_api.admin_client import ask
from mcp_api.backtest_command import backtest
from mcp_api.options import data_dir_option, settings_of
from streams.errors import InputError

if TYPE_CHECKING:
    from streams.config import Settings
    from streams.events.rules import Rule

PATH: Final = "/admin/rules"
BATCH: Final = 100
"""Rules of one request."""


@click.group()
def rules() -> None:
    """Alert and recording rules of the running server.

    \b
    Examples:
      logfire-mcp-server rules list
      logfire-mcp-server rules import node-exporter.rules.yml
      logfire-mcp-server rules export | promtool check rules
      logfire-mcp-server rules backtest 'High CPU Usage' --from -7d
    """


rules.add_command(backtest)


@rules.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir_option
def import_(file: Path, data_dir: Path | None) -> None:
    """Take the rules of a Prometheus rule file, or of a PrometheusRule.

    A rule that was taken from the same group before is updated where it differs. What cannot be
    taken over is named, with its line; exit code 1 if the server refuses a rule.
    """
    from streams.domain.rule_files import read_rules

    settings = settings_of(data_dir=data_dir)
    try:
        found = read_rules(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error}") from error
    for left in found.not_taken:
        what = f"{left.rule or 'the group'}{f', {left.field}' if left.field else ''}"
        screen.err.print(Text(f"{file.name}:{left.line} {left.group}: {what}: {left.reason}"))
    counts: dict[str, int] = {}
    for start in range(0, len(found.rules), BATCH):
        for outcome in _take(settings, found.rules[start : start + BATCH]):
            counts[outcome["outcome"]] = counts.get(outcome["outcome"], 0) + 1
            if outcome["outcome"] == "refused":
                screen.failed(f"{outcome['id']}: {outcome['reason']}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    screen.out.print(f"{len(found.rules)} rules: {told or 'none'}.")
    if counts.get("refused"):
        raise InputError(f"{counts['refused']} of {len(found.rules)} rules were refused")


@rules.command("export")
@data_dir_option
def export(data_dir: Path | None) -> None:
    """Write the enabled rules to stdout as a Prometheus rule file.

    What Prometheus has no word for is told in comments at its top.
    """
    from streams.domain.rule_files import write_rules

    sys.stdout.write(write_rules([rule for rule, _ in _all(settings_of(data_dir=data_dir))]))


@rules.command("list")
@data_dir_option
def list_(data_dir: Path | None) -> None:
    """Every rule with its state."""
    found = _all(settings_of(data_dir=data_dir))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "state", "severity", "condition"):
        table.add_column(title, overflow="fold")
    for rule, state in found:
        table.add_row(*map(Text, (rule.name, state, rule.severity, rule.record or rule.condition)))
    screen.out.print(table)


def _take(settings: Settings, batch: Sequence[Rule]) -> list[dict[str, Any]]:
    told = ask(settings, "POST", PATH, msgspec.json.encode({"rules": batch}))
    outcomes = told["outcomes"]
    assert isinstance(outcomes, list)
    return outcomes


def _all(settings: Settings) -> list[tuple[Rule, str]]:
    from streams.events.rules import Rule

    told = ask(settings, "GET", PATH)["rules"]
    return [(msgspec.convert(each["rule"], Rule), each["state"]) for each in told]
