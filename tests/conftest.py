"""Servers to talk to, and what a test does where a program that it needs is not installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from mcp_api.server import Server
from tests.api.processes import quick_settings

# A busy machine makes any example slow: no test asserts a duration.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")

HOW_TO_GET = {
    "promtool": "apt-get install prometheus",
    "npx": "install Node.js 20 or newer",
}


@pytest.fixture
def requires() -> Callable[[str], str]:
    """``requires(program)``: its path; skips with the reason and how to get it.

    ``REQUIRE_SERVICES=1`` (the builds) makes it a failure: there nothing may be left out.
    """

    def found(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            reason = f"{program} is not installed: {HOW_TO_GET[program]}"
            if os.environ.get("REQUIRE_SERVICES") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return found


@pytest.fixture
async def running_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A whole server in this process, on a free port of loopback, with a data directory of its own.

    It measures nothing by itself and ticks every second.
    """
    async with Server(quick_settings(tmp_path)) as server:
        await server.until_ready()
        yield server


@pytest.fixture
async def client(running_server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the `running_server`."""
    async with httpx.AsyncClient(base_url=running_server.url, timeout=30) as client:
        yield client
