"""``rebuild``, ``verify``, ``export``: through the running server, or on the files themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcp_api import screen
from mcp_api.options import data_dir_option, settings_of
from streams.errors import LogfireMcpError, ProjectionError

if TYPE_CHECKING:
    from mcp_api.discovery import Found
    from projections.rebuild import Rebuilt
    from projections.verify import Hashes
    from streams.config import Settings

WORK_S = 3_600.0


@click.command()
@data_dir_option
def rebuild(data_dir: Path | None) -> None:
    """Build the database anew from the log.

    A running server goes on answering from the old one until the new one is complete.
    """
    from mcp_api.data_dir import owned_log, projection_path
    from projections.rebuild import Rebuilt, rebuild_file

    settings = settings_of(data_dir=data_dir)
    found = _found(settings)
    with _progress("Rebuilding") as show:
        if found is not None:
            done = _ask(settings, found, "/admin/rebuild", show)
            rebuilt = Rebuilt(**done)
        else:
            with owned_log(settings) as log:
                rebuilt = rebuild_file(projection_path(settings), log, show)
    screen.out.print(
        f"Rebuilt: {rebuilt.records:,} records, {rebuilt.points:,} points in "
        f"{rebuilt.elapsed_s:.1f} s ({rebuilt.points_per_s:,.0f} points/s)."
    )


@click.command()
@data_dir_option
def verify(data_dir: Path | None) -> None:
    """Prove that the database equals the log: hashes of both, at the same position.

    Exit code 1 if they differ. A running server goes on; what comes meanwhile is not looked at.
    """
    from projections.verify import verify as compare
    from streams.log.opening import open_log_to_read

    settings = settings_of(data_dir=data_dir)
    stored = stored_hashes(settings)
    with (
        closing(open_log_to_read(settings)) as log,
        _progress("Folding the log") as show,
    ):
        report = compare(log, stored, show)
    where = ", ".join(
        f"{topic}/{number}@{offset - 1}"
        for (topic, number), offset in sorted(stored.positions.items())
        if offset
    )
    for name, table in stored.tables.items():
        screen.out.print(f"  {name:<10} {table}")
    if not report.equal:
        for difference in report.differences:
            screen.failed(difference)
        raise ProjectionError(f"the database differs from the log at {where}: run rebuild")
    screen.out.print(f"Equal: the database is the fold of the log at {where or 'its start'}.")


@click.command()
@click.option(
    "--format",
    "format_",
    default="csv",
    show_default=True,
    type=click.Choice(["json", "csv", "prometheus", "influx", "parquet"]),
)
@click.option("--metric", "metrics", multiple=True, help="Only these metrics; several are fine.")
@click.option("--start", default="-1h", show_default=True, help="ISO 8601 or relative.")
@click.option("--end", default="now", show_default=True)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    help="Filters, as in query_metrics: host=web-1, host=!=web-1, host==~web-.*",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file.  [default: stdout]",
)
@data_dir_option
def export(  # noqa: PLR0917 - click passes them by name
    format_: str,
    metrics: tuple[str, ...],
    start: str,
    end: str,
    tags: tuple[str, ...],
    output: Path | None,
    data_dir: Path | None,
) -> None:
    """Write raw samples to a file or to stdout.

    \b
    Examples:
      logfire-mcp-server export --metric system_cpu_usage --start -24h -o cpu.csv
      logfire-mcp-server export --format parquet -o everything.parquet --start 2026-01-01T00:00:00Z
      logfire-mcp-server export --format prometheus | promtool check metrics
    """
    from mcp_api.export_files import export_chunks

    settings = settings_of(data_dir=data_dir)
    if output is None and format_ == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is not for a terminal: give -o FILE")
    asked = {
        "format": format_,
        "start_time": start,
        "end_time": end,
        "tags": dict(_tag(tag) for tag in tags),
        **({"metric_names": list(metrics)} if metrics else {}),
    }
    with export_chunks(settings, _found(settings), asked) as chunks:
        size = _write(chunks, output)
    if output is not None:
        screen.err.print(f"{output}: {size:,} bytes")


def _found(settings: Settings) -> Found | None:
    from mcp_api.discovery import find

    return find(settings.data_dir)


def stored_hashes(settings: Settings) -> Hashes:
    """Of the running server's database, or of the file."""
    from mcp_api.admin_routes import parse_hashes
    from mcp_api.data_dir import owned_log, projection_path
    from projections.duck import DuckProjection
    from projections.reading import reading
    from projections.verify import VERIFY_TIMEOUT_S, projection_hashes

    found = _found(settings)
    if found is not None:
        return parse_hashes(_ask(settings, found, "/admin/verify", lambda _: None))
    path = projection_path(settings)
    if not path.exists():
        raise ProjectionError(f"there is no database at {path}: start the server first")
    with owned_log(settings) as log:
        projection = DuckProjection.open(path, log, live_points_max=0)
        try:
            with reading(projection, VERIFY_TIMEOUT_S) as reader:
                return projection_hashes(reader)
        finally:
            projection.close()


def _ask(
    settings: Settings, found: Found, path: str, show: Callable[[Rebuilt], None]
) -> dict[str, Any]:
    """The "done" line of an /admin route; its "error" line and refusals are raised."""
    import httpx

    from projections.rebuild import Rebuilt

    headers = {} if settings.token is None else {"authorization": f"Bearer {settings.token}"}
    timeout = httpx.Timeout(WORK_S, connect=5.0)
    try:
        with httpx.stream(
            "POST", found.url + path, headers=headers, timeout=timeout, trust_env=False
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                raise LogfireMcpError(answer.json()["error"]["message"])
            for line in answer.iter_lines():
                told = json.loads(line)
                match told.pop("event"):
                    case "progress":
                        show(Rebuilt(**told))
                    case "done":
                        return dict(told)
                    case _:
                        raise LogfireMcpError(told["error"]["message"])
    except httpx.HTTPError as error:
        raise LogfireMcpError(f"the server at {found.url} went away: {error}") from error
    raise LogfireMcpError(f"the server at {found.url} went away before it was done")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[Rebuilt], None]]:
    """A bar for a person, nothing for a pipe."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} records"),
        TextColumn("{task.fields[rate]:,.0f} points/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, disable=not screen.err.is_terminal) as bar:
        task = bar.add_task(title, total=0, rate=0.0)

        def show(rebuilt: Rebuilt) -> None:
            bar.update(
                task,
                completed=rebuilt.records,
                total=rebuilt.records_total,
                rate=rebuilt.points_per_s,
            )

        yield show


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--tag is {text!r}; expected NAME=VALUE, such as host=web-1")
    return name, value


def _write(chunks: Iterator[bytes], output: Path | None) -> int:
    """The bytes written; a file appears whole or not at all."""
    if output is None:
        size = sum(sys.stdout.buffer.write(chunk) for chunk in chunks)
        sys.stdout.buffer.flush()
        return size
    beside = output.with_name(f".{output.name}.part")
    try:
        with beside.open("wb") as file:
            size = sum(file.write(chunk) for chunk in chunks)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return size
