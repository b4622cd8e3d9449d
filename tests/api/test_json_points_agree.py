"""However a request is read, at once, point by point or from dicts, the result is the same."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import InputError
from streams.ingest.json_points import parse_arguments, parse_body
from streams.ingest.parsed import Parsed
from streams.ingest.series_cache import SeriesCache
from streams.ingest.timestamps import ABSENT, time_ms, times_column
from tests.effort import examples

NOW_MS = 1_795_000_000_000
WARM = SeriesCache(entries_bytes_max=100_000, remembered_bytes_max=100_000)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
moments = st.builds(
    lambda seconds, minutes, spec: datetime.fromtimestamp(
        seconds, timezone(timedelta(minutes=minutes))
    ).isoformat(timespec=spec),
    st.floats(-3e8, 1_794_999_000),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
)
tags = st.dictionaries(
    st.sampled_from(["a", "b", "é", ""]) | st.text(max_size=3),
    st.sampled_from(["", "x", "y", "ü"]) | st.text(max_size=3),
    max_size=3,
)
plain = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["cpu", "mem", "größe"]),
        "value": st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from(["NaN", "+Inf", "-Inf", "Inf", "StaleNaN"]),
        "metric_type": st.sampled_from(["gauge", "counter", "histogram", "summary"]),
    },
    optional={
        "tags": st.sampled_from([{"host": "a"}, {"host": "b", "z": ""}, {}]),
        "unit": st.sampled_from(["", "s"]),
        "timestamp": moments | st.integers(0, NOW_MS // 1000) | st.floats(0, 2e12),
    },
)
odd = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(st.characters(), max_size=5) | junk,
        "value": junk | st.floats(allow_nan=False, allow_infinity=False),
        "metric_type": st.just("gauge") | junk,
        "tags": tags | junk,
        "timestamp": moments | junk,
        "unit": st.text(st.characters(), max_size=3) | junk,
        "x": junk,
    },
)
points = st.lists(plain, max_size=8) | st.lists(plain | odd | junk, max_size=8)
arguments = st.fixed_dictionaries(
    {"source": st.sampled_from(["a", "b"]), "metrics": points},
    optional={"request_id": st.sampled_from(["r", None])},
) | st.dictionaries(
    st.sampled_from(["source", "metrics", "request_id", "other"]), points | junk, max_size=3
)


def told(read: Any) -> object:
    """A result, or an error's words, as a value that compares (NaNs by their bits)."""
    try:
        result: Parsed = read()
    except InputError as error:
        return type(error), str(error)
    batch = result.batch
    return (
        result.source,
        (batch.labels, batch.types, batch.units),
        (batch.series.tolist(), batch.at_ms.tolist(), batch.value.tobytes()),
        (batch.series.dtype, batch.at_ms.dtype, batch.value.dtype),
        result.rejected,
        result.rejected_count,
        result.request_id,
        result.digest,
        None if result.indices is None else result.indices.tolist(),
    )


@settings(max_examples=examples(400))
@given(arguments, st.booleans())
def test_bytes_and_dicts_and_any_memory_give_the_same(
    sent: dict[str, object], escaped: bool
) -> None:
    text = json.dumps(sent, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    if b"\xed" in text and not _is_utf8(text):
        text = json.dumps(sent).encode()
    expected = told(lambda: parse_arguments(json.loads(text), NOW_MS, cache=SeriesCache()))
    assert told(lambda: parse_body(text, NOW_MS, cache=SeriesCache())) == expected
    for _ in range(2):
        assert told(lambda: parse_body(memoryview(text), NOW_MS, cache=WARM)) == expected


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=examples(500))
@given(st.lists(plain, min_size=1, max_size=4), st.data())
def test_a_damaged_body_is_an_input_error_or_some_request(
    sent: list[object], data: st.DataObject
) -> None:
    text = bytearray(json.dumps({"source": "a", "metrics": sent, "request_id": "r"}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"\xff", b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"\\ud800"])
            | st.binary(max_size=2)
        )
        if not text:
            text = bytearray(b" ")
    cold = told(lambda: parse_body(bytes(text), NOW_MS, cache=SeriesCache()))
    assert told(lambda: parse_body(bytes(text), NOW_MS, cache=WARM)) == cold


@settings(max_examples=examples(300))
@given(st.lists(moments | st.none() | st.integers(0, 2**40), min_size=1, max_size=3))
def test_a_column_of_times_is_its_times(few: list[Any]) -> None:
    spread = [f"2026-01-01T00:00:{i:02}.{i:03}Z" for i in range(12)]
    for column in (few, [*spread, *few], [*spread, *[t for t in few if isinstance(t, str)]]):
        try:
            expected = [ABSENT if one is None else time_ms(one) for one in column]
        except ValueError:
            continue
        np.testing.assert_array_equal(times_column(column), np.array(expected, np.int64))


@settings(max_examples=examples(500))
@given(
    st.text("0123456789-:TtZz +.,", min_size=20, max_size=30)
    | st.from_regex(
        r"\A(19|20)\d\d-[01]\d-[0-3]\d[T ][0-2]\d:?[0-6]\d(:?[0-6]\d(\.\d{1,9})?)?"
        r"(Z|[+-][0-2]\d(:?[0-6]\d)?)\Z"
    )
)
def test_no_column_takes_what_a_single_time_does_not(text: str) -> None:
    column = [text, *(f"2026-01-01T00:00:{i:02}Z" for i in range(20))]
    try:
        expected = time_ms(text)
    except ValueError:
        expected = None
    try:
        got = int(times_column(column)[0])
    except ValueError:
        got = None
    assert got == expected
