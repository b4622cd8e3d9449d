"""Everything between the tools and the outside: HTTP, MCP, the command line, and what joins them.

The modules in the order in which a request flows, then what starts and stops it all, then the
commands that read the log and the database::

  asgi                 ASGI's types; whole answers; `Refusal`, the shape of every error
  caller               who calls (`Caller`) and who may (`Admission`: Host, Origin, token)
  bodies               request bodies under limits of size, sum and time
  guard                the one way in: nothing behind it sees what is not allowed
  http_protocol        uvicorn's protocol with bounds on connections and headers
  listener             the bound socket and the server behind it
  router               which handler answers which path and method
  pages                /health, /ready, /metrics and /
  tools                what the tools are called, take, do and answer
  tool_calls           the tools as transports use them: bounded, counted, errors as answers
  tool_route           POST /logfire-mcp, the hot path
  export_route         GET /export, streamed
  admin_routes         POST /admin/rebuild and /admin/verify, told as JSON lines
  mcp_protocol         the MCP server, on the SDK's low-level server
  mcp_http             /mcp, which loads the SDK at its first request
  telemetry            counters, durations and gauges for Prometheus
  server_gauges        the gauges that are read from a server's parts
  readiness            whether the read models are up to date
  app                  the routes and the guard, put together
  discovery            how processes find the server of a data directory
  server               the composition root: opens, starts, stops in order
  stdio                the `mcp` command: attaches to a server or is one
  screen               what the commands print
  serving              the `serve` and `demo` commands
  replay_lines         records of the log as text
  log_commands         the `tail` and `replay` commands
  export_files         the bytes of the `export` command
  projection_commands  the `rebuild`, `verify` and `export` commands
  options              options and settings that the commands share
  cli                  the command line
"""
