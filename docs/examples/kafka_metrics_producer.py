"""Straight into the log: python kafka_metrics_producer.py"""

import asyncio

from streams import MetricsProducer


async def main() -> None:
    async with MetricsProducer("localhost:9092", source="greenhouse") as producer:
        # One point at a time: name, value, labels.
        await producer.send("doors_opened_total", 17, {"door": "north"}, metric_type="counter")
        # Many at once: the series are checked once, then each column is one array.
        beds = tuple(
            producer.series("soil_moisture", {"bed": str(bed)}, unit="percent")
            for bed in range(100)
        )
        for minute in range(10):
            await producer.send_many(beds, [30 + (bed + minute) % 20 for bed in range(100)])
            await asyncio.sleep(0.01)
        await producer.flush()  # returns when all of it is on all in-sync replicas
        print(producer.stats)


asyncio.run(main())
