"""A server for the load test: a process of its own in a directory of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from mcp_api.discovery import announced
from streams.config import Settings
from streams.errors import LogfireMcpError

START_S = 60
STOP_S = 30
_OTHERS = ("OTEL_", "LOGFIRE_")
MCP_SERVERS = 5
"""As many as the default targets; each is the server itself, checked by MCP."""


@contextmanager
def load_server(folder: Path) -> Iterator[httpx.Client]:
    """HTTP to a ready server without any setting of this installation: it tells nobody of anything
    and reads no log but its own. `LogfireMcpError` where it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    targets = folder / "targets.toml"
    lines = [
        f'server-{n} = {{kind = "mcp", endpoint = "http://127.0.0.1:{port}/mcp"}}'
        for n in range(MCP_SERVERS)
    ]
    targets.write_text("\n".join(["[targets]", *lines, ""]))
    data_dir = folder / "data"
    command = (sys.executable, "-m", "mcp_api", "serve", "--port", str(port))
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--data-dir", str(data_dir)],
        env={
            **_without_settings(os.environ),
            "HEALTH_TARGETS": str(targets),
            "DEFAULT_TARGETS": "off",
            "LOG_LEVEL": "ERROR",
        },
        cwd=folder,  # no .env is there
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for said in process.stdout:
            if said.startswith("Ready"):
                break
        found = announced(data_dir)
        if found is None:
            raise LogfireMcpError(f"the server of the load test did not start: {said.strip()}")
        with httpx.Client(base_url=found.url, timeout=START_S, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    extras = [field.json_schema_extra for field in Settings.model_fields.values()]
    ours = {extra["variable"] for extra in extras if isinstance(extra, dict)}
    return {
        name: value
        for name, value in environ.items()
        if name not in ours and not name.startswith(_OTHERS)
    }
