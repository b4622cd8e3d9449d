"""The live feed on Kafka: positions are the log's, so another node goes on where one was left."""

from __future__ import annotations

from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from mcp_api.server import Server
from streams.events.topics import HEALTH_RESULTS
from tests.api.kafka_nodes import node_settings
from tests.api.live_clients import CHECKED, live, tell


async def test_another_node_goes_on_and_what_is_no_longer_kept_is_named(
    kafka: str, kafka_prefix: str, tmp_path: Path
) -> None:
    settings = [node_settings(kafka, kafka_prefix, tmp_path / name) for name in "ab"]
    async with Server(settings[0]) as one, Server(settings[1]) as other:
        async with live(one.url) as feed:
            await feed.subscribe("e", "events", types=[CHECKED])
            await feed.until("snapshot")
            await tell(one, 5)
            told = await feed.until_events("e", 5)
            position = feed.positions["e"]
        await tell(one, 5, first=5)
        async with live(other.url) as feed:
            await feed.subscribe("e", "events", types=[CHECKED], after=position)
            await tell(other, 5, first=10)
            told += await feed.until_events("e", 10)
        assert [event["data"]["reason"] for event in told] == [str(n) for n in range(15)]

        await _delete_before(kafka, f"{kafka_prefix}{HEALTH_RESULTS}", 8)
        async with live(other.url) as feed:
            await feed.subscribe("e", "events", types=[CHECKED], after=position)
            gap = await feed.until("gap")
            assert gap["until"] == f"{HEALTH_RESULTS}/0@7"
            assert f"{HEALTH_RESULTS}/0" in gap["message"]
            first = (await feed.until_events("e", 1))[0]
            assert first["offset"] == 8
            await feed.subscribe("h", "health", after=f"{HEALTH_RESULTS}/0@1")
            await feed.until("gap", "h")
            assert (await feed.until("snapshot", "h"))["targets"] == []


async def _delete_before(bootstrap: str, topic: str, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(offset)})
    finally:
        await admin.close()
