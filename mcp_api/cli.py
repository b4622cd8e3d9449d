"""``logfire-mcp-server``: the command line. What each command needs is imported when it runs."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

import mcp_api.plain_pydantic  # noqa: F401 - before anything imports pydantic
from mcp_api import screen
from mcp_api.grafana_command import grafana
from mcp_api.log_commands import replay, tail
from mcp_api.options import data_dir_option, settings_of
from mcp_api.projection_commands import export, rebuild, verify
from mcp_api.query_command import query
from mcp_api.requeue_command import requeue
from mcp_api.rule_commands import rules
from mcp_api.target_commands import targets
from mcp_api.validate_command import validate
from streams.errors import ConfigError, LogfireMcpError

DEMO_DIR = Path("~/.logfire-mcp-demo")

_EXAMPLES = """
\b
Examples:
  logfire-mcp-server serve                     measure this machine, answer at port 8000
  logfire-mcp-server demo                      the same with a made-up fleet of servers
  logfire-mcp-server worker                    run the processors on Kafka, beside `serve`
  logfire-mcp-server mcp                       MCP over stdio, for a client's configuration
  logfire-mcp-server query 'system_cpu_usage'  ask in PromQL; with --start, a chart
  logfire-mcp-server tail --follow             watch the events as they come
  logfire-mcp-server export --format csv --metric system_cpu_usage --start -1h
  logfire-mcp-server rules import FILE         take the rules of a Prometheus rule file
  logfire-mcp-server targets add NAME URL      check the health of one more target
  logfire-mcp-server verify                    prove that the database equals the log
  logfire-mcp-server validate --integration    check the installation and what it is joined to

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
@click.option(
    "--with-worker",
    is_flag=True,
    help="On Kafka: run the processors in this process, too, instead of in workers.",
)
def serve(host: str | None, port: int | None, data_dir: Path | None, *, with_worker: bool) -> None:
    """Measure this machine, take measurements, answer questions.

    With KAFKA_BOOTSTRAP_SERVERS this is one node of any number; the log is on Kafka.

    \b
    Examples:
      logfire-mcp-server serve
      logfire-mcp-server serve --port 9000 --data-dir /var/lib/logfire-mcp
      LOGFIRE_MCP_TOKEN=secret logfire-mcp-server serve --host 0.0.0.0
    """
    from mcp_api.serving import serve_until_stopped

    settings = settings_of(host=host, port=port, data_dir=data_dir)
    asyncio.run(serve_until_stopped(settings, with_worker=with_worker))


@main.command()
@click.option("--host", help="Address to listen on.  [env: LOGFIRE_MCP_HOST; default: 127.0.0.1]")
@click.option(
    "--port", type=int, help="Port; 0 takes a free one.  [env: LOGFIRE_MCP_PORT; default: 8000]"
)
def worker(host: str | None, port: int | None) -> None:
    """Run the processors on Kafka, with as many other workers as you start.

    The workers share the partitions out among themselves: one that ends or hangs is replaced by the
    others within KAFKA_SESSION_TIMEOUT, and nothing counts twice. More workers than
    KAFKA_PARTITIONS wait in reserve. A worker keeps nothing on disk. It answers /health, /ready and
    /metrics, and ends with exit code 1 where it cannot go on: let a supervisor start it again.

    \b
    Examples:
      KAFKA_BOOTSTRAP_SERVERS=localhost:9092 logfire-mcp-server worker --port 8001
      docker compose -f docker-compose.kafka.yml up -d --scale worker=3
    """
    from mcp_api.worker import work_until_stopped

    sys.exit(asyncio.run(work_until_stopped(settings_of(host=host, port=port))))


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
    if settings.kafka() is not None:
        raise ConfigError(
            "KAFKA_BOOTSTRAP_SERVERS is set, and a made-up fleet has no place in a log that others "
            "share: unset it for the demo"
        )
    asyncio.run(serve_until_stopped(settings, demo_hosts=hosts))


for _command in (
    *(query, rules, targets, tail, replay, requeue, export, rebuild, verify),
    *(validate, grafana),
):
    main.add_command(_command)
