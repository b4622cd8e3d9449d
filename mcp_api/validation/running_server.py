"""The server of the data directory, asked as its clients ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx

from mcp_api.discovery import Found, announced
from mcp_api.tools.specs import SPECS
from mcp_api.validation.event_log import is_owned
from mcp_api.validation.outcome import Check, Outcome, failed, look, ok, skipped
from streams.config import Settings

PART = "server"
ANSWER_S = 30.0
_LOOK = "look into its output"


def check_server(settings: Settings, found: Found | None) -> Iterator[Check]:
    """Health, readiness, the tools by MCP, and the problems and components that it tells of."""
    yield look(PART, "runs", lambda: _runs(settings, found))
    if found is None:
        return
    with httpx.Client(
        base_url=found.url, headers=bearer(settings), timeout=ANSWER_S, trust_env=False
    ) as client:
        yield look(PART, "is ready", lambda: _ready(client))
        yield look(PART, "tools by MCP", lambda: asyncio.run(_tools(settings, found)), _LOOK)
        yield look(PART, "its own status", lambda: _status(client))


def bearer(settings: Settings) -> dict[str, str]:
    """The header that shows the token, where one is set."""
    return {} if settings.token is None else {"authorization": f"Bearer {settings.token}"}


def _runs(settings: Settings, found: Found | None) -> Outcome:
    if found is not None:
        return ok(f"at {found.url}, pid {found.pid}, since {found.started_at}", url=found.url)
    before = announced(settings.data_dir)
    if is_owned(settings):
        if before is None:
            return skipped("a process has the log and serves no HTTP")
        todo = f"wait a little; if it hangs, end the process with the id {before.pid}"
        return failed(f"the server at {before.url} has the log and does not answer", todo)
    return skipped(f"none runs on {settings.data_dir}; `serve` starts one")


def _ready(client: httpx.Client) -> Outcome:
    answer = _asked(client, "GET", "/ready")
    if answer.status_code == 200:
        return ok("every read model is up to date")
    return failed("; ".join(answer.json()["reasons"]), f"wait until it has caught up, or {_LOOK}")


async def _tools(settings: Settings, found: Found) -> Outcome:
    # Late: they take seconds to load, and only a running server is asked by them.
    import httpx2
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client

    try:
        async with (
            httpx2.AsyncClient(headers=bearer(settings), timeout=ANSWER_S, trust_env=False) as http,
            Client(streamable_http_client(f"{found.url}/mcp", http_client=http)) as client,
        ):
            names = {tool.name for tool in (await client.list_tools()).tools}
            version = client.protocol_version
    except Exception as error:  # noqa: BLE001 - whatever a client meets is what is told
        return failed(f"a client of MCP fails: {_innermost(error)}", _LOOK)
    if missing := {spec.name for spec in SPECS} - names:
        return failed(f"it does not offer {', '.join(sorted(missing))}", "restart it: it is older")
    return ok(f"{len(names)} tools, MCP {version}", tools=sorted(names))


def _status(client: httpx.Client) -> Outcome:
    asked = {"tool": "get_server_status", "arguments": {}}
    answer = _asked(client, "POST", "/logfire-mcp", json=asked)
    told = answer.json()
    if answer.status_code != 200:
        message = told["error"]["message"]
        todo = "set LOGFIRE_MCP_TOKEN to the server's" if answer.status_code == 401 else _LOOK
        return failed(message, todo)
    parts: dict[str, str] = told["components"]
    broken = [
        f"{name}: {state}"
        for name, state in parts.items()
        if state not in ("connected", "not_configured")
    ]
    problems = [*told["problems"], *broken]
    if problems:
        return failed("; ".join(problems), "see what each says", components=parts)
    used = ", ".join(name for name, state in parts.items() if state == "connected")
    return ok(f"{told['status']}, version {told['version']}; connected: {used}", components=parts)


def _asked(client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
    """`OSError` where it does not answer."""
    try:
        return client.request(method, path, **more)
    except httpx.HTTPError as error:
        raise OSError(f"{path} was not answered: {error}") from error


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
