"""The README's two commands, typed as they stand, in a fresh copy and a fresh venv."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^```sh run\n(.+?)\n```$", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the tracked files, and an environment whose python is a new virtual one."""
    folder = tmp_path_factory.mktemp("fresh")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "clone" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE", "COV_", "PYTEST", "VIRTUAL_ENV", "PYTHON"))
    }
    environment["PATH"] = f"{folder / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["HOME"] = str(folder)
    return folder / "clone", environment


def test_there_are_two_commands() -> None:
    assert len(COMMANDS) == 2


def test_the_first_command_installs_and_serves(fresh: tuple[Path, dict[str, str]]) -> None:
    clone, environment = fresh
    process = subprocess.Popen(
        COMMANDS[0],
        shell=True,
        cwd=clone,
        env={**environment, "LOGFIRE_MCP_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = []
    try:
        for line in process.stdout:
            seen.append(line)
            if "ready" in line.lower():
                break
        found = re.search(r"http://127\.0\.0\.1:\d+", "".join(seen))
        assert found, "".join(seen)
        assert httpx.get(f"{found[0]}/ready").status_code == 200
        answer = httpx.post(
            f"{found[0]}/logfire-mcp", json={"tool": "get_server_status", "arguments": {}}
        )
        assert answer.json()["server_name"] == "logfire-mcp"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        process.stdout.close()


def test_the_second_command_runs_the_tests(fresh: tuple[Path, dict[str, str]]) -> None:
    clone, environment = fresh
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True)
    ran = subprocess.run(  # the whole suite is what runs this test: inside, one file is enough
        COMMANDS[1],
        shell=True,
        cwd=clone,
        env={**environment, "PYTEST_ADDOPTS": "tests/test_tidy.py -p no:cacheprovider"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert " passed" in ran.stdout
