"""Samples as text, one row each: JSON, CSV and InfluxDB line protocol.

What a row says of its series is written once a series; numbers and times are converted by Arrow's
kernels: some 2 million rows a second, not 0.2.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mcp_api.tools.series_columns import series_columns
from projections.influx_lines import TIME_MS_MAX, line_head
from streams.events.labels import parse_series

Parts = tuple[str, str, str]
"""Of one series: the text before a row's first number, between its two, and after the second."""

_MS_MIN, _MS_MAX = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999


@dataclass(slots=True)
class Skipped:
    """Counts the samples that a format cannot write; complete when its stream has ended."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """One series as an export names it; ``tags`` without the metric's name."""

    name: str
    tags: dict[str, str]
    type: str
    unit: str


def json_rows(batches: Iterable[Any]) -> Iterator[bytes]:
    """A JSON array of ``{name, value, metric_type, unit, tags, timestamp}``, one object a line.

    NaN and ±Inf are the strings ``"NaN"``, ``"+Inf"``, ``"-Inf"``; timestamps ISO 8601 in UTC.
    """
    empty = True
    for batch in batches:
        if batch.num_rows:
            text = _rows(batch, _json_parts, _json_values(batch), _iso_times(batch))
            yield b"[" + text[1:] if empty else text
            empty = False
    yield b"[]\n" if empty else b"\n]\n"


def csv_rows(batches: Iterable[Any]) -> Iterator[bytes]:
    """RFC 4180 with the header ``name,timestamp,value,metric_type,unit,tags``; tags are JSON."""
    yield b"name,timestamp,value,metric_type,unit,tags\r\n"
    for batch in batches:
        if batch.num_rows:
            yield _rows(batch, _csv_parts, _iso_times(batch), _plain_values(batch))


def influx_rows(batches: Iterable[Any], skipped: Skipped) -> Iterator[bytes]:
    """Line protocol: ``measurement,tag=v value=1.5 <Unix nanoseconds>``.

    https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ NaN and ±Inf cannot be
    written and are counted in ``skipped``; so are samples outside the years 1678 to 2262. A line
    end in a name or value becomes a blank, a trailing backslash gets a blank after it.
    """
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    for whole in batches:
        in_range = pc.and_(
            pc.less_equal(whole["at_ms"], TIME_MS_MAX),
            pc.greater_equal(whole["at_ms"], -TIME_MS_MAX),
        )
        batch = whole.filter(pc.and_(pc.is_finite(whole["value"]), in_range))
        skipped.count += whole.num_rows - batch.num_rows
        if batch.num_rows:
            # Milliseconds with six zeros behind are nanoseconds.
            yield _rows(batch, _influx_parts, _plain_values(batch), batch["at_ms"].cast(pa.utf8()))


def _rows(batch: Any, parts: Callable[[Series], Parts], first: Any, second: Any) -> bytes:
    """``before + first + between + second + after`` of every row, one after the other."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    found = series_columns(batch)
    table = [
        parts(Series(name, parse_series(text)[1], kind, unit))
        for text, name, kind, unit in zip(
            found.labels, found.names, found.types, found.units, strict=True
        )
    ]
    rows_of = pa.array(found.row)
    before, between, after = (
        pa.array([part[i] for part in table], pa.utf8()).take(rows_of) for i in range(3)
    )
    rows = pc.binary_join_element_wise(before, first, between, second, after, "")
    # The values of a fresh text array lie one after the other in its last buffer.
    size = pc.sum(pc.binary_length(rows)).as_py()
    return bytes(rows.buffers()[2][:size])


def _plain_values(batch: Any) -> Any:
    """Shortest decimal text that reads back the same; ``NaN``, ``+Inf``, ``-Inf`` as they are."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    text = batch["value"].cast(pa.utf8())
    finite = pc.is_finite(batch["value"])
    if pc.all(finite).as_py():
        return text
    special = pc.if_else(
        pc.is_nan(batch["value"]), "NaN", pc.if_else(pc.greater(batch["value"], 0), "+Inf", "-Inf")
    )
    return pc.if_else(finite, text, special)


def _json_values(batch: Any) -> Any:
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    text = _plain_values(batch)
    quoted = pc.binary_join_element_wise('"', text, '"', "")
    return pc.if_else(pc.is_finite(batch["value"]), text, quoted)


def _iso_times(batch: Any) -> Any:
    """ISO 8601 with milliseconds and Z; years outside 1 to 9999 are clamped, as everywhere."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    low = pc.min_element_wise(batch["at_ms"], _MS_MAX)
    text = pc.max_element_wise(low, _MS_MIN).cast(pa.timestamp("ms")).cast(pa.utf8())
    return pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _json_parts(series: Series) -> Parts:
    before = f',\n{{"name":{_json_text(series.name)},"value":'
    between = (
        f',"metric_type":{_json_text(series.type)},"unit":{_json_text(series.unit)},'
        f'"tags":{_json_text(series.tags)},"timestamp":"'
    )
    return before, between, '"}'


def _csv_parts(series: Series) -> Parts:
    after = _csv_text(series.type, series.unit, _json_text(series.tags))
    return _csv_text(series.name) + ",", ",", f",{after}\r\n"


def _csv_text(*fields: str) -> str:
    text = io.StringIO()
    # The writer quotes line ends only if they are among its own line end's characters.
    csv.writer(text, lineterminator="\r\n").writerow(fields)
    return text.getvalue().removesuffix("\r\n")


def _influx_parts(series: Series) -> Parts:
    return f"{line_head(series.name, series.tags)} value=", " ", "000000\n"
