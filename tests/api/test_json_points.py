"""The JSON of `collect_metrics`: good points become columns, each bad one gets its sentence."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from streams.errors import InputError, TooLarge
from streams.events.batch import STALE_BITS
from streams.events.labels import parse_series
from streams.ingest.json_points import parse_arguments, parse_body
from streams.ingest.parsed import Parsed
from streams.ingest.series_cache import SeriesCache

NOW_MS = 1_795_000_000_000
GOOD = {"name": "cpu", "value": 1.5, "metric_type": "gauge", "tags": {"host": "a"}}


def body(*points: object, **fields: object) -> bytes:
    return json.dumps({"source": "agent", "metrics": points, **fields}).encode()


def parsed(*points: object, **fields: object) -> Parsed:
    return parse_body(body(*points, **fields), NOW_MS, cache=SeriesCache())


def one_reason(point: object) -> str:
    """Why a point is refused, between two good ones that are taken."""
    result = parsed(GOOD, point, GOOD)
    assert len(result.batch) == 2
    assert result.rejected_count == 1
    (rejected,) = result.rejected
    assert rejected.index == 1
    return rejected.reason


def test_points_become_columns() -> None:
    result = parsed(
        GOOD,
        {"name": "requests_total", "value": 7, "metric_type": "counter", "unit": "1"},
        {**GOOD, "value": 2, "timestamp": "2026-11-18T10:00:00+02:00"},
    )
    batch = result.batch
    assert result.source == "agent"
    assert [parse_series(text) for text in batch.labels] == [
        ("cpu", {"host": "a", "source": "agent"}),
        ("requests_total", {"source": "agent"}),
    ]
    assert batch.types == ("gauge", "counter")
    assert batch.units == ("", "1")
    assert batch.series.tolist() == [0, 1, 0]
    assert batch.at_ms.tolist() == [NOW_MS, NOW_MS, 1_794_988_800_000]
    assert batch.value.tolist() == [1.5, 7.0, 2.0]
    assert (result.rejected, result.rejected_count) == ((), 0)


def test_no_points_are_no_error() -> None:
    assert len(parsed().batch) == 0
    assert len(parse_arguments({"source": "a", "metrics": []}, NOW_MS).batch) == 0


@pytest.mark.parametrize(
    ("sent", "value"),
    [("NaN", math.nan), ("+Inf", math.inf), ("Inf", math.inf), ("-Inf", -math.inf)],
)
def test_values_that_json_has_no_numbers_for_come_as_strings(sent: str, value: float) -> None:
    result = parsed(GOOD, {**GOOD, "value": sent})
    np.testing.assert_array_equal(result.batch.value, [1.5, value])


def test_the_staleness_marker_keeps_its_bits() -> None:
    for points in ([{**GOOD, "value": "StaleNaN"}], [{**GOOD, "value": "StaleNaN"}, 5]):
        assert parsed(*points).batch.value.view(np.uint64).tolist() == [STALE_BITS]


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (5, "the point is 5; expected an object"),
        (None, "the point is null"),
        ([], "the point is an array"),
        ({}, "name is missing"),
        ({"name": "a", "value": 1}, "metric_type is missing"),
        ({**GOOD, "value": True}, "value is true; expected a JSON number"),
        ({**GOOD, "value": "12"}, 'value is "12"; expected a JSON number, or one of "NaN"'),
        ({**GOOD, "value": "nan"}, 'value is "nan"'),
        ({**GOOD, "value": None}, "value is null"),
        ({**GOOD, "value": [1]}, "value is an array"),
        ({**GOOD, "value": 10**400}, "no number that 64-bit floats reach"),
        ({**GOOD, "metric_type": "gage"}, "expected one of counter, gauge, histogram, summary"),
        ({**GOOD, "metric_type": ["gauge"]}, "metric_type is an array"),
        ({**GOOD, "name": 5}, "name is 5; expected a string"),
        ({**GOOD, "name": ""}, "name is empty"),
        ({**GOOD, "name": "n" * 513}, "name is longer than 512 bytes"),
        ({**GOOD, "name": "\ud800"}, "lone surrogate"),
        ({**GOOD, "unit": 5}, "unit is 5; expected a string"),
        ({**GOOD, "unit": "u" * 65}, "unit is longer than 64 bytes"),
        ({**GOOD, "unit": "\udfff"}, "unit holds a lone surrogate"),
        ({**GOOD, "tags": []}, "tags is an array; expected an object of strings"),
        ({**GOOD, "tags": {"a": 5}}, 'tag "a" is 5; expected a string: put quotes'),
        ({**GOOD, "tags": {"a": True}}, 'tag "a" is true'),
        ({**GOOD, "tags": {"": "x"}}, "empty name"),
        ({**GOOD, "tags": {"source": "x"}}, "tag 'source' is taken"),
        ({**GOOD, "tags": {"__name__": "x"}}, "reserved"),
        ({**GOOD, "tags": {"a": "v" * 4097}}, "value longer than 4096 bytes"),
        ({**GOOD, "tags": {str(i): "v" for i in range(64)}}, "65 labels: at most 64"),
        ({**GOOD, "tags": {str(i): "v" * 4000 for i in range(5)}}, "longer than 16384 bytes"),
        ({**GOOD, "tags": {"a": "\udead"}}, "lone surrogate"),
        ({**GOOD, "labels": {}}, 'unknown field "labels"'),
        ({**GOOD, "metrictype": "x"}, 'did you mean "metric_type"?'),
        ({**GOOD, "timestamp": True}, "timestamp is true"),
        ({**GOOD, "timestamp": {}}, "timestamp is an object"),
        ({**GOOD, "timestamp": "2026-11-18T10:00:00"}, "without an offset"),
        ({**GOOD, "timestamp": "2026-11-18"}, "without an offset"),
        ({**GOOD, "timestamp": "2026-13-18T10:00:00Z"}, "which is no time"),
        ({**GOOD, "timestamp": "soon"}, "expected ISO 8601 with offset"),
        ({**GOOD, "timestamp": "1969-12-31T23:59:59Z"}, "before 1970"),
        ({**GOOD, "timestamp": -5}, "neither Unix seconds nor milliseconds"),
        ({**GOOD, "timestamp": 1e18}, "neither Unix seconds nor milliseconds"),
        ({**GOOD, "timestamp": 10**400}, "neither Unix seconds nor milliseconds"),
        ({**GOOD, "timestamp": NOW_MS + 600_001}, "at most 10 minutes"),
        ({**GOOD, "timestamp": 5e10}, "at most 10 minutes"),
    ],
    ids=str,
)
def test_a_bad_point_is_refused_with_its_reason_and_loses_no_other(
    point: object, reason: str
) -> None:
    assert reason in one_reason(point)
    assert len(one_reason(point)) < 700
    one_reason(point).encode()


def test_the_limit_of_the_future_itself_is_allowed() -> None:
    result = parsed({**GOOD, "timestamp": NOW_MS + 600_000})
    assert result.batch.at_ms.tolist() == [NOW_MS + 600_000]


def test_a_null_field_is_an_absent_one() -> None:
    result = parsed({**GOOD, "tags": None, "unit": None, "timestamp": None}, GOOD)
    assert result.batch.labels[0] == '{"__name__":"cpu","source":"agent"}'
    assert result.rejected_count == 0


def test_a_thousand_bad_points_are_counted_and_a_hundred_told() -> None:
    bad: list[object] = [{**GOOD, "value": "x"}] * 1_000
    late = {**GOOD, "timestamp": NOW_MS * 2}
    result = parsed(GOOD, late, *bad, late, GOOD)
    assert result.rejected_count == 1_002
    assert [one.index for one in result.rejected] == list(range(1, 101))
    assert result.indices is not None
    assert result.indices.tolist() == [0, 1_003]


def test_a_body_of_many_pieces_keeps_order_and_places() -> None:
    # The text of the last tag looks like a place to cut in every piece.
    points: list[dict[str, Any]] = [
        {**GOOD, "value": i, "tags": {"host": str(i % 700), "odd": '"},{"name":"x"},{' * 9}}
        for i in range(4_000)
    ]
    for place in (0, 1_999, 3_999):
        points[place]["value"] = None
    for separators in ((",", ":"), (" ,\n ", " : ")):
        text = json.dumps({"source": "agent", "metrics": points}, separators=separators)
        result = parse_body(text.encode(), NOW_MS, cache=SeriesCache())
        assert [one.index for one in result.rejected] == [0, 1_999, 3_999]
        good = [i for i in range(4_000) if i not in {0, 1_999, 3_999}]
        assert result.batch.value.tolist() == good
        hosts = [parse_series(text)[1]["host"] for text in result.batch.labels]
        assert [hosts[s] for s in result.batch.series] == [str(i % 700) for i in good]


def test_one_bad_point_does_not_slow_the_other_pieces_down_to_errors() -> None:
    points = [{**GOOD, "value": i} for i in range(5_000)]
    points[2_500]["value"] = "bad"
    cache = SeriesCache()
    for _ in range(2):
        result = parse_body(body(*points), NOW_MS, cache=cache)
        assert (len(result.batch), result.rejected_count) == (4_999, 1)


def test_a_series_stated_twice_has_what_its_last_point_states() -> None:
    counter = {**GOOD, "metric_type": "counter", "unit": "x"}
    result = parsed(GOOD, counter, GOOD, {**counter, "tags": {"host": "a", "no": ""}})
    assert len(result.batch.labels) == 1
    assert (result.batch.types, result.batch.units) == (("counter",), ("x",))
    assert result.batch.series.tolist() == [0, 0, 0, 0]


def test_the_last_of_two_equal_keys_counts() -> None:
    text = b'{"source":"x","metrics":[],"metrics":[{"name":"a","name":"b","value":1,"value":2,'
    text += b'"metric_type":"gauge","tags":{"t":"1","t":"2"}}],"source":"agent"}'
    result = parse_body(text, NOW_MS)
    assert result.batch.labels == ('{"__name__":"b","source":"agent","t":"2"}',)
    assert result.batch.value.tolist() == [2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b"{}", "source is missing"),
        (b'{"source":"a"}', "metrics is missing"),
        (b'{"source":5,"metrics":[]}', "source is 5; expected a string"),
        (b'{"source":"","metrics":[]}', "source is empty"),
        (b'{"source":{},"metrics":[]}', "source is an object"),
        (b'{"source":"\\ud800","metrics":[]}', "source holds a lone surrogate"),
        (b'{"source":"' + b"s" * 513 + b'","metrics":[]}', "longer than 512 bytes"),
        (b'{"source":"a","metrics":{}}', "metrics is an object; expected an array"),
        (b'{"source":"a","metrics":null}', "metrics is null"),
        (b'{"source":"a","metrics":' + b"9" * 5_000 + b"}", "metrics is an integer of over 60"),
        (b'{"source":"a","metric":[]}', 'unknown field "metric"; did you mean "metrics"?'),
        (b'{"source":"a","metrics":[],"request_id":""}', "request_id is empty"),
        (b'{"source":"a","metrics":[],"request_id":5}', "request_id is 5"),
        (b'{"source":"a","metrics":[],"request_id":"' + b"r" * 257 + b'"}', "256 bytes"),
        (b'{"source":"a","metrics":[{}]} x', "trailing characters"),
        (b'{"source":"a","metrics":[{},]}', "trailing comma in array"),
        (b'{"source":"a","metrics":[{"value":NaN}]}', "NaN stands bare"),
        (b'{"source":"a","metrics":[{"value":-Infinity}]}', "-Infinity stands bare"),
        (b'{"source":"\\ud800","metrics":[{"value":NaN}]}', "NaN stands bare"),
        (b'{"source":"\\ud800","metrics":[}', "not JSON"),
        (b'["\\ud800"]', "no object"),
        (b'{"source":"a\xff","metrics":[]}', "not UTF-8: byte 12 is 0xff"),
        (b'{"source":"a","metrics":[{"name":"\xc3("}]}', "not UTF-8: byte 34 is 0xc3"),
        (b'{"\xff":1}', "not UTF-8"),
        (b'\xef\xbb\xbf{"source":"a","metrics":[]}', "not JSON"),
        (b'{"source":"a","metrics":' + b"[" * 100_000, "nested too deeply"),
        (b'{"source":"a","metrics":[' + b'{"tags":' * 100_000 + b"}", "nested too deeply"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_cannot_be_understood_is_one_sentence(text: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_body(text, NOW_MS, cache=SeriesCache())
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.status == 400


def test_a_deep_point_that_json_still_reads_is_refused_alone() -> None:
    deep = b'{"name":' + b"[" * 500 + b"]" * 500 + b"}"
    good = json.dumps(GOOD).encode()
    result = parse_body(b'{"source":"a","metrics":[' + good + b"," + deep + b"]}", NOW_MS)
    assert (len(result.batch), result.rejected_count) == (1, 1)


def test_an_integer_too_long_for_python_is_refused_alone() -> None:
    text = body(GOOD, {**GOOD, "value": "@"}).replace(b'"@"', b"9" * 5_000)
    result = parse_body(text, NOW_MS)
    assert (len(result.batch), result.rejected_count) == (1, 1)


def test_more_than_a_million_points_are_too_large() -> None:
    point = b'{"name":"a","value":1,"metric_type":"gauge"}'
    text = b'{"source":"a","metrics":[' + b",".join([point] * 1_000_001) + b"]}"
    with pytest.raises(TooLarge, match="1000000 points"):
        parse_body(text, NOW_MS)
    with pytest.raises(TooLarge, match="1000000 points"):
        parse_arguments({"source": "a", "metrics": [{}] * 1_000_001}, NOW_MS)


def test_equal_requests_have_equal_digests_whenever_they_come() -> None:
    future = {**GOOD, "timestamp": NOW_MS + 900_000}
    text = body(GOOD, future, 5, request_id="r")
    first = parse_body(text, NOW_MS)
    assert first.request_id == "r"
    assert parse_body(text, NOW_MS + 86_400_000).digest == first.digest
    assert parse_arguments(json.loads(text), NOW_MS).digest == first.digest
    others = [
        body({**GOOD, "value": 2}, future, 5),
        body({**GOOD, "timestamp": 1}, future, 5),
        body({**GOOD, "unit": "x"}, {**future, "unit": "x"}, 5),
        body({**GOOD, "name": "x"}, future, 5),
        body(future, GOOD, 5),
        body(GOOD, future, 5, source="another"),
    ]
    assert len({parse_body(other, NOW_MS).digest for other in others} | {first.digest}) == 7


def test_memory_of_what_was_learnt_is_bounded() -> None:
    cache = SeriesCache(entries_bytes_max=200_000, remembered_bytes_max=200_000)
    for turn in range(50):
        points = [{**GOOD, "tags": {"host": f"{turn}-{i}"}} for i in range(100)]
        result = parse_body(body(*points), NOW_MS, cache=cache)
        assert len(result.batch.labels) == 100
    assert cache.bytes_held < 500_000
