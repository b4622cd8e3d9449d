"""``requeue``: corrected dead letters, sent again to where they came from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from mcp_api import screen
from mcp_api.options import data_dir_option, settings_of

if TYPE_CHECKING:
    from mcp_api.requeueing import Destination

LINE_BYTES_MAX = 8 << 20


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent and what refused.")
@data_dir_option
def requeue(file: BinaryIO, data_dir: Path | None, *, dry_run: bool) -> None:
    """Send corrected dead letters again; FILE has lines of `tail --dead --json`, "-" is stdin.

    A line that would be refused again, even in part, is not sent, and the exit code is 1. On the
    embedded log the server must not run meanwhile.

    \b
    Examples:
      logfire-mcp-server tail --dead --json --from -1d --no-follow > dead.jsonl
      logfire-mcp-server requeue --dry-run dead.jsonl
      logfire-mcp-server requeue dead.jsonl
    """
    from mcp_api.requeueing import Destination
    from streams.errors import InputError

    sent = refused = 0
    with closing(Destination(settings_of(data_dir=data_dir))) as to:
        for number, line in _lines(file):
            try:
                told = _send(to, line, dry_run=dry_run)
            except InputError as error:
                refused += 1
                screen.failed(f"line {number}: {error}")
            else:
                sent += 1
                click.echo(f"line {number}: {told}")
    click.echo(f"{sent} {'would be sent' if dry_run else 'sent'}, {refused} refused")
    if refused:
        sys.exit(1)


def _send(to: Destination, line: bytes, *, dry_run: bool) -> str:
    from mcp_api.dead_letters import read_corrected

    corrected = read_corrected(line)
    points = to.check(corrected)
    where = corrected.topic if dry_run else to.send(corrected)
    return f"{points:,} points to {where}"


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1 on."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise click.ClickException(f"line {number} is longer than {LINE_BYTES_MAX >> 20} MiB")
        if line.strip():
            yield number, line
