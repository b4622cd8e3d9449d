"""The MCP server: the SDK's low-level server, serving exactly our `SPECS` and answers.

Importing this imports the SDK (1 s, 50 MB): the HTTP side does so at the first request to ``/mcp``
(`mcp_api.mcp_http`), the ``mcp`` command at once.
"""

from __future__ import annotations

import base64
from importlib.metadata import version
from time import perf_counter
from typing import Any, Protocol

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError

from mcp_api.caller import Caller, mcp_client
from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import nearest
from mcp_api.tools.specs import SPECS, SPECS_BY_NAME
from mcp_api.tools.toolbox import Toolbox

INSTRUCTIONS = (
    "Metrics of this machine and of whatever reports here, kept in an event log. "
    "To answer a question: query_metrics with operation list_metrics, then describe for the tags "
    "of one, then query with aggregation, group_by and a time range such as -1h. "
    "collect_metrics stores measurements and returns a position: pass it as min_position to see "
    "them at once. create_alert makes a rule (dry_run tries it on the past first); manage_alerts "
    "with action history says why it fired, who made it and who was told. system_overview is the "
    "place to begin with: servers, firing alerts, this machine, now or at a past time. "
    "Every answer says as_of which moment it is true; an empty one says why."
)

METHODS = frozenset(
    ("initialize", "ping", "server/discover", "subscriptions/listen", "tools/call", "tools/list")
)
"""Those that are observed by name, the others as ``other``."""

_SCHEMAS = {spec.name: spec.input_schema for spec in SPECS}


class Observe(Protocol):
    """Told of each answered request: its method, how long it took, whether the answer is none of
    JSON-RPC's errors. Calls that reach a tool are left out: the toolbox counts them."""

    def __call__(self, method: str, seconds: float, *, ok: bool) -> None: ...


def build_server(toolbox: Toolbox, observe: Observe | None = None) -> Server[Any]:
    """One server for any number of connections, over any transport and both protocol eras."""
    tools = [types.Tool.model_validate(spec.definition()) for spec in SPECS]

    async def list_tools(
        _ctx: Any, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in SPECS_BY_NAME:
            raise MCPError(
                code=types.INVALID_PARAMS,
                message=f"no tool {params.name[:60]!r}; {nearest(params.name, SPECS_BY_NAME)}",
            )
        answer = await toolbox.call(params.name, params.arguments or {}, actor=actor_of(ctx))
        return tool_result(answer)

    server: Server[Any] = Server(
        "logfire-mcp",
        version=version("logfire-mcp-server"),
        title="Logfire MCP Server",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=_SCHEMAS.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    if observe is not None:
        server.middleware.append(_observing(observe))
    return server


def _observing(observe: Observe) -> ServerMiddleware[Any]:
    async def observing(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:  # a notification, which has no answer
            return await call_next(ctx)
        started, method = perf_counter(), ctx.method if ctx.method in METHODS else "other"
        try:
            result = await call_next(ctx)
        except Exception:
            observe(method, perf_counter() - started, ok=False)
            raise
        if method != "tools/call":
            observe(method, perf_counter() - started, ok=True)
        return result

    return observing


def session_manager(server: Server[Any], body_bytes_max: int) -> StreamableHTTPSessionManager:
    """Streamable HTTP without sessions and without event streams.

    No tool notifies, so each answer is one JSON body; and without sessions a client of the
    handshake era goes on after a restart of the server. Host, Origin, token and body were checked
    by the guard.
    """
    return StreamableHTTPSessionManager(
        server, stateless=True, json_response=True, max_request_body_size=body_bytes_max
    )


def actor_of(ctx: Any) -> str:
    """Who calls, from what the client said of itself and what the guard found out."""
    caller: Caller | None = ctx.request.scope.get("caller") if ctx.request is not None else None
    said = ctx.session.client_params
    if said is not None:
        client = mcp_client(said.client_info.name)
    elif caller is not None and caller.client.startswith("mcp"):
        client = caller.client
    else:
        client = "mcp"
    return Caller("local" if caller is None else caller.kind, client).actor


def tool_result(answer: ToolAnswer) -> types.CallToolResult:
    """An answer as MCP says it; an error is a result that the model reads and acts upon."""
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=answer.text)]
    if answer.image_png is not None:
        content.append(
            types.ImageContent(
                type="image",
                data=base64.b64encode(answer.image_png).decode(),
                mime_type="image/png",
            )
        )
    if answer.link is not None:
        content.append(
            types.ResourceLink(type="resource_link", name="the whole export", uri=answer.link)
        )
    if answer.is_error:
        # Structured content must fit the output schema, which describes success.
        return types.CallToolResult(content=content, is_error=True)
    return types.CallToolResult(content=content, structured_content=answer.content)
