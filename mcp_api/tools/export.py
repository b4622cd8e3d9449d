"""`export_metrics`: raw samples as a file, inline where it is small, else as a link.

`open_export` is what the HTTP route and the command line stream from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from mcp_api.tools.answer import ToolAnswer
from mcp_api.tools.arguments import check_arguments
from mcp_api.tools.export_parquet import parquet_file
from mcp_api.tools.export_prometheus import prometheus_text
from mcp_api.tools.export_rows import Skipped, csv_rows, influx_rows, json_rows
from mcp_api.tools.selection import parse_range, parse_tags
from mcp_api.tools.specs import EXPORT
from mcp_api.tools.text import export_text
from mcp_api.tools.times import iso
from mcp_api.tools.values import as_of_content, json_chars
from mcp_api.tools.why_empty import unknown_metric, why_empty
from projections.answers import Matcher, Selection
from projections.queries import Queries
from streams.errors import InputError

ROWS_MAX = 5_000_000
"""Samples of one export: 100 MB while it is streamed."""

INLINE_CHARS_MAX = 24_000
"""6,000 tokens; less where names and link are long, so that an answer stays below 8,000."""

URL_CHARS_MAX = 8_000
"""What servers and proxies on the way commonly take."""

_ANSWER_CHARS_MAX = 29_000  # but for the text's first lines and the fixed fields
# A row has more than 12 characters, so what has 2,000 is not inlined. Prometheus' rows are states
# of series: how many there are is known after all samples are read.
_ROWS_TO_DECIDE = {"json": 2_000, "csv": 2_000, "influx": 2_000, "parquet": 1}
PATH = "/export"

MIME_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "prometheus": "text/plain; version=0.0.4; charset=utf-8",
    "influx": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_SUFFIXES = {"prometheus": "prom", "influx": "lp"}


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export: ``metric_names`` none means all; times in Unix ms, both inclusive."""

    format: str
    metric_names: tuple[str, ...]
    tags: Mapping[str, str]
    start_ms: int
    end_ms: int

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        return parse_tags(self.tags)


@dataclass(frozen=True, slots=True)
class ExportStream:
    """``rows``: samples selected, held in memory at 20 bytes each until ``chunks`` is dropped;
    ``truncated``: the row limit cut some off (the last series by their text); ``skipped``: samples
    that the format cannot write, known when ``chunks`` has ended."""

    chunks: Iterator[bytes]
    mime_type: str
    file_name: str
    rows: int
    truncated: bool
    skipped: Skipped = field(default_factory=Skipped)


def parse_export(arguments: Mapping[str, Any], now_ms: int) -> ExportRequest:
    """The request of a tool call's or a URL's arguments; `InputError` for invalid ones."""
    check_arguments(EXPORT.name, EXPORT.input_schema, arguments)
    start_ms, end_ms = parse_range(arguments, now_ms)
    asked = arguments.get("format", "json")
    return ExportRequest(
        format="influx" if asked == "influxdb" else asked,
        metric_names=tuple(dict.fromkeys(arguments.get("metric_names", ()))),
        tags=dict(arguments.get("tags", {})),
        start_ms=start_ms,
        end_ms=end_ms,
    )


def export_path(request: ExportRequest, min_position: str = "") -> str:
    """Path and query under which `export_arguments` finds the same request, times made absolute."""
    items = [("format", request.format)]
    items += [("metric_names", name) for name in request.metric_names]
    items += [("start_time", iso(request.start_ms)), ("end_time", iso(request.end_ms))]
    if request.tags:
        items.append(("tags", json.dumps(request.tags, ensure_ascii=False, separators=(",", ":"))))
    if min_position:
        items.append(("min_position", min_position))
    return f"{PATH}?{urlencode(items)}"


