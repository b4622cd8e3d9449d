"""``query``: a PromQL expression, asked of the running server; shown as a table or a chart."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from mcp_api import screen
from mcp_api.admin_client import running_server
from mcp_api.options import data_dir_option, settings_of
from mcp_api.terminal_chart import bounds, sparkline
from streams.errors import LogfireMcpError

if TYPE_CHECKING:
    from streams.config import Settings

ANSWER_S = 60.0
STEPS_DEFAULT = 60
SERIES_SHOWN_MAX = 40
_CHART_WIDTH_MAX = 80
_LABELS_CHARS_MAX = 100


@click.command()
@click.argument("expr")
@click.option("--at", help="At this time: ISO 8601 or relative.  [default: now]")
@click.option("--start", help="From this time on, at every step.")
@click.option("--end", help="To this time.  [default: now]")
@click.option("--step", help="Such as 30s or 5m.  [default: chosen]")
@click.option("--json", "as_json", is_flag=True, help="As Prometheus' HTTP API tells it.")
@data_dir_option
def query(  # noqa: PLR0917 - click passes them by name
    expr: str,
    at: str | None,
    start: str | None,
    end: str | None,
    step: str | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    """Ask the running server in PromQL.

    \b
    Examples:
      logfire-mcp-server query 'system_cpu_usage > 80'
      logfire-mcp-server query 'rate(system_network_receive_bytes_total[5m])' --start -1h
      logfire-mcp-server query 'avg by (host) (system_cpu_usage)' --start -24h --step 30m --json
    """
    if at is not None and (start or end or step):
        raise click.UsageError("--at is one time; --start, --end and --step are a range: give one")
    if start is None and (end or step):
        raise click.UsageError("--end and --step need --start")
    settings = settings_of(data_dir=data_dir)
    asked, steps_s = _asked(expr, at, start, end, step)
    answer = _ask(settings, "query" if start is None else "query_range", asked)
    if as_json:
        json.dump(answer, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    _show(answer["data"], steps_s)
    for note in (*answer.get("warnings", ()), *answer.get("infos", ())):
        screen.err.print(Text.assemble(("Note: ", "yellow"), _plain(note)))


def _asked(
    expr: str, at: str | None, start: str | None, end: str | None, step: str | None
) -> tuple[dict[str, str], Sequence[float]]:
    """The parameters of the request, and the times of a range's steps."""
    from mcp_api.tools.times import choose_step_ms, iso, parse_duration, parse_time
    from streams.log.wall_clock import wall_clock_ms

    now_ms = wall_clock_ms()
    if start is None:
        at_ms = now_ms if at is None else parse_time(at, now_ms, "--at")
        return {"query": expr, "time": _seconds(at_ms)}, ()
    start_ms = parse_time(start, now_ms, "--start")
    end_ms = now_ms if end is None else parse_time(end, now_ms, "--end")
    if start_ms > end_ms:
        raise click.UsageError(f"--start {iso(start_ms)} is after the end, {iso(end_ms)}")
    if step is None:
        step_ms = choose_step_ms(start_ms, end_ms, STEPS_DEFAULT)
    else:
        step_ms = parse_duration(step, "--step")
    asked = {"query": expr, "start": _seconds(start_ms), "end": _seconds(end_ms)}
    asked["step"] = _seconds(step_ms)
    steps = min((end_ms - start_ms) // step_ms + 1, 11_000)
    return asked, [(start_ms + n * step_ms) / 1_000 for n in range(steps)]


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1_000:.3f}"


def _ask(settings: Settings, path: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """The answer's JSON; `LogfireMcpError` for a refusal, or where no server runs."""
    import httpx

    url, headers = running_server(settings)
    try:
        answer = httpx.post(
            f"{url}/api/v1/{path}",
            data=asked,
            headers=headers,
            timeout=ANSWER_S,
            trust_env=False,
        )
        told: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise LogfireMcpError(f"the server at {url} did not answer: {error}") from error
    if answer.status_code != 200:
        problem = told.get("error", "")
        message = problem if isinstance(problem, str) else problem.get("message", "")
        raise LogfireMcpError(_plain(message or f"HTTP {answer.status_code}"))
    return told


def _show(data: Mapping[str, Any], steps_s: Sequence[float]) -> None:
    result = data["result"]
    if data["resultType"] in ("scalar", "string"):
        screen.out.print(Text(_plain(result[1])))
        return
    if not result:
        screen.err.print("Nothing: no series has a value there.")
        return
    if steps_s:
        screen.out.print(_chart(result, steps_s))
    else:
        screen.out.print(_table(result))
    if len(result) > SERIES_SHOWN_MAX:
        more = len(result) - SERIES_SHOWN_MAX
        screen.err.print(f"… and {more:,} more series; --json shows all.")


def _table(result: Sequence[Mapping[str, Any]]) -> Table:
    """One line a series; a range vector's samples with their times."""
    table = _bare_table()
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    for row in result[:SERIES_SHOWN_MAX]:
        if "value" in row:
            table.add_row(_series(row["metric"]), Text(row["value"][1]))
        else:
            values = "\n".join(f"{value} @ {at}" for at, value in row["values"])
            table.add_row(_series(row["metric"]), Text(values))
    return table


def _chart(result: Sequence[Mapping[str, Any]], steps_s: Sequence[float]) -> Table:
    """One line a series, all on one scale, with the smallest, largest and last value."""
    shown = result[:SERIES_SHOWN_MAX]
    lines = []
    for row in shown:
        values = {float(at): float(value) for at, value in row["values"]}
        lines.append([values.get(at) for at in steps_s])
    low, high = bounds([value for line in lines for value in line])
    table = _bare_table(header=True)
    table.add_column("series", overflow="fold")
    table.add_column(f"{low:.6g} to {high:.6g}", no_wrap=True, style="cyan")
    for title in ("min", "max", "last"):
        table.add_column(title, justify="right", no_wrap=True)
    width = max(10, min(_CHART_WIDTH_MAX, screen.out.width // 2))
    for row, line in zip(shown, lines, strict=True):
        numbers = [f"{value:.6g}" for value in (*bounds(line), float(row["values"][-1][1]))]
        table.add_row(_series(row["metric"]), sparkline(line, width, low, high), *numbers)
    return table


def _bare_table(*, header: bool = False) -> Table:
    return Table(box=None, show_header=header, pad_edge=False, header_style="dim")


def _series(metric: Mapping[str, str]) -> Text:
    """A series as PromQL writes it."""
    name = metric.get("__name__", "")
    labels = ", ".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in metric.items()
        if key != "__name__"
    )
    text = _plain(name + (f"{{{labels}}}" if labels or not name else ""))
    return Text(text if len(text) <= _LABELS_CHARS_MAX else text[: _LABELS_CHARS_MAX - 1] + "…")


def _plain(text: str) -> str:
    """Labels come from anywhere: nothing in them may steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
