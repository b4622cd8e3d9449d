"""What a server that speaks InfluxDB's write API may answer, by choice of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """``status`` 204: the lines are taken."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass
class InfluxServer:
    """``decide``: what a request with these lines is answered. ``lines``: those taken, by time of
    their request; ``tokens``: as they were sent; ``closes``: each connection after one request."""

    url: str
    decide: Callable[[list[str]], Answer] = lambda _: Answer()
    lines: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    requests: int = 0
    closes: bool = False


@contextmanager
def influx_server() -> Iterator[InfluxServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = body.decode().split("\n")
            told.requests += 1
            told.tokens.add(self.headers.get("Authorization", ""))
            answer = told.decide(lines)
            if answer.status == 204:
                told.lines += lines
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.text)))
            self.end_headers()
            self.close_connection = told.closes
            self.wfile.write(answer.text.encode())

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told = InfluxServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
