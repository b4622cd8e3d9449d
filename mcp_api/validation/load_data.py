"""What the load test's server is given: a day of samples, and a thousand metrics at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime

DAY_MS = 24 * 3_600_000
EVERY_MS = 30_000
HOSTS = 80
POINTS_MAX = 10_000
"""Of one request."""

METRIC = "load_test_usage"


def day(now_ms: int) -> Iterator[bytes]:
    """24 h of `HOSTS` series with a sample every 30 s, 230,400 in all, as bodies of requests."""
    times = [now_ms - k * EVERY_MS for k in reversed(range(DAY_MS // EVERY_MS))]
    points: list[str] = []
    for at_ms in times:
        at = _iso(at_ms)
        wave = 50 + 20 * math.sin(at_ms / 3_600_000)
        for host in range(HOSTS):
            points.append(_point(METRIC, f"{wave + host / 8:.2f}", f"server{host:02}", at))
            if len(points) == POINTS_MAX:
                yield _body("load-test", points)
                points = []
    if points:
        yield _body("load-test", points)


def thousand(at_ms: int) -> bytes:
    """A request with 1,000 metrics of one time."""
    at = _iso(at_ms)
    points = [_point(f"load_test_{n % 20}", f"{n}.5", f"host{n:03}", at) for n in range(1_000)]
    return _body("load-test-thousand", points)


def call(tool: str, **arguments: object) -> bytes:
    """A request of any tool."""
    return json.dumps({"tool": tool, "arguments": arguments}).encode()


def _point(name: str, value: str, host: str, at: str) -> str:
    return (
        f'{{"name":"{name}","value":{value},"metric_type":"gauge","timestamp":"{at}",'
        f'"tags":{{"host":"{host}"}}}}'
    )


def _body(source: str, points: list[str]) -> bytes:
    arguments = f'{{"source":"{source}","metrics":[{",".join(points)}]}}'
    return f'{{"tool":"collect_metrics","arguments":{arguments}}}'.encode()


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
