"""The examples for producers run as they stand, but for the port."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from mcp_api.server import Server
from streams.config import load_settings

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
COMMANDS = {"push_http.py": sys.executable, "push_mcp.py": sys.executable, "push_curl.sh": "sh"}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("push_*")} == set(COMMANDS)


@pytest.mark.parametrize("example", COMMANDS)
async def test_an_example_pushes_its_measurements(example: str, tmp_path: Path) -> None:
    if example.endswith(".sh") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    settings = load_settings({}, data_dir=tmp_path, port=0, metrics_collection_interval_s=0)
    async with Server(settings) as server:
        text = (EXAMPLES / example).read_text()
        assert "http://127.0.0.1:8000" in text
        script = tmp_path / example
        script.write_text(text.replace("http://127.0.0.1:8000", server.url))
        process = await asyncio.create_subprocess_exec(
            COMMANDS[example],
            str(script),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    answer = out.decode().replace("'", '"').replace("True", "true").replace("False", "false")
    assert json.loads(answer)["status"] == "success"
    assert json.loads(answer)["collected_count"] >= 1
