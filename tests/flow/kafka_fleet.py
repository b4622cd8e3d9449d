"""Workers and serve nodes as a supervisor runs them: what has ended is started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx

from tests.api.processes import PROGRAM, ROOT, environment
from tests.effort import UNTRACED

POLL_S = 0.1


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Waits for the condition; the seconds it took. Fails with ``what`` when the time is over."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"{what}: not within {timeout_s:.0f} s"
        threading.Event().wait(POLL_S)
    return time.monotonic() - began


class Child:
    """One supervised process with an address of its own; its output is appended to a file."""

    def __init__(self, name: str, command: list[str], settings: dict[str, str], folder: Path):
        self.name = name
        self.ended_by_itself: list[int] = []
        self._command = command
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.data_dir = folder / name
        self.output = folder / f"{name}.output"
        self._environment = environment(
            **settings,
            **UNTRACED,
            LOGFIRE_DATA_DIR=str(self.data_dir),
            LOGFIRE_MCP_PORT=self.url.rpartition(":")[2],
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        file: IO[bytes]
        with self.output.open("ab") as file:
            self._process = subprocess.Popen(
                [*PROGRAM, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environment,
            )

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def send_signal(self, number: int) -> None:
        """To the running process."""
        assert self._process is not None
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """By itself or not."""
        return self._process is not None and self._process.poll() is not None

    def supervise(self) -> None:
        """Starts it again where it has ended by itself; remembers with which code."""
        if self._process is not None and self._process.poll() is not None:
            self.ended_by_itself.append(self._process.returncode)
            self.start()

    def stop(self, timeout_s: float = 30.0) -> int | None:
        """SIGTERM; the exit code, None where it had to be killed."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        self.kill()
        return None

    def is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        return False

    def tail(self) -> str:
        """The end of its output, for a failing test."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return f"--- {self.name}, ended by itself: {self.ended_by_itself}\n{text[-3000:]}"


class Supervisor:
    """Looks after children from a thread; one that a test has killed on purpose it leaves alone."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def __enter__(self) -> Supervisor:
        for child in self.children:
            child.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave_off()
        for child in self.children:
            child.stop()

    def leave_off(self) -> None:
        """No more restarts."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def kill(self, child: Child) -> None:
        with self._lock:
            self._held.add(child.name)
            child.kill()

    def repair(self, child: Child) -> None:
        with self._lock:
            child.start()
            self._held.discard(child.name)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._lock:
                for child in self.children:
                    if child.name not in self._held:
                        child.supervise()
