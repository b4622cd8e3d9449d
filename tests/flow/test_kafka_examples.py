"""The examples for Kafka run as they stand, but for addresses and names; their points are found."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_api.server import Server
from streams.ingest.ingest_topics import IngestTopic
from tests.api.kafka_nodes import eventually, node_settings
from tests.api.processes import ROOT
from tests.kafka_cluster import jars

EXAMPLES = ROOT / "docs" / "examples"
PROGRAMS = {".py": sys.executable, ".sh": "sh", ".java": "java"}
EXPECTED = {
    "kafka_metrics_producer.py": {"doors_opened_total": 1, "soil_moisture": 1_000},
    "kafka_confluent.py": {"orders_total": 1, "checkout_seconds": 1},
    "kafka_kcat.sh": {"backup_seconds": 1, "disk_used_percent": 1, "disk_errors": 1},
    "kafka_push.java": {"jvm_heap_used": 1, "jvm_heap_max": 1},
}
"""Metrics and how many points of each."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("kafka_*")} == set(EXPECTED)
    page = (ROOT / "docs" / "producers.md").read_text()
    for name in EXPECTED:
        assert f"](examples/{name})" in page


async def run_example(name: str, folder: Path, kafka: str, prefix: str) -> None:
    """As its first lines say, with this test's broker, topics and prefix."""
    text = (EXAMPLES / name).read_text()
    assert "localhost:9092" in text
    text = text.replace('MetricsProducer("localhost:9092", ', "MetricsProducer(CONFIG, ")
    if "CONFIG" in text:
        config = f'CONFIG = KafkaConfig(("{kafka}",), prefix="{prefix}")'
        text = f"from streams import KafkaConfig\n{config}\n{text}"
    text = text.replace("localhost:9092", kafka)
    text = re.sub(r"\b(ingest\.json|telegraf)\b", rf"in-{prefix}\1", text)
    script = folder / name
    script.write_text(text)
    more = ["-cp", f"{jars()}/*"] if name.endswith(".java") else []
    process = await asyncio.create_subprocess_exec(
        PROGRAMS[script.suffix],
        *more,
        str(script),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(120):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def count(node: Server, metric: str) -> int:
    """How many points of the metric `query_metrics` finds."""
    arguments: dict[str, Any] = {
        "metric_name": metric,
        "start_time": "-1h",
        "aggregation": "count",
    }
    answer = await node.calls.call("query_metrics", arguments, actor="test")
    if answer.is_error:
        return 0
    return int(sum(result["value"] for result in answer.content["results"]))


async def test_the_examples_land_in_query_metrics(
    kafka: str, kafka_prefix: str, tmp_path: Path, requires: Callable[[str], str]
) -> None:
    for program in ("kcat", "java"):
        requires(program)
    settings = node_settings(
        kafka,
        kafka_prefix,
        tmp_path / "node",
        ingest_topics=(
            IngestTopic(f"in-{kafka_prefix}ingest.json", "json"),
            IngestTopic(f"in-{kafka_prefix}telegraf", "influx"),
        ),
    )
    async with Server(settings, with_worker=True) as node:
        async with asyncio.timeout(60):
            await node.until_ready()
        for name, metrics in EXPECTED.items():
            await run_example(name, tmp_path, kafka, kafka_prefix)
            for metric, points in metrics.items():

                async def found(metric: str = metric, points: int = points) -> bool:
                    return await count(node, metric) == points

                await eventually(found, f"{points} points of {metric} by {name}")
