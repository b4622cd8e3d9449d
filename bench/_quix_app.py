"""A Quix Streams application as its users write one, for ``bench kafka``: one JSON message a point,
keyed by series; tumbling windows of a minute. It runs in an environment of its own.

``fill`` and ``run`` print one JSON line: what was sent; points, CPU and wall seconds between the
first point and the last.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta

from confluent_kafka import Producer
from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Min, Sum

BEGIN_MS = 1_767_225_600_000


def fill(broker: str, topic: str, series: int, scrapes: int, every_ms: int) -> int:
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "compression.type": "zstd"})
    for scrape in range(scrapes):
        at_ms = BEGIN_MS + scrape * every_ms
        for number in range(series):
            key = f"cpu_usage_user,host=host_{number}"
            value = round((number * 7919 + scrape * 104729) % 10_000 / 100, 2)
            point = json.dumps({"name": key, "value": value, "at_ms": at_ms})
            producer.produce(topic, key=key, value=point, timestamp=at_ms)
            producer.poll(0)
        producer.flush()
    return series * scrapes


def run(broker: str, topic: str, state: str, points: int) -> dict[str, float]:
    app = Application(
        broker,
        consumer_group=topic,
        auto_offset_reset="earliest",
        state_dir=state,
        loglevel="ERROR",
    )
    marks: list[tuple[float, float]] = []
    seen = 0

    def mark(value: dict[str, float]) -> dict[str, float]:
        nonlocal seen
        seen += 1
        if seen in {1, points}:
            marks.append((time.process_time(), time.perf_counter()))
        if seen == points:
            app.stop()
        return value

    stream = app.dataframe(app.topic(topic, value_deserializer="json")).apply(mark)
    stream = (
        stream.tumbling_window(timedelta(minutes=1))
        .agg(count=Count(), sum=Sum("value"), min=Min("value"), max=Max("value"))
        .final()
    )
    stream.to_topic(app.topic(f"{topic}.windows", value_serializer="json"))
    app.run()
    (cpu, wall), (cpu_end, wall_end) = marks
    return {"points": seen, "cpu_s": cpu_end - cpu, "wall_s": wall_end - wall}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", broker, topic, *numbers]:
            print(json.dumps({"points": fill(broker, topic, *map(int, numbers))}))
        case ["run", broker, topic, state, points]:
            print(json.dumps(run(broker, topic, state, int(points))))
