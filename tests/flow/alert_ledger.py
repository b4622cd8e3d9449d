"""Alerts as a client of a running server sees them, and as the log must have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from mcp_api.pipeline import alert_processors
from streams.config import Settings
from streams.domain.alert_routing import Routing
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Message, Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.seam import Processor, Tracked, advance, restore

ReadLog = SqliteLog | KafkaLog


def call(url: str, tool: str, /, **arguments: Any) -> Any:
    """The answer of one tool call."""
    body = {"tool": tool, "arguments": arguments}
    answer = httpx.post(f"{url}/logfire-mcp", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def collect(url: str, values: dict[str, float], name: str = "load") -> None:
    """One sample now of each host."""
    metrics = [
        {"name": name, "value": value, "metric_type": "gauge", "tags": {"host": host}}
        for host, value in values.items()
    ]
    answer = call(url, "collect_metrics", source="fleet", metrics=metrics)
    assert answer["collected_count"] == len(values)


def state(url: str, alert: str) -> str:
    """Of a rule."""
    [rule] = call(url, "manage_alerts", action="list", alert_id=alert)["alerts"]
    return str(rule["state"])


def ledger(url: str, alert: str) -> list[dict[str, Any]]:
    """All entries, the oldest first; asked for page by page, as an answer says how."""
    entries: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"action": "history", "alert_id": alert, "limit": 100}
    while True:
        answer = call(url, "manage_alerts", **asked)
        entries += [entry for entry in answer["history"] if entry not in entries]
        if not answer["truncated"]:
            return entries[::-1]
        earlier = answer["history"][-1]["time"]
        assert asked.get("end_time") != earlier, "more entries of one time than an answer holds"
        asked["end_time"] = earlier


def events(url: str, alert: str) -> list[str]:
    """What the entries are, the oldest first."""
    return [entry["event"] for entry in ledger(url, alert)]


def records(log: ReadLog, topic: str, partition: int) -> Iterator[Record]:
    """All of a partition."""
    offset = 0
    while part := log.read_now(topic, partition, offset):
        yield from part
        offset = part[-1].offset + 1


def made(
    log: ReadLog, processor: Processor[Any], partition: int, end: int | None = None
) -> Sequence[tuple[Any, ...]]:
    """What the processor makes of its partition, up to offset ``end``, record by record, from
    nothing: topic, partition, headers and body."""

    def read_back(begin: int, end: int) -> list[Record]:
        found = records(log, processor.topic, partition)
        return [record for record in found if begin <= record.offset < end]

    tracked: Tracked[Any] = restore(processor, {}, read_back)
    outputs: list[tuple[Any, ...]] = []
    for record in records(log, processor.topic, partition):
        if record.offset == end:
            break
        tracked, _, entries = advance(processor, partition, tracked, [record])
        outputs += [(e.topic, e.partition, *_parts(e.message)) for e in entries]
    return outputs


def stored(log: ReadLog, processor: Processor[Any], partition: int) -> Sequence[tuple[Any, ...]]:
    """What the log holds of the processor's outputs, by their numbers. Where the log can hold one
    twice (Kafka, after a crash), both are the same."""
    source = f"processor/{processor.name}"
    begin = f"{processor.name}/{partition}/"
    found = {}
    for topic, number in log.ends():
        for record in records(log, topic, number):
            event_id = record.headers.get("ce_id", "")
            if record.headers.get("ce_source") == source and event_id.startswith(begin):
                out_seq = int(event_id.removeprefix(begin))
                output = (topic, number, dict(record.headers), record.body)
                again = found.setdefault(out_seq, output)
                assert again is output or not log.gapless, f"{event_id} is there twice"
                assert again == output, f"{event_id} is there twice, and differs"
    return [found[out_seq] for out_seq in sorted(found)]


def each_processor_gives_again_what_the_log_holds(log: ReadLog, settings: Settings) -> None:
    """The outputs in the log against those of one uninterrupted run over it, byte for byte."""
    for processor in alert_processors(settings, log.partitions, Routing()):
        for partition in range(log.partitions(processor.topic)):
            there = stored(log, processor, partition)
            again = made(log, processor, partition)
            assert there == again[: len(there)], processor.name


def _parts(message: Message) -> tuple[dict[str, str], bytes]:
    return dict(message.headers), message.body
