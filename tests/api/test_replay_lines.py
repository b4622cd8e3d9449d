"""Records as text: every kind of event, exact for audits, readable for people."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from mcp_api.replay_lines import audit_line, exact_number, tail_line
from streams.events.batch import STALE, MetricBatch
from streams.events.catalogue import (
    DeadLettered,
    Envelope,
    Event,
    EventData,
    MetricsCollected,
    Ticked,
    WindowAmended,
    WindowClosed,
)
from streams.events.codec import encode
from streams.events.window import WindowBatch
from streams.log.protocol import Record

AT_MS = 1_700_000_000_000
LABELS = '{"__name__":"load","host":"a"}'


def record(data: EventData) -> Record:
    message = encode(Event(Envelope("id", "test", AT_MS, actor="me"), data))
    return Record("topic", 0, 7, AT_MS, message.headers, message.body)


def points(*values: float) -> MetricBatch:
    return MetricBatch(
        (LABELS,),
        ("gauge",),
        ("",),
        np.zeros(len(values), np.int32),
        np.arange(len(values), dtype=np.int64) + AT_MS,
        np.array(values),
    )


def windows(*start_ms: int) -> WindowBatch:
    count = len(start_ms)
    ints, floats = np.ones(count, np.int64), np.full(count, 0.1)
    return WindowBatch(
        size_ms=60_000,
        labels=(LABELS,) * count,
        types=("gauge",) * count,
        units=("",) * count,
        start_ms=np.array(start_ms, np.int64),
        count=ints,
        sum=floats,
        min=floats,
        max=np.full(count, np.inf),
        first=floats,
        last=floats,
        first_ms=ints,
        last_ms=ints,
        increase=floats,
        bin_offsets=np.zeros(count + 1, np.int64),
        bins=np.empty(0, np.int64),
        bin_counts=np.empty(0, np.int64),
    )


DEAD = DeadLettered("metrics.points", 0, 3, "not Arrow", {"ce_id": "x"}, b"\xff\x00")


def told(data: EventData) -> dict[str, Any]:
    line = audit_line(record(data))
    assert b"\n" not in line
    answer: dict[str, Any] = json.loads(line)
    return answer


def test_an_audit_line_has_the_position_the_headers_and_the_decoded_data() -> None:
    line = told(MetricsCollected(points(0.1, -0.0)))
    assert (line["topic"], line["partition"], line["offset"]) == ("topic", 0, 7)
    assert line["at"] == "2023-11-14T22:13:20.000Z"
    assert line["headers"]["ce_actor"] == "me"
    batch = line["data"]["batch"]
    assert batch["labels"] == [LABELS]
    assert batch["series"] == [0, 0]
    assert [str(value) for value in batch["value"]] == ["0.1", "-0.0"]


def test_what_json_cannot_say_is_a_string_without_loss() -> None:
    odd_nan = float(np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0])
    batch = told(MetricsCollected(points(np.nan, np.inf, -np.inf, STALE, odd_nan, 1e308)))
    assert batch["data"]["batch"]["value"] == [
        "NaN",
        "+Inf",
        "-Inf",
        "stale",
        "NaN:7ff8000000000001",
        1e308,
    ]
    assert exact_number(0.1) == 0.1


def test_every_kind_of_event_has_both_lines() -> None:
    for data, words in (
        (MetricsCollected(points(1, 2, 3, 4, 5)), "5 points of 1 series: load{host=a}=1, "),
        (MetricsCollected(points(1, 2, 3, 4, 5)), "and 2 more  by me"),
        (Ticked(AT_MS), "tick 2023-11-14T22:13:20.000Z"),
        (WindowClosed(windows(60_000), 0), "closed 1 windows of 60 s from 1970-01-01T00:01:00"),
        (WindowAmended(windows(0, 60_000), 2), "amended 2 windows of 60 s from 1970-01-01T00:00"),
        (WindowClosed(windows(), 0), "closed no windows of 60 s"),
        (DEAD, "dead letter of metrics.points/0@3: not Arrow"),
    ):
        assert words in tail_line(record(data))
        assert told(data)["data"]
    assert told(WindowClosed(windows(0), 0))["data"]["batch"]["max"] == ["+Inf"]
    assert base64.b64decode(told(DEAD)["data"]["body"]) == DEAD.body


def test_a_record_that_is_no_event_is_told_with_its_bytes() -> None:
    poison = Record("topic", 0, 7, AT_MS, {"ce_type": "nonsense"}, b"\x00\xff")
    line = json.loads(audit_line(poison))
    assert "nonsense" in line["poison"]
    assert base64.b64decode(line["body_base64"]) == b"\x00\xff"
    assert "poison: " in tail_line(poison)
