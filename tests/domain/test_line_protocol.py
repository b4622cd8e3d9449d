"""InfluxDB's line protocol: what each line says, which lines are refused and why, however read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.events.labels import check_series, parse_series
from streams.ingest import line_columns
from streams.ingest.line_protocol import COLUMNS_BYTES_MIN, SeriesOfHeads, parse_lines
from streams.ingest.parsed import Parsed
from tests.effort import examples

NOW_MS = 1_700_000_000_000
STAMP = NOW_MS * 1_000_000


def read(text: str | bytes, precision: str = "ns") -> Parsed:
    body = text.encode() if isinstance(text, str) else text
    return parse_lines(body, NOW_MS, source="t", precision=precision, cache=SeriesOfHeads())


def samples(parsed: Parsed) -> list[tuple[str, dict[str, str], int, float]]:
    """Name, tags, time and value of each; every series has a source."""
    told = []
    for series, at_ms, value in zip(
        parsed.batch.series, parsed.batch.at_ms, parsed.batch.value, strict=True
    ):
        name, labels = parse_series(parsed.batch.labels[series])
        assert labels.pop("source") == "t"
        told.append((name, labels, int(at_ms), float(value)))
    return told


def reason(text: str | bytes, precision: str = "ns") -> str:
    parsed = read(text, precision)
    assert (len(parsed.batch), parsed.rejected_count) == (0, 1)
    return parsed.rejected[0].reason


def test_each_number_is_a_sample_and_the_field_named_value_is_the_measurement() -> None:
    assert samples(read(f"cpu,host=a,zone=b user=1.5,cores=8i,value=2u {STAMP}")) == [
        ("cpu_user", {"host": "a", "zone": "b"}, NOW_MS, 1.5),
        ("cpu_cores", {"host": "a", "zone": "b"}, NOW_MS, 8.0),
        ("cpu", {"host": "a", "zone": "b"}, NOW_MS, 2.0),
    ]
    batch = read("cpu value=1").batch
    assert (batch.types, batch.units) == (("gauge",), ("",))


def test_true_and_false_are_one_and_zero_and_strings_are_left_out() -> None:
    line = 'up a=t,b=T,c=true,d=True,e=TRUE,f=f,g=F,h=false,i=False,j=FALSE,k="text, \\"x\\" y=1"'
    assert [value for *_, value in samples(read(line))] == [1.0] * 5 + [0.0] * 5
    only_text = read('log,host=a line="all well"')
    assert (len(only_text.batch), only_text.rejected_count) == (0, 0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2.25", -2.25),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("-9223372036854775808i", -(2.0**63)),
        ("18446744073709551615u", 2.0**64),
    ],
)
def test_numbers_are_read_as_the_protocol_writes_them(written: str, value: float) -> None:
    assert samples(read(f"m value={written}")) == [("m", {}, NOW_MS, value)]


@pytest.mark.parametrize(
    "written",
    ["", "+1", "1e", "0x10", "1_0", "NaN", "inf", "1e999", "1.5i", "-1u", "9223372036854775808i",
     "18446744073709551616u", "tRue", "one", '1"2"', "--1", "1i1"],
)  # fmt: skip
def test_what_is_no_number_is_refused_by_name(written: str) -> None:
    assert 'field "load"' in reason(f"m load={written} {STAMP}")


@pytest.mark.parametrize(
    ("precision", "stamp", "at_ms"),
    [
        ("ns", "1699999999999999999", 1_699_999_999_999),
        ("us", "1699999999999999", 1_699_999_999_999),
        ("ms", "1699999999999", 1_699_999_999_999),
        ("s", "1699999999", 1_699_999_999_000),
        ("ns", "0", 0),
    ],
)
def test_the_timestamps_unit_is_what_the_topic_says(precision: str, stamp: str, at_ms: int) -> None:
    assert samples(read(f"m value=1 {stamp}", precision))[0][2] == at_ms


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("m value=1 -1", "before 1970"),
        ("m value=1 99999999999999999999", "98299999999 s after the time of receipt"),
        ("m value=1 999999999999999999999", "over 20 digits"),
        ("m value=1 12x", 'timestamp is "12x"'),
        ("m value=1 1 1", 'timestamp is "1 1"'),
        (f"m value=1 {STAMP + 11 * 60 * 10**9}", "660 s after the time of receipt"),
        ("m", "a field is missing"),
        ("m ", "a field is missing"),
        ("m value", "a field is missing"),
        ("m value=1,", "a field is missing"),
        ("m =1", "a field is missing"),
        (",a=b value=1", "the measurement is missing"),
        ("m,a value=1", 'tag "a" has no value'),
        ("m,a= value=1", 'tag "a" has no value'),
        ("m,=b value=1", "has no name"),
        ("m,a=b=c value=1", "bare equals sign"),
        ("m,a=b,a=c value=1", 'tag "a" stands twice'),
        ("m,__name__=x value=1", "'__name__' is reserved"),
        (f"{'m' * 513} value=1", "longer than 512 bytes"),
        ('m f="open', "does not end"),
        (b"m,a=\xff value=1", "not UTF-8"),
    ],
)
def test_a_bad_line_says_why(line: str | bytes, why: str) -> None:
    assert why in reason(line)


def test_seconds_of_no_calendar_are_refused() -> None:
    assert "after the year 9999" in reason(f"m value=1 {STAMP}", "s")


def test_a_bad_line_harms_no_other_and_has_its_number() -> None:
    parsed = read('# first\n\nm value=1\r\nm value=one\n  m value=3 \nm f="x\ny",value=4\nbad\n')
    assert [value for *_, value in samples(parsed)] == [1.0, 3.0, 4.0]
    assert parsed.indices is not None
    assert parsed.indices.tolist() == [3, 5, 6]
    assert [one.index for one in parsed.rejected] == [4, 8]


def test_a_string_that_does_not_end_spoils_its_own_line_only() -> None:
    parsed = read('m f="open\nm value=2\nm f="x",value=3\n')
    assert [value for *_, value in samples(parsed)] == [2.0, 3.0]
    assert [one.index for one in parsed.rejected] == [1]


def test_the_tag_named_source_is_the_source() -> None:
    batch = read("m,source=shop value=1\nm value=1").batch
    assert [parse_series(text)[1] for text in batch.labels] == [{"source": "shop"}, {"source": "t"}]


def test_a_body_has_one_digest_for_all_its_retries() -> None:
    body = "m value=1\nn value=2"
    assert read(body).digest == read(body).digest != read(f"{body} 1").digest


# What a writer may write, and what it must mean.

WORD = st.text(
    st.characters(exclude_characters="\n\r\t\x00", exclude_categories=["Cs"]), min_size=1
)
NAME = WORD.filter(
    lambda text: text[0] not in "# " and not text.endswith("\\") and len(text.encode()) < 200
)
LABEL = NAME.filter(lambda text: text not in ("source", "__name__"))


def escaped(text: str, special: str) -> str:
    return re.sub(rf"([{re.escape(special)}])", r"\\\1", text)


def unambiguous(text: str) -> bool:
    """The protocol cannot write a backslash before a character that it escapes."""
    return re.search(r"\\[ ,=\\]", text) is None


@dataclass(frozen=True)
class Written:
    """A line and the samples that it means."""

    text: str
    means: list[tuple[str, dict[str, str], int, float]]


@st.composite
def written_lines(draw: st.DrawFn) -> Written:
    measurement = draw(NAME.filter(unambiguous))
    names = NAME.filter(unambiguous)
    tags = draw(st.dictionaries(LABEL.filter(unambiguous), names, max_size=3))
    numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
    fields = draw(
        st.dictionaries(
            names, numbers | st.booleans() | st.text(max_size=20), min_size=1, max_size=4
        )
    )
    at_ms = draw(st.integers(0, NOW_MS) | st.none())
    head = escaped(measurement, ", ")
    head += "".join(f",{escaped(k, ', =')}={escaped(v, ', =')}" for k, v in tags.items())
    told = []
    parts = []
    for name, value in fields.items():
        if isinstance(value, str):
            said = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        else:
            said = f"{value}i" if type(value) is int else repr(value)
            series = measurement if name == "value" else f"{measurement}_{name}"
            told.append((series, tags, NOW_MS if at_ms is None else at_ms, float(value)))
        parts.append(f"{escaped(name, ', =')}={said}")
    stamp = "" if at_ms is None else f" {at_ms * 1_000_000}"
    return Written(f"{head} {','.join(parts)}{stamp}", told)


@settings(max_examples=examples(150))
@given(st.lists(written_lines(), min_size=1, max_size=5))
def test_what_a_writer_escapes_is_read_as_it_was_meant(lines: list[Written]) -> None:
    parsed = read("\n".join(line.text for line in lines))
    assert parsed.rejected == ()
    assert samples(parsed) == [sample for line in lines for sample in line.means]


@settings(max_examples=examples(150))
@given(
    st.lists(
        st.sampled_from(
            [
                "m",
                ",",
                "a",
                "=",
                " ",
                "1",
                '"',
                "\\",
                "\n",
                "#",
                "i",
                "e",
                "-",
                ".",
                "\r",
                "\t",
                "é",
            ]
        ),
        max_size=60,
    ).map("".join)
    | st.binary(max_size=200)
)
def test_no_body_breaks_the_parser(text: str | bytes) -> None:
    parsed = read(text)
    check_series(parsed.batch.labels)
    assert parsed.indices is not None
    assert len(parsed.indices) == len(parsed.batch)
    assert np.isfinite(parsed.batch.value).all()
    bad = {one.index for one in parsed.rejected}
    assert not bad & set(parsed.indices.tolist())
    good = "m,a=b value=1"
    body = text.encode() if isinstance(text, str) else text
    both = read(f"{good}\n".encode() + body)
    assert samples(both)[1:] == samples(parsed)


PLAIN = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=4)
VALUE = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(2**70), 2**70).map(lambda n: f"{n}i")
    | st.text(st.sampled_from("0123456789.-+eEiu"), max_size=5)
)


@st.composite
def plain_bodies(draw: st.DrawFn) -> str:
    """Long enough for the columns; a few lines again and again, one of them perhaps odd."""
    few = draw(
        st.lists(
            st.tuples(
                PLAIN,
                st.dictionaries(PLAIN, PLAIN, max_size=2),
                st.dictionaries(PLAIN, VALUE, min_size=1, max_size=3),
                st.integers(-1, 2 * STAMP),
            ),
            min_size=1,
            max_size=4,
        )
    )
    stamped = draw(st.booleans())
    lines = []
    for name, tags, fields, stamp in few:
        head = ",".join([name, *(f"{k}={v}" for k, v in tags.items())])
        said = ",".join(f"{k}={v}" for k, v in fields.items())
        lines.append(f"{head} {said} {stamp}" if stamped else f"{head} {said}")
    lines.append(
        draw(st.sampled_from(["", "m value=1 0x10", "m value=1", "m value=1 5", "m  v=1"]))
    )
    body = "\n".join(lines)
    return "\n".join([body] * (COLUMNS_BYTES_MIN // len(body) + 1))


@settings(max_examples=examples(60))
@example("\n".join(["0 0=+0", "m value=1"] * 600))
@given(plain_bodies())
def test_columns_and_lines_read_the_same(text: str) -> None:
    whole = read(text)
    lines = text.split("\n")  # 40 are few enough to be read line by line
    pieces = [read("\n".join(lines[i : i + 40])) for i in range(0, len(lines), 40)]
    assert samples(whole) == [sample for piece in pieces for sample in samples(piece)]
    assert whole.rejected_count == sum(piece.rejected_count for piece in pieces)
    assert len(set(whole.content.labels)) == len(whole.content.labels)


def test_a_plain_body_is_read_by_columns() -> None:
    lines = [f"cpu,host=h{i % 9} a={i},b={i}i,value=-{i}e-3 {STAMP + i}" for i in range(1_000)]
    columns = line_columns.read("\n".join(lines).encode())
    assert columns is not None
    assert len(columns.value) == 3_000
    assert len(columns.series) == 27
    assert line_columns.read("\n".join([*lines, 'x s="y"']).encode()) is None
