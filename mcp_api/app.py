"""The whole HTTP side as one ASGI application: guard, then table of routes."""

# ruff: noqa: ARG001 - every handler takes what ASGI gives

from __future__ import annotations

from collections.abc import Callable

from mcp_api.admin_routes import rebuild_route, verify_route
from mcp_api.asgi import Receive, Scope, Send
from mcp_api.backtest_route import backtest_route
from mcp_api.caller import Admission
from mcp_api.data_dir import projection_path
from mcp_api.export_route import ExportRoute
from mcp_api.guard import Guard, GuardLimits
from mcp_api.heartbeat_route import heartbeat_route
from mcp_api.live_feed.route import LiveFeed
from mcp_api.mcp_http import McpHttp, refuse_stream
from mcp_api.pages import health, index, metrics, ready
from mcp_api.prometheus_api.federate import Federate
from mcp_api.prometheus_api.route import PrometheusApi
from mcp_api.reached_at import with_address
from mcp_api.router import Router
from mcp_api.rules_route import all_rules_route, take_rules_route
from mcp_api.snapshot_route import snapshot_route
from mcp_api.targets_route import (
    all_targets_route,
    remove_target_route,
    take_targets_route,
)
from mcp_api.telemetry import Telemetry
from mcp_api.tool_calls import ToolCalls
from mcp_api.tool_route import ToolRoute
from mcp_api.tools.toolbox import LocalToolbox
from mcp_api.watching import Watching
from projections.health_queries import HealthQueries
from projections.projector import Projector
from streams.config import Settings


def build_app(
    *,
    settings: Settings,
    toolbox: LocalToolbox,
    calls: ToolCalls,
    mcp: McpHttp,
    projector: Projector,
    prometheus_api: PrometheusApi,
    watching: Watching,
    live_feed: LiveFeed,
    telemetry: Telemetry,
    not_ready: Callable[[], list[str]],
    limits: GuardLimits,
) -> Guard:
    """The application of one server."""
    health_queries = HealthQueries(projector)
    router = Router(
        {
            "/": {"GET": index(lambda: toolbox.base_url)},
            "/mcp": {"POST": with_address(mcp), "GET": _no_stream, "DELETE": _no_stream},
            "/logfire-mcp": {"POST": with_address(ToolRoute(calls))},
            "/export": {"GET": ExportRoute(toolbox)},
            "/api/v1/heartbeat/*": {"POST": heartbeat_route(health_queries, watching)},
            "/api/v1/*": {"GET": prometheus_api, "POST": prometheus_api},
            "/ws": {"GET": live_feed},
            "/metrics": {"GET": metrics(telemetry)},
            "/federate": {"GET": Federate(prometheus_api)},
            "/health": {"GET": health()},
            "/ready": {"GET": ready(not_ready)},
            "/admin/rebuild": {"POST": rebuild_route(projector)},
            "/admin/verify": {"POST": verify_route(projector)},
            "/admin/rules": {
                "GET": all_rules_route(toolbox.alert_parts),
                "POST": take_rules_route(toolbox.alert_parts),
            },
            "/admin/targets": {
                "GET": all_targets_route(toolbox.alert_parts, health_queries),
                "POST": take_targets_route(toolbox.alert_parts, health_queries, settings),
                "DELETE": remove_target_route(toolbox.alert_parts, health_queries),
            },
            "/admin/backtest": {"POST": backtest_route(toolbox.alert_parts)},
            "/admin/snapshot": {"GET": snapshot_route(projector, projection_path(settings))},
        }
    )
    admission = Admission.of(
        listen_host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
        token=settings.token,
    )
    return Guard(router, admission, limits, telemetry.observe_request)


async def _no_stream(scope: Scope, receive: Receive, send: Send) -> None:
    await refuse_stream(send)
