"""JSON by any Kafka client, here confluent-kafka: python kafka_confluent.py"""

import json
import time

from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": "localhost:9092", "enable.idempotence": True})
metrics = [
    {"name": "orders_total", "value": 42, "metric_type": "counter", "tags": {"shop": "berlin"}},
    {"name": "checkout_seconds", "value": 0.31, "metric_type": "histogram", "unit": "seconds"},
]
for point in metrics:
    point["timestamp"] = time.time()
message = {"source": "shop", "metrics": metrics}
producer.produce("ingest.json", json.dumps(message), key="berlin")
print(producer.flush(30), "messages left")
