"""A real server in a process of its own, and raw HTTP that costs the client little CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

FAR_S = 120


class Server:
    """A running ``serve`` on a free port of loopback; ``cpu_s`` counts all its threads."""

    def __init__(self, process: subprocess.Popen[str], port: int, data_dir: Path) -> None:
        self.process, self.port, self.data_dir = process, port, data_dir
        self.stats = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        times = self.stats.cpu_times()
        return times.user + times.system

    def rss_mb(self) -> float:
        return self.stats.memory_info().rss / 2**20


@contextmanager
def running(data_dir: Path | None = None, **environment: str) -> Iterator[Server]:
    """Starts a server, by default on a directory of its own; waits until it is ready; stops it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = data_dir or Path(temporary)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mcp_api",
                "serve",
                "--port",
                str(port),
                "--data-dir",
                str(folder),
            ],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "ready" in line.lower():
                    break
            yield Server(process, port, folder)
        finally:
            process.terminate()
            process.wait(timeout=30)


class Connection:
    """One keep-alive HTTP connection that sends prepared bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=FAR_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def send(self, request: bytes) -> tuple[int, bytes]:
        """The status and body of the answer."""
        self.socket.sendall(request)
        data = self.rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(data) < end + 4 + length:
            data += self._more()
        self.rest = data[end + 4 + length :]
        return int(head.split()[1]), data[end + 4 : end + 4 + length]

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def request(body: bytes, headers: str = "") -> bytes:
    """A POST to the plain HTTP door of the tools."""
    head = (
        "POST /logfire-mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def call(connection: Connection, tool: str, arguments: dict[str, object]) -> dict[str, object]:
    """One tool call; raises with the answer where it is not a success."""
    body = json.dumps({"tool": tool, "arguments": arguments}).encode()
    status, answer = connection.send(request(body))
    if status != 200:
        raise RuntimeError(f"{tool} answered {status}: {answer[:500]!r}")
    result: dict[str, object] = json.loads(answer)
    return result