def export_arguments(items: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The tool's arguments of a URL's decoded query, not checked yet.

    ``metric_names`` may stand several times; ``tags`` is a JSON object. `InputError` otherwise.

    >>> export_arguments([("format", "csv"), ("metric_names", "a"), ("metric_names", "b")])
    {'format': 'csv', 'metric_names': ['a', 'b']}
    """
    arguments: dict[str, Any] = {}
    for name, value in items:
        if name == "metric_names":
            arguments.setdefault(name, []).append(value)
        elif name in arguments:
            raise InputError(f"{name[:60]} stands twice in the query", field=name[:60])
        elif name == "tags":
            try:
                arguments[name] = json.loads(value)
            except (ValueError, RecursionError) as error:
                message = f'tags is {value[:60]!r}; expected a JSON object such as {{"host":"a"}}'
                raise InputError(message, field="tags") from error
        else:
            arguments[name] = value
    return arguments


def open_export(
    queries: Queries, request: ExportRequest, *, rows_max: int = ROWS_MAX
) -> ExportStream:
    """The export as a stream, at most 5 million samples. Blocks: open and read it in a thread."""
    selection = Selection(None, request.matchers, request.start_ms, request.end_ms)
    names = request.metric_names or None
    exported = queries.export(selection, metrics=names, row_limit=rows_max)
    skipped = Skipped()
    suffix = _SUFFIXES.get(request.format, request.format)
    return ExportStream(
        chunks=_chunks(request.format, exported.batches, skipped),
        mime_type=MIME_TYPES[request.format],
        file_name=f"metrics.{suffix}",
        rows=exported.rows,
        truncated=exported.truncated,
        skipped=skipped,
    )


def export(
    queries: Queries, request: ExportRequest, *, base_url: str = "", min_position: str = ""
) -> ToolAnswer:
    """The tool's answer; ``url`` is relative to the server where ``base_url`` is empty."""
    url = base_url.rstrip("/") + export_path(request, min_position)
    if len(url) > URL_CHARS_MAX:
        raise InputError(
            f"metric_names and tags make a link of {len(url)} characters; at most {URL_CHARS_MAX} "
            "are taken: export in parts, or select by tags",
            field="metric_names",
        )
    as_of = as_of_content(queries.as_of())
    stream = open_export(queries, request, rows_max=_ROWS_TO_DECIDE.get(request.format, ROWS_MAX))
    inlined = request.format != "parquet" and not _cut_off(request, stream)
    room = min(INLINE_CHARS_MAX, _ANSWER_CHARS_MAX - json_chars([url, url, request.metric_names]))
    data = _read_whole(stream.chunks, room) if inlined else None
    content: dict[str, Any] = {
        "format": request.format,
        "metric_names": list(request.metric_names),
        "mime_type": stream.mime_type,
        "url": url,
        "range": {"start": iso(request.start_ms), "end": iso(request.end_ms)},
        "as_of": as_of,
        "truncated": False,
    }
    if data is not None:
        content["content"] = data.decode()
        content["size_bytes"] = len(data)
        content["row_count"] = _rows_written(request.format, content["content"], stream)
        if stream.skipped.count:
            content["skipped_count"] = stream.skipped.count
    if stream.truncated and request.format == "prometheus":
        content["truncated"] = True
        content["hint"] = f"of the first {ROWS_MAX} samples only; narrow the range or the names"
    if stream.rows == 0:
        content["why_empty"] = _why_empty(queries, request)
    return ToolAnswer(content, export_text(content), link=url if data is None else None)


def _chunks(kind: str, batches: Iterator[Any], skipped: Skipped) -> Iterator[bytes]:
    match kind:
        case "json":
            return json_rows(batches)
        case "csv":
            return csv_rows(batches)
        case "prometheus":
            return prometheus_text(batches)
        case "influx":
            return influx_rows(batches, skipped)
        case _:
            assert kind == "parquet", kind
            return parquet_file(batches)


def _cut_off(request: ExportRequest, stream: ExportStream) -> bool:
    return stream.truncated and request.format != "prometheus"


def _read_whole(chunks: Iterator[bytes], chars_max: int) -> bytes | None:
    """All of it, or None as soon as it is too large to be inlined."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > chars_max:
            return None
    return bytes(data) if json_chars(data.decode()) <= chars_max else None


def _rows_written(kind: str, text: str, stream: ExportStream) -> int:
    if kind == "prometheus":
        return sum(1 for line in text.split("\n") if line and not line.startswith("#"))
    return stream.rows - stream.skipped.count


def _why_empty(queries: Queries, request: ExportRequest) -> dict[str, Any]:
    for name in request.metric_names[:10]:
        selection = Selection(name, request.matchers, request.start_ms, request.end_ms)
        if len(request.metric_names) == 1:
            return why_empty(queries, selection)
        if queries.describe(name, limit=1) is None:
            return unknown_metric(queries, name)
    found = queries.time_range(Selection(None, request.matchers, request.start_ms, request.end_ms))
    if found is None:
        if not queries.nearest_names("", 1):
            return unknown_metric(queries, "")
        return {"reason": "no series has all of these tags together"}
    first, last = iso(found[0]), iso(found[1])
    return {
        "reason": f"no samples in the range; there are some from {first} to {last}",
        "data_range": {"start": first, "end": last},
    }
