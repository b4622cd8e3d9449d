"""The program as its users run it: real processes, each ended by the test that started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mcp_api.cli import main
from mcp_api.discovery import Found, announced
from streams.config import Settings, load_settings

PROGRAM = (sys.executable, "-m", "mcp_api")
QUICK = {
    "DEFAULT_TARGETS": "off",
    "METRICS_COLLECTION_INTERVAL": "0",
    "TICK_INTERVAL": "1",
    "WINDOW_GRACE": "1",
}
ROOT = Path(__file__).parent.parent.parent


def quick_settings(data_dir: Path, **overrides: Any) -> Settings:
    """A free port, no collector of its own, a tick a second."""
    return load_settings({**QUICK, "LOGFIRE_MCP_PORT": "0"}, None, data_dir=data_dir, **overrides)


def environment(**more: str) -> dict[str, str]:
    """This process' environment without settings of ours, then the quick ones, then ``more``."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("LOGFIRE", "LOG_LEVEL"))}
    return {**own, **QUICK, "COLUMNS": "200", **more}


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, **more: str) -> Ended:
    """One command to its end, in this process (a new one takes most of a second to start)."""
    ended = CliRunner().invoke(main, arguments, env=environment(**more))
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


@contextmanager
def serving(
    data_dir: Path, *arguments: str, command: str = "serve", **more: str
) -> Iterator[tuple[subprocess.Popen[str], Found]]:
    """A server process that has said "Ready", and what it announced; terminated at the end."""
    process = subprocess.Popen(
        [*PROGRAM, command, "--port", "0", "--data-dir", str(data_dir), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**more),
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("Ready"):
                break
        found = announced(data_dir)
        assert found is not None
        yield process, found
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
