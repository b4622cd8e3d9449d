"""All checks of an installation, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_api.discovery import find
from mcp_api.validation.configuration import check_configuration, told_settings
from mcp_api.validation.database import check_database
from mcp_api.validation.disk import check_disk
from mcp_api.validation.event_log import check_log
from mcp_api.validation.load_test import check_load
from mcp_api.validation.outcome import Check, Tell, look, skipped
from mcp_api.validation.receivers import check_receivers
from mcp_api.validation.running_server import check_server
from mcp_api.validation.sinks import check_sinks
from mcp_api.validation.telemetry import check_telemetry
from streams.config import Settings, all_variables
from streams.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Asked:
    """``environ``, ``dotenv``, ``options``: what the settings were read from; ``integration``: ask
    the configured services, too; ``load_test``: measure."""

    environ: Mapping[str, str]
    dotenv: Path
    options: Mapping[str, Any]
    integration: bool
    load_test: bool


def check_everything(settings: Settings, asked: Asked, tell: Tell) -> Iterator[Check]:
    """Each check as it is made. None of them changes what is stored."""
    variables = all_variables(asked.environ, asked.dotenv)
    told = told_settings(settings, asked.environ, asked.dotenv, asked.options)
    yield from check_configuration(settings, told, variables)
    yield from check_disk(settings)
    tell("Looking for the server")
    found = find(settings.data_dir)
    log = list(check_log(settings, tell))
    yield from log
    if any(check.outcome.state == "failed" for check in log):
        yield look("database", "equals the log", lambda: skipped("the log cannot be read"))
    else:
        yield from check_database(settings, found, tell)
    tell("Asking the server")
    yield from check_server(settings, found)
    if asked.integration:
        tell("Asking the services")
        yield from check_sinks(settings)
        for check in (check_receivers, check_telemetry):
            with suppress(ConfigError):  # told above, as a fault of the configuration
                yield from check(settings)
    else:
        yield look("services", "all", lambda: skipped("not asked: --integration asks them"))
    if asked.load_test:
        yield from check_load(tell)
