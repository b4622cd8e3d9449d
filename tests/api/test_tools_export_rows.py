"""What is exported as JSON, CSV, line protocol or Parquet reads back as what was stored."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given

from mcp_api.tools.export_parquet import parquet_file
from mcp_api.tools.export_rows import Skipped, csv_rows, influx_rows, json_rows
from mcp_api.tools.times import parse_time
from tests.api.exported import Row, batches, row_lists


def _sorted(rows):
    return sorted(rows, key=lambda row: (row.labels, row.at_ms))


def _value(read: float | str) -> float:
    return float(read)


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def _check(read: list[tuple[Row, float]], rows: list[Row]) -> None:
    """``read``: rows with a value of zero, and their value (NaN is not equal to itself)."""
    expected = _sorted(rows)
    assert [row for row, _ in read] == [_zero(row) for row in expected]
    for (_, value), row in zip(read, expected, strict=True):
        assert _same(value, row.value)


def _zero(row: Row) -> Row:
    return Row(row.name, row.tags, row.type, row.unit, row.at_ms, 0.0)


def _row(name, tags, kind, unit, time) -> Row:
    at_ms = parse_time(time, 0, "timestamp")
    return Row(name, tuple(sorted(tags.items())), kind, unit, at_ms, 0.0)


@given(row_lists())
def test_json_reads_back(rows) -> None:
    read = json.loads(b"".join(json_rows(batches(rows))), parse_constant=_no_constant)
    columns = ("name", "tags", "metric_type", "unit", "timestamp")
    _check([(_row(*(one[c] for c in columns)), _value(one["value"])) for one in read], rows)


def _no_constant(text: str) -> float:
    raise AssertionError(f"{text} is not JSON")


@given(row_lists())
def test_csv_reads_back(rows) -> None:
    text = b"".join(csv_rows(batches(rows))).decode()
    read = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert text.startswith("name,timestamp,value,metric_type,unit,tags\r\n")
    assert all(None not in one and None not in one.values() for one in read)
    _check(
        [
            (
                _row(
                    one["name"],
                    json.loads(one["tags"]),
                    one["metric_type"],
                    one["unit"],
                    one["timestamp"],
                ),
                _value(one["value"]),
            )
            for one in read
        ],
        rows,
    )


@given(row_lists())
def test_parquet_reads_back(rows) -> None:
    data = b"".join(parquet_file(batches(rows)))
    read = pq.read_table(pa.BufferReader(data)).to_pylist()
    _check(
        [
            (
                Row(
                    one["name"],
                    tuple(sorted(json.loads(one["tags"]).items())),
                    one["metric_type"],
                    one["unit"],
                    round(one["timestamp"].timestamp() * 1000),
                    0.0,
                ),
                one["value"],
            )
            for one in read
        ],
        rows,
    )


@given(row_lists())
def test_line_protocol_reads_back_but_for_line_ends_and_last_backslashes(rows) -> None:
    skipped = Skipped()
    text = b"".join(influx_rows(batches(rows), skipped)).decode()
    writable = [row for row in _sorted(rows) if math.isfinite(row.value)]
    assert skipped.count == len(rows) - len(writable)
    # Not splitlines, which also splits at characters that line protocol takes as text.
    lines = text.removesuffix("\n").split("\n") if text else []
    assert len(lines) == len(writable)
    for line, row in zip(lines, writable, strict=True):
        name, tags, value, nanoseconds = _parse_line(line)
        assert name == _written(row.name)
        assert sorted(tags) == sorted((_written(k), _written(v)) for k, v in row.tags)
        assert value == row.value
        assert nanoseconds == row.at_ms * 1_000_000


def _written(text: str) -> str:
    text = re.sub(r"[\r\n]+", " ", text)
    return text + " " if text.endswith("\\") else text


def _parse_line(line: str) -> tuple[str, list[tuple[str, str]], float, int]:
    """InfluxDB's own way: a backslash before a special character takes its meaning away."""
    assert not line.startswith("#")
    head, fields, time = re.split(r"(?<!\\) ", line)
    measurement, *pairs = re.split(r"(?<!\\),", head)
    tags = []
    for pair in pairs:
        key, value = re.split(r"(?<!\\)=", pair)
        tags.append((_plain(key, ",= "), _plain(value, ",= ")))
    assert fields.startswith("value=")
    return _plain(measurement, ", #"), tags, float(fields.removeprefix("value=")), int(time)


def _plain(text: str, special: str) -> str:
    return re.sub(rf"\\([{re.escape(special)}])", r"\1", text)


def test_times_that_nanoseconds_cannot_hold_are_skipped_and_counted() -> None:
    skipped = Skipped()
    rows = [Row("m", (), "gauge", "", at_ms, 1.0) for at_ms in (-(10**14), 0, 5, 10**14)]
    lines = b"".join(influx_rows(batches(rows), skipped)).decode().splitlines()
    assert [int(line.rsplit(" ", 1)[1]) for line in lines] == [0, 5_000_000]
    assert skipped.count == 2


def test_nothing_is_a_valid_file_too() -> None:
    assert json.loads(b"".join(json_rows([]))) == []
    assert b"".join(csv_rows([])) == b"name,timestamp,value,metric_type,unit,tags\r\n"
    assert b"".join(influx_rows([], Skipped())) == b""
    assert pq.read_table(pa.BufferReader(b"".join(parquet_file([])))).num_rows == 0
