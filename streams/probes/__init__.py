"""Looking at targets: whether they live, how fast they answer, and why not.

::

  endpoints          what a target's endpoint may be
  addresses          which addresses may be connected to
  finding            what a probe is, and what it finds
  schedule           when each target is due
  own_headers        headers that a target's requests carry
  http_client        HTTP to an address that was judged; what went wrong
  certificates       when a certificate expires
  json_path          a path into a body
  http               HTTP: status, latency, body, certificate
  tcp                a port
  dns                a name
  heartbeat          silence of whoever is to tell of itself
  mcp_asking         what is asked of an MCP server
  mcp                MCP servers over HTTP
  mcp_stdio_command  the command of an MCP server
  mcp_stdio          MCP servers that are commands
  prober             each target in its interval
"""
