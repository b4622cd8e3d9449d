"""``tail`` and ``replay``: the log's events as lines, read beside a running server."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcp_api.options import data_dir_option, settings_of
from streams.events.topics import TOPICS

if TYPE_CHECKING:
    from streams.log.opening import ServerLog
    from streams.log.protocol import Record

TAIL_RECORDS = 10
FOLLOW_S = 1.0

topic_option = click.option(
    "--topic",
    "topics",
    multiple=True,
    type=click.Choice(TOPICS),
    help="Only these topics; may be given several times.  [default: all]",
)


@click.command()
@topic_option
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for more.")
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    help="ISO 8601 or relative (-15m).  [default: the last ten records]",
)
@click.option("--dead", is_flag=True, help="Only dead letters: what could not be taken, and why.")
@click.option("--json", "as_json", is_flag=True, help="With --dead: lines for `requeue`.")
@data_dir_option
def tail(
    topics: tuple[str, ...],
    follow: bool,
    begin: str | None,
    data_dir: Path | None,
    *,
    dead: bool,
    as_json: bool,
) -> None:
    """Show events as they come, one readable line each.

    \b
    Examples:
      logfire-mcp-server tail
      logfire-mcp-server tail --topic metrics.windows --from -1h --no-follow
      logfire-mcp-server tail --dead --json --from -1d --no-follow > dead.jsonl
    """
    from mcp_api.dead_letters import dead_line
    from mcp_api.replay_lines import tail_line

    if as_json and not dead:
        raise click.UsageError("--json goes with --dead; `replay` prints every event as JSON")
    if dead:
        topics = ("deadletter",)
    line = dead_line if as_json else tail_line
    with closing(_open(data_dir)) as log:
        chosen = topics or TOPICS
        offsets = _offsets(log, chosen, begin) if begin else _last(log, chosen)
        while True:
            for record in _records(log, offsets, dict(log.ends()), None):
                click.echo(line(record))
                offsets[record.topic, record.partition] = record.offset + 1
            if not follow:
                return
            log.wait_for(offsets, FOLLOW_S)


@click.command()
@topic_option
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    help="When they were appended: ISO 8601 or relative (-1h).  [default: the start]",
)
@click.option("--until", "until", metavar="TIME", help="The same, exclusive.  [default: the end]")
@data_dir_option
def replay(
    topics: tuple[str, ...], begin: str | None, until: str | None, data_dir: Path | None
) -> None:
    """Print every event as one exact JSON line: position, headers, decoded data.

    Lines are in the order in which the log got them. NaN and infinities are strings.

    \b
    Examples:
      logfire-mcp-server replay --from -1h --topic metrics.points | jq .headers.ce_actor
      logfire-mcp-server replay --until 2026-01-31T12:00:00Z > audit.jsonl
    """
    from mcp_api.replay_lines import audit_line
    from mcp_api.tools.times import parse_time
    from streams.log.wall_clock import wall_clock_ms

    with closing(_open(data_dir)) as log:
        chosen = topics or TOPICS
        offsets = _offsets(log, chosen, begin)
        until_ms = parse_time(until, wall_clock_ms(), "--until") if until else None
        write = sys.stdout.buffer.write
        for record in _records(log, offsets, dict(log.ends()), until_ms):
            write(audit_line(record) + b"\n")
        sys.stdout.buffer.flush()


def _open(data_dir: Path | None) -> ServerLog:
    from streams.log.opening import open_log_to_read

    return open_log_to_read(settings_of(data_dir=data_dir))


def _offsets(
    log: ServerLog, topics: tuple[str, ...], begin: str | None
) -> dict[tuple[str, int], int]:
    """Where each partition starts: at a time, or at its first record."""
    import asyncio

    from mcp_api.tools.times import parse_time
    from streams.log.wall_clock import wall_clock_ms

    if begin is None:
        return {place: start for place, start in log.starts().items() if place[0] in topics}
    at_ms = parse_time(begin, wall_clock_ms(), "--from")

    async def find() -> dict[tuple[str, int], int]:
        return {
            (topic, partition): offset
            for topic in topics
            for partition, offset in (await log.offsets_for_time(topic, at_ms)).items()
        }

    return asyncio.run(find())


def _last(log: ServerLog, topics: tuple[str, ...]) -> dict[tuple[str, int], int]:
    starts = log.starts()
    return {
        place: max(starts[place], end - TAIL_RECORDS)
        for place, end in log.ends().items()
        if place[0] in topics
    }


def _records(
    log: ServerLog,
    offsets: dict[tuple[str, int], int],
    ends: dict[tuple[str, int], int],
    until_ms: int | None,
) -> Iterator[Record]:
    """All records in [offsets, ends), by the time of their append; ends at the first too late."""
    streams = [_partition(log, *place, start, ends[place]) for place, start in offsets.items()]
    order = heapq.merge(*streams, key=lambda r: (r.at_ms, r.topic, r.partition, r.offset))
    for record in order:
        if until_ms is not None and record.at_ms >= until_ms:
            return
        yield record


def _partition(
    log: ServerLog, topic: str, partition: int, start: int, end: int
) -> Iterator[Record]:
    offset = start
    while offset < end:
        records = log.read_now(topic, partition, offset, records_max=64)
        if not records:
            return
        for record in records:
            if record.offset >= end:
                return
            yield record
        offset = records[-1].offset + 1
