"""An HTTP service that answers as it is told to, on a free port of loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """``path``: without the query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Asked], tuple[int, Any]]
"""The status and what JSON, or bytes, tell."""


@dataclass
class Service:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def http_service(answer: Answer) -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(size)
            asked = Asked(self.command, parts.path, parts.query, headers, body)
            service.asked.append(asked)
            status, told = answer(asked)
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
