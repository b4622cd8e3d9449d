"""Five promises of speed, measured on a server of its own; the medians are compared."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from mcp_api.validation.load_data import METRIC, call, day, thousand
from mcp_api.validation.load_rules import RULES, tick_seconds
from mcp_api.validation.load_server import MCP_SERVERS, load_server
from mcp_api.validation.outcome import Check, Outcome, Tell, failed, look, ok
from streams.errors import LogfireMcpError
from streams.log.wall_clock import wall_clock_ms

PART = "load test"
EXPORT_BYTES = 10_000_000
READY_S = 60
AGAIN_S = 0.2
TOOLS = "/logfire-mcp"
JSON = {"content-type": "application/json"}
_TODO = "run it again on a quiet machine; if it stays so, this machine is too slow for that much"

Timed = Callable[[], float]
"""Does the work once; the seconds that it took."""


def check_load(tell: Tell) -> Iterator[Check]:
    """Takes about 15 s and 100 MB of the temporary directory, which is emptied at the end."""
    try:
        yield from _check_server(tell)
    except LogfireMcpError as error:
        yield Check(PART, "server", failed(str(error), _TODO), 0.0)
    ticks = tick_seconds()
    yield _measured(f"{RULES} alert rules evaluated", 50, 20, lambda: next(ticks), tell)


def _check_server(tell: Tell) -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="logfire-mcp-load-test-") as folder:
        tell("Load test: starting a server")
        with load_server(Path(folder)) as client:
            tell("Load test: giving it a day of samples")
            _fill(client)
            _warm_up(client)
            yield _measured("1,000 metrics collected", 100, 30, lambda: _collect(client), tell)
            name = f"{MCP_SERVERS} MCP servers checked"
            yield _measured(name, 2_000, 3, lambda: _check_health(client), tell)
            yield _measured("24 h queried", 1_000, 5, lambda: _query(client), tell)
            yield _measured("10 MB exported", 5_000, 3, lambda: _export(client), tell)


def _measured(name: str, promised_ms: int, runs: int, timed: Timed, tell: Tell) -> Check:
    tell(f"Load test: {name}")

    def measure() -> Outcome:
        timed()  # what is made once is made
        took = [1_000 * timed() for _ in range(runs)]
        median, longest = statistics.median(took), max(took)
        text = f"{median:,.0f} ms, the longest of {runs} {longest:,.0f} ms"
        data = {"promised_ms": promised_ms, "median_ms": median, "longest_ms": longest}
        if median >= promised_ms:
            return failed(f"{text}; promised: {promised_ms:,} ms", _TODO, runs=runs, **data)
        return ok(f"{text}; promised: {promised_ms:,} ms", runs=runs, **data)

    return look(PART, name, measure, _TODO)


def _fill(client: httpx.Client) -> None:
    """Returns when all of it can be queried; `LogfireMcpError` after a minute."""
    position = ""
    for body in day(wall_clock_ms()):
        position = _post(client, body).json()["position"]
    body = call("query_metrics", metric_name=METRIC, start_time="-1h", min_position=position)
    _until(lambda: _answer(client, body).status_code == 200)


def _warm_up(client: httpx.Client) -> None:
    """Returns when each MCP server was found healthy once."""
    _until(lambda: _healthy(_post(client, call("health_check", target="all"))) == MCP_SERVERS)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while not done():
        if time.monotonic() > deadline:
            raise LogfireMcpError(f"the server was not ready within {READY_S} s")
        time.sleep(AGAIN_S)


def _collect(client: httpx.Client) -> float:
    body = thousand(wall_clock_ms())
    begun = time.perf_counter()
    _post(client, body)
    return time.perf_counter() - begun


def _check_health(client: httpx.Client) -> float:
    body = call("health_check", target="all")
    begun = time.perf_counter()
    answer = _post(client, body)
    took = time.perf_counter() - begun
    if (well := _healthy(answer)) != MCP_SERVERS:
        raise LogfireMcpError(f"of {MCP_SERVERS} MCP servers {well} are healthy")
    return took


def _healthy(answer: httpx.Response) -> int:
    checks = answer.json()["health_checks"]
    return sum(check["healthy"] for check in checks if "endpoint" in check)


def _query(client: httpx.Client) -> float:
    body = call("query_metrics", metric_name=METRIC, start_time="-24h", group_by=["host"])
    begun = time.perf_counter()
    _post(client, body)
    return time.perf_counter() - begun


def _export(client: httpx.Client) -> float:
    """The first 10 MB of a day's samples as CSV."""
    asked = {"format": "csv", "metric_names": METRIC, "start_time": "-25h", "end_time": "now"}
    size = 0
    begun = time.perf_counter()
    try:
        with client.stream("GET", "/export", params=asked) as answer:
            for chunk in answer.iter_raw():
                size += len(chunk)
                if size >= EXPORT_BYTES:
                    return time.perf_counter() - begun
    except httpx.HTTPError as error:
        raise LogfireMcpError(f"the export broke off: {error}") from error
    raise LogfireMcpError(f"the export has {size:,} bytes of {EXPORT_BYTES:,}")


def _post(client: httpx.Client, body: bytes) -> httpx.Response:
    answer = _answer(client, body)
    if answer.status_code != 200:
        raise LogfireMcpError(f"the server answered {answer.status_code}: {answer.text[:200]}")
    return answer


def _answer(client: httpx.Client, body: bytes) -> httpx.Response:
    try:
        return client.post(TOOLS, content=body, headers=JSON)
    except httpx.HTTPError as error:
        raise LogfireMcpError(f"the server did not answer: {error}") from error
