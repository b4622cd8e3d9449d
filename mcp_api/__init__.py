"""Everything between the tools and the outside: HTTP, MCP, the command line, and what joins them.

The modules in the order in which a request flows, then what starts and stops it all, then the
commands that read the log and the database::

  asgi                 ASGI's types; whole answers; `Refusal`, the shape of every error
  caller               who calls (`Caller`) and who may (`Admission`: Host, Origin, token)
  bodies               request bodies under limits of size, sum and time
  guard                the one way in: nothing behind it sees what is not allowed
  http_protocol        uvicorn's protocol with bounds on connections and headers
  websocket_protocol   uvicorn's protocol for WebSockets, loaded by the first of them
  listener             the bound socket and the server behind it
  router               which handler answers which path and method
  pages                /health, /ready, /metrics and /
  tools                what the tools are called, take, do and answer
  tool_calls           the tools as transports use them: bounded, counted, errors as answers
  tool_route           POST /logfire-mcp, the hot path
  reached_at           the address by which a client knows this server
  export_route         GET /export, streamed
  prometheus_api       /api/v1/…, PromQL as Prometheus answers it
  admin_routes         POST /admin/rebuild and /admin/verify, told as JSON lines
  rules_route          /admin/rules, every rule out and rule files in
  targets_route        /admin/targets, what is checked: listed, registered, removed
  backtest_route       POST /admin/backtest, what a rule would have done, told as JSON lines
  heartbeat_route      POST /api/v1/heartbeat/<name>, a target says that it is alive
  live_feed            /ws, what happens as it happens
  snapshot_route       GET /admin/snapshot, the whole database
  mcp_protocol         the MCP server, on the SDK's low-level server
  mcp_http             /mcp, which loads the SDK at its first request
  telemetry            counters, durations and gauges for Prometheus
  processor_metrics    how often, how long and how badly the processors work
  observability        what this server tells Logfire and OpenTelemetry of itself
  server_gauges        the gauges that are read from a server's parts
  named_gauges         those of targets and of this machine, as dashboards name them
  log_watch            whether the log can be reached, and what is told about it
  readiness            whether the read models are up to date
  keeping              work that is begun again where an error ends it
  series_seed          what the log holds counts in the series limits
  app                  the routes and the guard, put together
  data_dir             what lies in a data directory, and whose it is
  pipeline             the processors as the settings want them
  telling              who is told of alerts, by the process that has them to tell
  watching             which targets this process checks, and what it finds
  sinks                what the log is copied to, by the process that has the partitions
  backbone             a server's log and what reads it: embedded, or a node's part on Kafka
  snapshot_fetch       another node's database, for one that has none yet
  discovery            how processes find the server of a data directory
  server               the composition root: opens, starts, stops in order
  embedded             the whole server as part of somebody's program
  embedded_sync        the same without an event loop
  stdio                the `mcp` command: attaches to a server or is one
  screen               what the commands print
  ending               the last resort of a process that is told to end
  serving              the `serve` and `demo` commands
  worker               the `worker` command: processors on Kafka
  replay_lines         records of the log as text
  dead_letters         dead letters as lines that can be corrected
  terminal_chart       charts of plain text
  query_command        the `query` command
  backtest_command     the `rules backtest` command
  admin_client         what the commands ask of the running server
  rule_commands        the `rules` commands
  target_commands      the `targets` commands
  log_commands         the `tail` and `replay` commands
  requeueing           where corrected dead letters go
  requeue_command      the `requeue` command
  export_files         the bytes of the `export` command
  projection_commands  the `rebuild`, `verify` and `export` commands
  grafana_api          Grafana's HTTP API: data source, dashboard
  grafana_command      the `grafana` commands
  validation           the checks of `validate`
  validate_command     the `validate` command
  options              options and settings that the commands share
  plain_pydantic       imported first of all: pydantic without Logfire's plugin
  cli                  the command line

For programs: ``from mcp_api import LogfireMCPServer, MetricPoint, MetricType, AlertSeverity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_api.embedded import (
        Active,
        AlertSeverity,
        Evaluation,
        LogfireMCPServer,
        MetricPoint,
        MetricType,
    )
    from mcp_api.embedded_sync import SyncLogfireMCPServer

__all__ = [
    "Active",
    "AlertSeverity",
    "Evaluation",
    "LogfireMCPServer",
    "MetricPoint",
    "MetricType",
    "SyncLogfireMCPServer",
]


def __getattr__(name: str) -> object:
    """Late: who imports one module of this package does not load a server."""
    if name == "SyncLogfireMCPServer":
        from mcp_api.embedded_sync import SyncLogfireMCPServer

        return SyncLogfireMCPServer
    if name in __all__:
        from mcp_api import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
