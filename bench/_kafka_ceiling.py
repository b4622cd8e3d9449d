"""The least that anybody could do with the same records: fetch, decompress, reduce, keep nothing.

``python -m bench._kafka_ceiling BOOTSTRAP TOPIC PARTITIONS`` reads the topic to its end with plain
aiokafka; each batch is reduced by numpy to count, sum, min and max a series and minute. Nobody asks
which series are the same in two batches, what came twice or late; no state is kept and nothing is
told. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa
from aiokafka import AIOKafkaConsumer, TopicPartition

WINDOW_MS = 60_000


def reduced(body: bytes) -> tuple[int, Any]:
    """The number of samples, and the reduction."""
    table = pa.ipc.open_stream(body).read_all()
    series = table.column(0).combine_chunks().indices.to_numpy()
    window = table.column(1).to_numpy() // WINDOW_MS
    value = table.column(2).to_numpy()
    group = (window - window[0]) * (int(series.max()) + 1) + series
    order = np.argsort(group, kind="stable")
    group, value = group[order], value[order]
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    return len(value), (
        np.diff(starts, append=len(group)),
        np.add.reduceat(value, starts),
        np.minimum.reduceat(value, starts),
        np.maximum.reduceat(value, starts),
    )


async def read(bootstrap: str, topic: str, partitions: int) -> dict[str, float]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    left = dict(await consumer.end_offsets(places))
    points, cpu, wall = 0, time.process_time(), time.perf_counter()
    while left:
        for place, records in (await consumer.getmany(timeout_ms=1_000)).items():
            for record in records:
                if dict(record.headers).get("ce_type") == b"metrics.collected.v1":
                    count, _ = reduced(record.value)
                    points += count
            if place in left and records[-1].offset + 1 >= left[place]:
                del left[place]
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await consumer.stop()
    return {"points": points, "cpu_s": cpu, "wall_s": wall}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
