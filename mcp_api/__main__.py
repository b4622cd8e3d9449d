"""``python -m mcp_api`` is ``logfire-mcp-server``."""

from mcp_api.cli import main

main()
