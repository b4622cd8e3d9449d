"""Real MCP servers that nobody here wrote, got for the tests, and run as processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL_S = 300


class NotInstalled(Exception):
    """Why a server cannot be had here."""


def from_pypi(folder: Path, *packages: str) -> Path:
    """A virtual environment of its own with these; where its programs are."""
    venv.create(folder, with_pip=True)
    _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *packages)
    return folder / "bin"


def from_npm(folder: Path, *packages: str) -> Path:
    """Where the programs of these packages are; they need Node.js."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled("npm is not installed: install Node.js 20 or newer")
    _run(npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages)
    return folder / "node_modules" / ".bin"


@contextmanager
def listening(*command: str) -> Iterator[int]:
    """A process that listens on the port of the variable PORT, once it does; then it is ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if str(port) in line:
                break
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from None
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
        raise NotInstalled(f"{Path(command[0]).name} on {sys.platform}: {said}")
