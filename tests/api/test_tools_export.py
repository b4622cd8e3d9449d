"""export_metrics: small exports inline, large ones as a link under which the whole is found."""

from __future__ import annotations

import csv
import io
import json
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_api.tools.export import ExportRequest, export_arguments, export_path, parse_export
from streams.errors import InputError
from tests.api.tools_rig import BASE_URL, NOW_MS, open_rig, point, waves

FORMATS = ("json", "csv", "prometheus", "influx")


async def _downloaded(rig, url) -> bytes:
    assert url.startswith(BASE_URL + "/export?")
    arguments = export_arguments(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    stream = await rig.toolbox.open_export(arguments)
    return b"".join(stream.chunks)


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_small_export_is_inline_and_the_same_behind_its_link(tmp_path, kind) -> None:
    async with open_rig(tmp_path) as rig:
        position = await rig.collect(waves("cpu", 2, points=5))
        asked = {"format": kind, "metric_names": ["cpu"], "tags": {"host": "server01"}}
        answer = await rig.answer("export_metrics", **asked, min_position=position)
        content = answer.content
        assert (await _downloaded(rig, content["url"])).decode() == content["content"]
    assert content["format"] == kind
    assert content["metric_names"] == ["cpu"]
    assert content["row_count"] == (1 if kind == "prometheus" else 5)
    assert content["size_bytes"] == len(content["content"].encode())
    assert "server01" in content["content"]
    assert "server00" not in content["content"]
    assert answer.link is None


async def test_influxdb_is_another_word_for_influx(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect([point("cpu", 1, host="a"), point("cpu", "NaN", NOW_MS - 1)])
        answer = await rig.call("export_metrics", format="influxdb")
    assert answer["format"] == "influx"
    assert answer["content"] == "cpu,host=a,source=app value=1 1767268800000000000\n"
    assert answer["row_count"] == 1
    assert answer["skipped_count"] == 1


async def test_a_large_export_is_a_link_and_the_answer_stays_small(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu", 50, points=60))
        for kind, count in (("csv", _csv_rows), ("json", lambda data: len(json.loads(data)))):
            answer = await rig.answer("export_metrics", format=kind)
            assert "content" not in answer.content
            assert answer.link == answer.content["url"]
            assert answer.link in answer.text
            assert len(json.dumps(answer.content)) + len(answer.text) < 4_000
            assert count(await _downloaded(rig, answer.link)) == 3_000


def _csv_rows(data: bytes) -> int:
    return len(list(csv.reader(io.StringIO(data.decode(), newline="")))) - 1


async def test_what_is_inlined_never_makes_a_large_answer(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu", 3, points=50))
        for kind in FORMATS:
            answer = await rig.answer("export_metrics", format=kind)
            size = len(json.dumps(answer.content, ensure_ascii=False)) + len(answer.text)
            assert size / 4 <= 8_000


async def test_parquet_is_always_a_link(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu", 2, points=3))
        answer = await rig.answer("export_metrics", format="parquet")
        assert answer.link is not None
        table = pq.read_table(pa.BufferReader(await _downloaded(rig, answer.link)))
    assert table.num_rows == 6
    assert table.column("name").to_pylist() == ["cpu"] * 6


async def test_an_empty_export_says_why_it_is_empty(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        nothing = await rig.call("export_metrics")
        await rig.collect(waves("cpu_usage", 1, points=2))
        name = await rig.call("export_metrics", metric_names=["cpu"])
        names = await rig.call(
            "export_metrics",
            metric_names=["cpu_usage", "mem"],
            start_time="now+1h",
            end_time="now+2h",
        )
        early = await rig.call("export_metrics", start_time="-9d", end_time="-8d", format="csv")
        tags = await rig.call("export_metrics", tags={"host": "x"})
    assert "no metrics are stored yet" in nothing["why_empty"]["reason"]
    assert json.loads(nothing["content"]) == []
    assert name["why_empty"]["nearest_names"] == ["cpu_usage"]
    assert names["why_empty"]["reason"] == "no metric is named 'mem'"
    assert early["why_empty"]["data_range"]["end"] == "2026-01-01T12:00:00Z"
    assert tags["why_empty"] == {"reason": "no series has all of these tags together"}


async def test_names_too_many_for_a_link_are_refused_and_others_leave_the_answer_small(
    tmp_path,
) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.collect(waves("cpu", 3, points=50))
        names = ["cpu", *(f"{i:02d}" + "é" * 10 for i in range(99))]
        answer = await rig.answer("export_metrics", metric_names=names, start_time="-20m")
        with pytest.raises(InputError, match=r"make a link of .* at most 8000") as caught:
            await rig.call("export_metrics", metric_names=[*names[:99], "x" * 500])
    size = len(json.dumps(answer.content, ensure_ascii=False)) + len(answer.text)
    assert size / 4 <= 8_000
    assert caught.value.field == "metric_names"


_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@given(
    st.builds(
        ExportRequest,
        st.sampled_from([*FORMATS, "parquet"]),
        st.lists(_TEXT, unique=True, max_size=3).map(tuple),
        st.dictionaries(_TEXT, st.text(st.characters(codec="utf-8"), max_size=4), max_size=3),
        st.integers(0, NOW_MS),
        st.integers(NOW_MS, 2 * NOW_MS),
    )
)
def test_a_link_asks_for_what_the_call_asked_for(request_) -> None:
    query = urlsplit(export_path(request_)).query
    arguments = export_arguments(parse_qsl(query, keep_blank_values=True, strict_parsing=True))
    assert parse_export(arguments, now_ms=0) == request_


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("format=xml", "format is 'xml'; valid: json"),
        ("metric=cpu", "no argument 'metric'; did you mean 'metric_names'"),
        ("tags=host", "tags is 'host'; expected a JSON object"),
        ("tags=%5B%5D", "tags is an array; expected an object"),
        ("tags=" + "[" * 5_000, "expected a JSON object"),
        ("format=csv&format=json", "format stands twice"),
        ("start_time=2026", "start_time is '2026'; expected ISO 8601"),
    ],
)
def test_a_wrong_link_is_refused_with_one_sentence(query, sentence) -> None:
    with pytest.raises(InputError) as caught:
        parse_export(export_arguments(parse_qsl(query, keep_blank_values=True)), NOW_MS)
    assert sentence in str(caught.value)
    assert caught.value.field
