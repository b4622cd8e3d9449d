"""The server that the seed's promises are kept by: one process for all tests of a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from mcp_api.discovery import Found
from tests.flow.receiving import Inbox

PATIENCE_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class Served:
    """``mail``: what the mail server of the alerts got; ``client``: HTTP to the server."""

    data_dir: Path
    found: Found
    mail: Inbox
    client: httpx.Client

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The answer of a tool, asked as the seed asks: a JSON object by POST."""
        asked = {"tool": tool, "arguments": arguments}
        answer = self.client.post("/logfire-mcp", json=asked)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def collect(self, name: str, value: float, **tags: str) -> str:
        """The position of the point."""
        point = {"name": name, "value": value, "metric_type": "gauge", "tags": tags}
        answer = self.call("collect_metrics", source="my_application", metrics=[point])
        assert answer["collected_count"] == 1
        return str(answer["position"])

    def has(self, name: str) -> bool:
        """Whether there are samples of a metric."""
        listed = self.call("query_metrics", operation="list_metrics")["metrics"]
        return name in {each["name"] for each in listed}

    def targets(self) -> set[str]:
        """The names of what is checked."""
        return {check["name"] for check in self.call("health_check")["health_checks"]}


def until(condition: Callable[[], bool], what: str) -> None:
    """Returns once the condition holds; fails with ``what`` after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(POLL_S)
