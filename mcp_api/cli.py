"""``logfire-mcp-server``: the command line. What each command needs is imported when it runs."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from mcp_api import screen
from mcp_api.log_commands import replay, tail
from mcp_api.options import data_dir_option, settings_of
from mcp_api.projection_commands import export, rebuild, verify
from streams.errors import LogfireMcpError

DEMO_DIR = Path("~/.logfire-mcp-demo")

_EXAMPLES = """
\b
Examples:
  logfire-mcp-server serve                     measure this machine, answer at port 8000
  logfire-mcp-server demo                      the same with a made-up fleet of servers
  logfire-mcp-server mcp                       MCP over stdio, for a client's configuration
  logfire-mcp-server tail --follow             watch the events as they come
  logfire-mcp-server export --format csv --metric system_cpu_usage --start -1h
  logfire-mcp-server verify                    prove that the database equals the log

Settings come from the environment and from a .env file in the working directory; options win.
"""


class Commands(click.Group):
    """Errors that are ours are one sentence on stderr and exit code 1, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LogfireMcpError as error:
            screen.failed(str(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)
        except BrokenPipeError:
            # The reader of a pipe had enough; Python must not complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@click.group(
    cls=Commands,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("logfire-mcp-server"), prog_name="logfire-mcp-server")
def main() -> None:
    """Observability for MCP servers and the systems around them."""


@main.command()
@click.option("--host", help="Address to listen on.  [env: LOGFIRE_MCP_HOST; default: 127.0.0.1]")
@click.option(
    "--port", type=int, help="Port; 0 takes a free one.  [env: LOGFIRE_MCP_PORT; default: 8000]"
)
@data_dir_option
def serve(host: str | None, port: int | None, data_dir: Path | None) -> None:
    """Measure this machine, take measurements, answer questions.

    \b
    Examples:
      logfire-mcp-server serve
      logfire-mcp-server serve --port 9000 --data-dir /var/lib/logfire-mcp
      LOGFIRE_MCP_TOKEN=secret logfire-mcp-server serve --host 0.0.0.0
    """
    from mcp_api.serving import serve_until_stopped

    settings = settings_of(host=host, port=port, data_dir=data_dir)
    asyncio.run(serve_until_stopped(settings))


@main.command()
@data_dir_option
def mcp(data_dir: Path | None) -> None:
    """MCP over stdin and stdout, for a client that starts its servers itself.

    Attaches to the server of the data directory if one runs, else starts one of its own; other
    clients attach to that.

    \b
    Examples:
      claude mcp add logfire-mcp -- logfire-mcp-server mcp
      {"mcpServers": {"logfire-mcp": {"command": "logfire-mcp-server", "args": ["mcp"]}}}
    """
    from mcp_api.stdio import serve_stdio

    asyncio.run(serve_stdio(settings_of(data_dir=data_dir)))


@main.command()
@click.option(
    "--hosts",
    type=click.IntRange(1, 1_000),
    default=8,
    show_default=True,
    help="Servers of the made-up fleet.",
)
@click.option("--host", help="Address to listen on.  [env: LOGFIRE_MCP_HOST; default: 127.0.0.1]")
@click.option(
    "--port", type=int, help="Port; 0 takes a free one.  [env: LOGFIRE_MCP_PORT; default: 8000]"
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEMO_DIR,
    show_default=True,
    help="Of the demo only: never mixed with your own data.",
)
def demo(hosts: int, host: str | None, port: int | None, data_dir: Path) -> None:
    """Serve a lively synthetic fleet, to try questions on.

    \b
    Examples:
      logfire-mcp-server demo
      logfire-mcp-server demo --hosts 50 --port 9000
    """
    from mcp_api.serving import serve_until_stopped

    settings = settings_of(host=host, port=port, data_dir=data_dir.expanduser())
    asyncio.run(serve_until_stopped(settings, demo_hosts=hosts))


for _command in (tail, replay, export, rebuild, verify):
    main.add_command(_command)
