"""``validate``: checks an installation and says what is to be done."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from mcp_api import screen
from mcp_api.options import data_dir_option, settings_of
from streams.errors import ConfigError

DOTENV = Path(".env")


@click.command()
@click.option(
    "--integration",
    is_flag=True,
    help="Ask what is configured, too: Redis, InfluxDB, alert receivers, Logfire, OTLP, Grafana.",
)
@click.option(
    "--load-test",
    is_flag=True,
    help="Measure a server of its own in a temporary directory; about 15 s.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
@data_dir_option
def validate(data_dir: Path | None, *, integration: bool, load_test: bool, as_json: bool) -> None:
    """Check this installation: settings, disk, log, database, the server if one runs.

    Nothing that is stored is changed, and a running server goes on; on Kafka, topics that are not
    there yet are made, as by every command. Exit code 1 if a check failed.

    \b
    Examples:
      logfire-mcp-server validate
      logfire-mcp-server validate --integration
      logfire-mcp-server validate --load-test --json | jq .valid
    """
    from mcp_api.validation.everything import Asked, check_everything
    from mcp_api.validation.outcome import Check, failed
    from mcp_api.validation.report import content, failures, summary, table

    checks: list[Check] = []
    options = {"data_dir": data_dir}
    with screen.err.status("Reading the settings") as status:
        try:
            settings = settings_of(**options)
        except ConfigError as error:
            outcome = failed(str(error), "correct the setting; nothing else can be checked before")
            checks.append(Check("configuration", "settings", outcome, 0.0))
        else:
            asked = Asked(os.environ, DOTENV, options, integration, load_test)
            checks.extend(check_everything(settings, asked, status.update))
    if as_json:
        json.dump(content(checks), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        screen.out.print(table(checks))
        screen.out.print(summary(checks))
    if failures(checks):
        sys.exit(1)
