"""Real servers on loopback that tests write to, kill and start again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx
import redis

PATIENCE_S: Final = 30.0
"""For a server to answer; no test asserts how long it takes."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Program:
    """A server process on a port of its own; killed and started again, it keeps its directory."""

    def __init__(self, arguments: list[str], port: int) -> None:
        self._arguments = arguments
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        self._process = subprocess.Popen(
            self._arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, f"{self._arguments[0]} ended"
                assert time.monotonic() < deadline, f"{self._arguments[0]} does not answer"
                threading.Event().wait(0.02)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None


class RedisServer:
    """Debian's Redis; ``keeps``: what it acknowledged outlives it (an append-only file)."""

    def __init__(
        self, program: str, directory: Path, *, keeps: bool = True, password: str = ""
    ) -> None:
        port = free_port()
        arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
        arguments += ["--save", "", "--appendonly", "yes" if keeps else "no"]
        if password:
            arguments += ["--requirepass", password]
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"
        self.program = Program(arguments, port)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def hashes(self, pattern: str) -> dict[str, dict[str, str]]:
        """All hashes under keys like this."""
        with self.client() as client:
            return {key: client.hgetall(key) for key in client.scan_iter(pattern, count=10_000)}


class VictoriaServer:
    """Debian's VictoriaMetrics, which speaks InfluxDB's v2 write API."""

    def __init__(self, program: str, directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.program = Program(
            [
                program,
                f"-httpListenAddr={self.url.removeprefix('http://')}",
                f"-storageDataPath={directory}",
                "-retentionPeriod=100y",
                # Of rows that came twice one is told.
                "-dedup.minScrapeInterval=1ms",
                f"-memory.allowedBytes={256 << 20}",
            ],
            port,
        )

    def samples(self) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
        """Value by time (ms) of every series, by its sorted labels."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE_S) as client:
            client.get("/internal/force_flush").raise_for_status()
            answer = client.get("/api/v1/export", params={"match[]": '{__name__!=""}'})
        found: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
        for line in answer.text.splitlines():
            told: dict[str, Any] = json.loads(line)
            labels = tuple(sorted(told["metric"].items()))
            found.setdefault(labels, {}).update(
                zip(told["timestamps"], told["values"], strict=True)
            )
        return found
