"""What the tests of this folder ask of a server process."""

from __future__ import annotations

import json
from typing import Any

import httpx

TOKEN = "pylf_v1_us_0123456789abcdef"
TRACE, PARENT = "1" * 32, "2" * 16
TRACED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
"""Spans are sent a tenth of a second after they end."""


def call(url: str, tool: str, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
    """One tool's answer."""
    body = {"tool": tool, "arguments": arguments}
    answer = httpx.post(f"{url}/logfire-mcp", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def collect(url: str, value: float, headers: dict[str, str] | None = None) -> None:
    """One point of the metric ``load``."""
    point = {"name": "load", "value": value, "metric_type": "gauge"}
    call(url, "collect_metrics", headers, source="test", metrics=[point])


def alert(url: str, headers: dict[str, str] | None = None) -> None:
    """A rule that ``load`` above 5 fires at once."""
    call(url, "create_alert", headers, name="High load", condition="load > 5", severity="high")


def receivers(url: str) -> str:
    """A webhook that is told of everything at once."""
    told = {
        "receivers": {"ops": {"kind": "webhook", "url": url}},
        "route": {"receiver": "ops", "group_wait": "1s", "group_interval": "1s"},
    }
    return json.dumps(told)
