"""Requests that nobody would send on purpose, from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

TOOLS = ("collect_metrics", "query_metrics", "export_metrics", "get_server_status")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "x", "é")
PATHS = ("/", "/mcp", "/logfire-mcp", "/export", "/metrics", "/health", "/ready", "/admin/verify")
MODERN = "2026-07-28"

GOOD_COLLECT: dict[str, Any] = {
    "source": "fuzz",
    "metrics": [
        {"name": "a", "value": 1, "metric_type": "gauge", "tags": {"host": "h", "zone": "z"}},
        {"name": "b", "value": "NaN", "metric_type": "histogram", "unit": "s", "timestamp": 1.5e9},
        {"name": "ü", "value": -1e308, "metric_type": "counter", "tags": {}},
    ],
    "request_id": None,
}
GOOD_QUERY: dict[str, Any] = {
    "metric_name": "a",
    "tags": {"host": "=~h.*"},
    "aggregation": "p95",
    "group_by": ["host"],
    "start_time": "-1h",
    "step": "1m",
}

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 10**40, -(10**400), "", " ", "a", "NaN", "-Inf", "\x00",
    "\ud800", "é" * 300, "x" * 5_000, [], {}, [[]], {"": ""}, {"a": {"b": {"c": []}}},
    ["a"] * 100, {f"k{i}": i for i in range(80)}, "2026-13-45T99:99:99Z", "-1h", "now", "=~(", "*",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""


def requests(seed: int, count: int) -> Iterator[Request]:
    """``count`` requests, most of them to the tools."""
    chance = Random(seed)
    makers = (_call, _call, _bytes, _envelope, _headers, _routes, _export, _mcp, _mcp)
    for number in range(count):
        yield makers[number % len(makers)](chance)


def odd(chance: Random, depth: int = 0) -> Any:
    """Some JSON value, seldom the right one."""
    if depth < 3 and chance.random() < 0.2:
        if chance.random() < 0.5:
            return [odd(chance, depth + 1) for _ in range(chance.randrange(4))]
        return {str(odd(chance, 9)): odd(chance, depth + 1) for _ in range(chance.randrange(4))}
    return chance.choice(ODD)


def spoiled(chance: Random, value: Any) -> Any:
    """A good value with some part changed, removed, renamed or added."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return odd(chance)
    if isinstance(value, list):
        copy = list(value)
        place = chance.randrange(len(copy))
        copy[place] = spoiled(chance, copy[place])
        return copy
    name = chance.choice(list(value))
    rest = {key: item for key, item in value.items() if key != name}
    match chance.randrange(4):
        case 0:
            return rest
        case 1:
            return {**rest, name + chance.choice(("s", "_", "\n", "")): value[name]}
        case 2:
            return {**value, str(odd(chance, 9)): odd(chance)}
        case _:
            return {**value, name: spoiled(chance, value[name])}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _arguments(chance: Random) -> tuple[str, Any]:
    tool = chance.choice(TOOLS)
    good = {"collect_metrics": GOOD_COLLECT, "query_metrics": GOOD_QUERY}.get(tool, {"a": 1})
    return tool, spoiled(chance, good)


def _call(chance: Random) -> Request:
    tool, arguments = _arguments(chance)
    return Request("POST", "/logfire-mcp", _json({"tool": tool, "arguments": arguments}))


def mangled(chance: Random, body: bytes) -> bytes:
    """Some bytes flipped, cut out, doubled, or the end missing."""
    data = bytearray(body)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(4):
            case 0 if data:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 20)]
            case 2:
                data[place:place] = data[place : place + 10]
            case _:
                del data[place:]
    return bytes(data)


def _bytes(chance: Random) -> Request:
    match chance.randrange(5):
        case 0:
            body = chance.randbytes(chance.randrange(200))
        case 1:
            depth = chance.choice((50, 1_000, 20_000))
            body = chance.choice((b"[", b'{"tool":', b'{"arguments":[')) * depth
        case 2:
            depth = chance.choice((50, 1_000, 20_000))
            arguments = b'{"source":"fuzz","metrics":' + b"[" * depth + b"]" * depth + b"}"
            body = b'{"tool":"collect_metrics","arguments":' + arguments + b"}"
        case _:
            call = {"tool": "collect_metrics", "arguments": GOOD_COLLECT}
            body = mangled(chance, _json(call))
    return Request("POST", "/logfire-mcp", body)


def _envelope(chance: Random) -> Request:
    call = {"tool": chance.choice(TOOLS), "arguments": {}}
    return Request("POST", "/logfire-mcp", _json(spoiled(chance, call)))


def _headers(chance: Random) -> Request:
    names = ("host", "origin", "authorization", "content-type", "content-length", "accept",
             "expect", "idempotency-key", "x-mcp-client", "transfer-encoding")  # fmt: skip
    texts = ("", "localhost", "http://localhost", "http://evil.example", "null", "*", "[::1",
             "a:b:c", "Bearer", "Bearer x", "application/json", "text/plain", "10", "é" * 9,
             "k" * 300)  # fmt: skip
    headers = tuple((chance.choice(names), chance.choice(texts)) for _ in range(4))
    return Request("POST", "/logfire-mcp", _json({"tool": TOOLS[3]}), headers)


def _routes(chance: Random) -> Request:
    path = chance.choice((*PATHS, "/" + chance.choice(("x", "..", "%2e", "a" * 3_000, "é\x00"))))
    return Request(chance.choice(METHODS), path, chance.randbytes(chance.randrange(3)))


def _export(chance: Random) -> Request:
    names = ("format", "metric_names", "start_time", "end_time", "tags", "min_position", "x", "")
    texts = (
        "csv",
        "a",
        "-1h",
        "now",
        "",
        "%FF",
        "{}",
        "[",
        '{"a":1}',
        "=~(",
        "&",
        "=",
        "+1e9",
        "x" * 600,
    )
    parts = [
        f"{chance.choice(names)}={chance.choice(texts)}" for _ in range(chance.randrange(1, 4))
    ]
    return Request("GET", "/export", query="&".join(parts))


def _mcp(chance: Random) -> Request:
    tool, arguments = _arguments(chance)
    method = chance.choice(
        ("tools/call", "tools/call", "tools/list", "initialize", "server/discover", "x")
    )
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    }
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {"name": tool, "arguments": arguments, "_meta": meta},
    }
    body = _json(message if chance.random() < 0.5 else spoiled(chance, message))
    if chance.random() < 0.2:
        body = mangled(chance, body)
    version = chance.choice((MODERN, MODERN, "2025-11-25", "2025-06-18", "1999", "é"))
    headers = (
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", version),
        ("mcp-method", method),
        ("mcp-name", tool),
    )
    return Request("POST", "/mcp", body, headers)
