"""Events to messages and back; whatever is no event is a `PoisonError`, and nothing worse."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PoisonError
from streams.events import alerting, health, rules
from streams.events.batch import (
    POINTS_MAX,
    MetricBatch,
    MetricType,
    decode_batch,
    encode_batch,
    split_batch,
)
from streams.events.catalogue import DeadLettered, Envelope, Event, MetricsCollected, Ticked
from streams.events.codec import decode, encode, iso_time, parse_iso_time
from streams.events.labels import parse_series, series_text
from streams.events.upcast import Upcasters
from streams.events.window import WindowBatch
from tests.domain.golden_alerting import ALERTING_EVENTS
from tests.domain.golden_events import EVENTS as METRIC_EVENTS
from tests.domain.golden_health import HEALTH_EVENTS
from tests.effort import examples

EVENTS = {**METRIC_EVENTS, **ALERTING_EVENTS, **HEALTH_EVENTS}
GOLDEN = Path(__file__).parent.parent / "golden"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = texts.filter(bool)
labels = st.dictionaries(names.filter(lambda label: label != "__name__"), texts, max_size=5)
envelopes = st.builds(
    Envelope,
    id=names,
    source=names,
    time_ms=st.integers(0, 253_402_300_799_999),
    actor=texts,
    correlation_id=texts,
    causation_id=texts,
    traceparent=texts,
)


@st.composite
def batches(draw: st.DrawFn) -> MetricBatch:
    identities = sorted(
        draw(st.sets(st.builds(series_text, names, labels), min_size=1, max_size=6))
    )
    size = len(identities)
    rows = draw(st.lists(st.integers(0, size - 1), max_size=30))
    count = len(rows)
    bits = st.integers(0, 2**64 - 1)
    return MetricBatch(
        tuple(identities),
        tuple(draw(st.lists(st.sampled_from(list(MetricType)), min_size=size, max_size=size))),
        tuple(draw(st.lists(texts, min_size=size, max_size=size))),
        np.array(rows, np.int32),
        np.array(draw(st.lists(st.integers(0, 2**47), min_size=count, max_size=count)), np.int64),
        np.array(draw(st.lists(bits, min_size=count, max_size=count)), np.uint64).view(np.float64),
    )


def plain(data: object) -> object:
    """Events as values that compare: arrays by their bytes, so that NaNs equal themselves."""
    if isinstance(data, np.ndarray):
        return (str(data.dtype.kind), data.tolist() if data.dtype.kind != "f" else data.tobytes())
    if isinstance(data, MetricBatch | WindowBatch):
        return [plain(getattr(data, name)) for name in type(data).__slots__]
    if hasattr(data, "__slots__") and not isinstance(data, msgspec.Struct):
        return (type(data).__name__, [plain(getattr(data, name)) for name in data.__slots__])
    return data


@given(envelopes, batches())
def test_samples_come_back_bit_by_bit(envelope: Envelope, batch: MetricBatch) -> None:
    event = Event(envelope, MetricsCollected(batch))
    message = encode(event)
    assert plain(decode(message.headers, message.body)) == plain(event)


@given(
    envelopes,
    st.builds(Ticked, st.integers(0, 2**47))
    | st.builds(
        DeadLettered,
        texts,
        st.integers(0, 2**31),
        st.integers(0, 2**62),
        texts,
        st.dictionaries(texts, texts, max_size=3),
        st.binary(max_size=50),
    ),
)
def test_small_events_come_back(envelope: Envelope, data: Ticked | DeadLettered) -> None:
    message = encode(Event(envelope, data))
    assert decode(message.headers, message.body) == Event(envelope, data)


@given(st.integers(0, 253_402_300_799_999))
def test_times_come_back(at_ms: int) -> None:
    assert parse_iso_time(iso_time(at_ms)) == at_ms


@given(batches().filter(lambda batch: len(batch) > 1))
def test_halves_hold_the_same_samples_in_order(batch: MetricBatch) -> None:
    def rows(part: MetricBatch) -> list[tuple[str, str, str, int, bytes]]:
        return [
            (part.labels[s], part.types[s], part.units[s], int(t), v.tobytes())
            for s, t, v in zip(part.series, part.at_ms, part.value, strict=True)
        ]

    first, second = split_batch(batch)
    assert rows(first) + rows(second) == rows(batch)
    assert set(first.labels) | set(second.labels) <= set(batch.labels)


@given(names, labels)
def test_an_identity_tells_its_labels(name: str, given_labels: dict[str, str]) -> None:
    text = series_text(name, given_labels)
    assert parse_series(text) == (name, {k: v for k, v in given_labels.items() if v})
    shuffled = dict(reversed(given_labels.items()))
    assert series_text(name, shuffled) == text


@pytest.mark.parametrize("wire_type", EVENTS)
def test_a_golden_file_reads_as_it_was_meant(wire_type: str) -> None:
    golden = json.loads((GOLDEN / f"{wire_type}.json").read_text())
    event = decode(golden["headers"], base64.b64decode(golden["body_base64"]))
    assert plain(event) == plain(EVENTS[wire_type])


def test_every_golden_file_is_read() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENTS)
    assert set(EVENTS) >= {*rules.WIRE_NAMES, *alerting.WIRE_NAMES, *health.WIRE_NAMES}


def test_a_later_version_is_reached_by_steps() -> None:
    upcasters = Upcasters()

    @upcasters.upcasts("thing.done", from_version=1)
    def gains_colour(body: dict[str, object]) -> dict[str, object]:
        return {**body, "colour": "grey"}

    @upcasters.upcasts("thing.done", from_version=2)
    def spells_it_otherwise(body: dict[str, object]) -> dict[str, object]:
        return {"color" if key == "colour" else key: value for key, value in body.items()}

    assert upcasters.upcast("thing.done", 1, {"id": 1}) == (3, {"id": 1, "color": "grey"})
    assert upcasters.upcast("thing.done", 2, {"colour": "red"}) == (3, {"color": "red"})
    assert upcasters.upcast("thing.done", 3, {"color": "red"}) == (3, {"color": "red"})
    assert upcasters.upcast("other", 1, {"a": 1}) == (1, {"a": 1})


HEADERS = encode(EVENTS["clock.ticked.v1"]).headers
CLOSED = encode(EVENTS["metrics.window_closed.v1"])


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({}, b"", "ce_type"),
        (HEADERS | {"ce_type": "clock.ticked"}, b"{}", "ce_type"),
        (HEADERS | {"ce_type": "clock.ticked.v2"}, b'{"at_ms":1}', "newer version"),
        (HEADERS | {"ce_type": "nothing.like.this.v1"}, b"{}", "unknown event type"),
        (HEADERS | {"ce_time": "yesterday"}, b'{"at_ms":1}', "RFC 3339"),
        (HEADERS | {"ce_time": "2026-01-01T00:00:00"}, b'{"at_ms":1}', "no offset"),
        (HEADERS | {"ce_id": ""}, b'{"at_ms":1}', "ce_id"),
        (HEADERS, b"", "not valid"),
        (HEADERS, b"\xff\xfe", "not valid"),
        (HEADERS, b"[" * 100_000, "not valid"),
        (HEADERS, b"[1]", "not valid"),
        (HEADERS, b'{"at_ms":"1"}', "not valid"),
        (HEADERS, b'{"at_ms":1e400}', "not valid"),
        (HEADERS, b'{"at_ms":-1}', "not valid"),
        (HEADERS, b'{"at_ms":99999999999999999}', "not valid"),
        (CLOSED.headers | {"duplicates": "²"}, CLOSED.body, "duplicates"),
        (CLOSED.headers | {"duplicates": "9" * 5_000}, CLOSED.body, "duplicates"),
        (CLOSED.headers, EVENTS["metrics.collected.v1"].data, "columns"),
    ],
)
def test_what_is_no_event_is_poison_with_a_reason(
    headers: dict[str, str], body: bytes | MetricsCollected, reason: str
) -> None:
    if isinstance(body, MetricsCollected):
        body = encode_batch(body.batch)
    with pytest.raises(PoisonError, match=reason):
        decode(headers, body)


def batch_of(text: str = '{"__name__":"m"}', **changes: object) -> MetricBatch:
    columns: dict[str, object] = {
        "labels": (text,),
        "types": ("gauge",),
        "units": ("",),
        "series": np.zeros(1, np.int32),
        "at_ms": np.zeros(1, np.int64),
        "value": np.zeros(1),
    }
    return MetricBatch(**{**columns, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "batch",
    [
        batch_of("{"),
        batch_of("[]"),
        batch_of('{"a":"b"}'),
        batch_of('{"__name__": "m"}'),
        batch_of('{"__name__":"m","b":"1","a":"2"}'),
        batch_of('{"__name__":"m","a":""}'),
        batch_of('{"__name__":"' + "m" * 600 + '"}'),
        batch_of(types=("gage",)),
        batch_of(at_ms=np.array([2**62])),
        batch_of(at_ms=np.array([-(2**63)])),
        batch_of(labels=('{"__name__":"m"}',) * 2, types=("gauge",) * 2, units=("", "")),
        batch_of(
            series=np.zeros(POINTS_MAX + 1, np.int32),
            at_ms=np.zeros(POINTS_MAX + 1, np.int64),
            value=np.zeros(POINTS_MAX + 1),
        ),
    ],
    ids=lambda batch: batch.labels[0][:20],
)
def test_arrow_data_that_is_no_valid_batch_is_poison(batch: MetricBatch) -> None:
    body = encode_batch(batch)
    for _ in range(2):  # what was found bad is not remembered as good
        with pytest.raises(PoisonError):
            decode_batch(body)


FUZZ = """
import base64, json, random, sys
from streams.errors import PoisonError
from streams.events.codec import decode, encode
from streams.events.labels import parse_series

