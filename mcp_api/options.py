"""What the commands share: ``--data-dir``, the settings, and logging to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from streams.config import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


def data_dir_option(command: Callable[P, R]) -> Callable[P, R]:
    """``--data-dir``, the same for every command."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where everything is kept.  [env: LOGFIRE_DATA_DIR; default: ~/.logfire-mcp]",
    )(command)


def settings_of(**options: Any) -> Settings:
    """The settings with the options that were given; `ConfigError` names what is wrong."""
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(os.environ, Path(".env"), **given)
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # It tells the same several times a second while a broker is away; our own modules tell it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpx2", "mcp", "uvicorn", "streams.runners.faust_app"):
        # They tell every request or step at INFO; what goes wrong still comes through.
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    return settings
