"""What is asked of an MCP server, whatever it is reached by: what a client asks.

`server/discover` or `initialize`, `ping` where the version has it, every page of `tools/list`.
https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

import mcp_types as types
from mcp.client.client import Client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from streams.events.health import McpFound, Target
from streams.probes.finding import Finding

PAGES_MAX: Final = 100
TOOLS_MAX: Final = 10_000
DRIFT_MAX: Final = 50
"""Names of tools that differ, in one finding."""

NAME_CHARS_MAX: Final = 100

CLIENT_INFO: Final = types.Implementation(
    name="logfire-mcp-server", version=version("logfire-mcp-server")
)

# The SDK logs each failure of a server with its traceback; ours tell it as a finding, every time.
logging.getLogger("mcp.client").setLevel(logging.CRITICAL)

Tools = Mapping[str, str]
"""The hash of each tool's definition, by its name."""

LastHash = Callable[[str], str]
"""``tools_hash`` of a target's last check that found tools, by its name; "" for none."""


class TooManyTools(Exception):
    """More pages or tools than a check reads; a paginator that never ends is a server's fault."""


class Baselines:
    """The tools of each target at its last check, so that the next one can name what differs.

    What each tool was is kept in memory. In another process, or of a target with another
    configuration, the first check knows only the hash of all that the log has: it says that tools
    have changed since (``tools_hash_before``), and not which.
    """

    def __init__(self, last_hash: LastHash) -> None:
        self._last_hash = last_hash
        self._of: dict[str, tuple[Target, Tools]] = {}

    def found(self, target: Target, client: Client, tools: Tools) -> McpFound:
        """What the server said of itself, and how its tools differ from those before."""
        tools_hash = _hash(dict(sorted(tools.items())))
        of, before = self._of.get(target.name, (None, tools))
        if of == target:
            hash_before = _hash(dict(sorted(before.items())))
        else:
            before, hash_before = tools, self._last_hash(target.name)
        self._of[target.name] = (target, tools)
        differ = sorted(
            name for name in before.keys() | tools.keys() if before.get(name) != tools.get(name)
        )
        info = client.server_info
        return McpFound(
            protocol_version=client.protocol_version,
            server="" if info is None else info.name[:NAME_CHARS_MAX],
            server_version="" if info is None else info.version[:NAME_CHARS_MAX],
            tools=len(tools),
            tools_hash=tools_hash,
            tools_hash_before="" if hash_before == tools_hash else hash_before,
            drift=tuple(name[:NAME_CHARS_MAX] for name in differ[:DRIFT_MAX]),
        )

    def forget(self, name: str) -> None:
        """That target is gone."""
        self._of.pop(name, None)


async def ask(client: Client) -> Tools:
    """Pings, and lists every tool; raises what the SDK raises, or `TooManyTools`."""
    if client.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        with warnings.catch_warnings():
            # Deprecated, since 2026-07-28 has no ping; here the version is one that has it.
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            await client.send_ping()
    if client.server_capabilities.tools is None:
        return {}
    tools: dict[str, str] = {}
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = await client.list_tools(cursor=cursor)
        tools |= {tool.name: tool_hash(tool) for tool in page.tools}
        cursor = page.next_cursor
        if len(tools) > TOOLS_MAX:
            break
        if cursor is None:
            return tools
    raise TooManyTools(f"more than {TOOLS_MAX} tools or {PAGES_MAX} pages of them")


def tool_hash(tool: types.Tool) -> str:
    """Of a tool's definition in canonical form: the same in both eras and over every transport.

    Icons and ``_meta`` are no part of it: they say nothing of what the tool does.
    """
    definition = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
    return _hash({key: v for key, v in definition.items() if key not in {"icons", "_meta"}})


def misanswered(error: BaseException) -> Finding | None:
    """What a reply says that the SDK did not take; None where the error is no reply's."""
    for each in _flat(error):
        match each:
            case MCPError() if each.code == UNSUPPORTED_PROTOCOL_VERSION:
                return Finding(cause="protocol", reason=f"no protocol version in common: {each}")
            case RuntimeError() if "protocol version" in str(each):
                return Finding(cause="protocol", reason=str(each))
            case MCPError() if each.code == types.CONNECTION_CLOSED:
                return Finding(cause="died", reason=f"the connection ended: {each}")
            case MCPError() if each.code == types.REQUEST_TIMEOUT:
                return Finding(cause="timeout", reason=str(each))
            case MCPError():
                return Finding(
                    cause="invalid_reply", reason=f"it answered error {each.code}: {each}"
                )
            case ValidationError():
                first = each.errors(include_url=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                return Finding(
                    cause="invalid_reply", reason=f"its answer at {where}: {first['msg']}"
                )
            case TooManyTools():
                return Finding(cause="invalid_reply", reason=str(each))
    return None


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _flat(each)]
    return [error]


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