seed, rounds = int(sys.argv[1]), int(sys.argv[2])
random.seed(seed)
goldens = [json.loads(open(path).read()) for path in sys.argv[3:]]
poison = 0
for _ in range(rounds):
    golden = random.choice(goldens)
    body = bytearray(base64.b64decode(golden["body_base64"]))
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.randrange(len(body))
        match random.randrange(5):
            case 0 | 1: body[place] ^= 1 << random.randrange(8)
            case 2: body[place:place + 4] = random.randbytes(4)
            case 3: body[place:place + 8] = random.choice((b"\\xff", b"\\x7f", b"\\0")) * 8
            case 4: del body[max(1, place):]
    try:
        event = decode(golden["headers"], bytes(body))
    except PoisonError:
        poison += 1
        continue
    encode(event)
    for text in getattr(getattr(event.data, "batch", None), "labels", ()):
        parse_series(text)
print(poison)
"""


def test_damaged_bodies_are_poison_or_valid_and_never_crash_the_reader() -> None:
    # In a process of its own: what is asked is also that Arrow does not bring it down.
    files = sorted(map(str, GOLDEN.glob("*.json")))
    for seed in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FUZZ, str(seed), "5000", *files],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent.parent.parent,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 2_500


@settings(max_examples=examples(30))
@given(st.data())
def test_a_truncated_body_is_poison(data: st.DataObject) -> None:
    message = encode(EVENTS[data.draw(st.sampled_from(sorted(EVENTS)))])
    # The last 8 bytes of an Arrow stream only mark its end.
    cut = data.draw(st.integers(0, max(0, len(message.body) - 9)))
    with pytest.raises(PoisonError):
        decode(message.headers, message.body[:cut])


def test_a_batch_that_ends_anywhere_is_poison() -> None:
    message = encode(EVENTS["metrics.collected.v1"])
    for size in range(len(message.body) - 8):
        with pytest.raises(PoisonError):
            decode(message.headers, message.body[:size])


def test_every_bit_of_a_batch_may_be_flipped_without_another_error() -> None:
    body = encode(EVENTS["metrics.collected.v1"]).body
    flips = random.Random(1).sample(range(len(body) * 8), 2_000)
    for bit in flips:
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            batch = decode_batch(bytes(damaged))
        except PoisonError:
            continue
        assert len(batch.labels) == len(batch.types) == len(batch.units)
        assert len(batch.series) == len(batch.at_ms) == len(batch.value)
