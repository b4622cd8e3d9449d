"""An ingest topic on a real broker: each message once and in order, whatever is delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.errors import LogDamaged
from streams.log.kafka_config import KafkaConfig
from streams.log.protocol import Record
from streams.runners.intake import Intake

MESSAGES = 20

Taking = Callable[["Kept", list[int]], AbstractAsyncContextManager[Intake]]


class Kept:
    """A table that outlives its intake, as the changelog does."""

    def __init__(self) -> None:
        self.stored: dict[int, dict[str, bytes]] = {0: {}}

    def values(self, partition: int) -> dict[str, bytes]:
        return dict(self.stored[partition])

    async def write(self, partition: int, changes: dict[str, bytes | None]) -> None:
        self.stored[partition] |= {key: value for key, value in changes.items() if value}


@pytest.fixture
def topic(kafka: str, kafka_prefix: str) -> str:
    """One partition with some messages, each with its offset as body."""
    name = f"in-{kafka_prefix}0"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(MESSAGES):
        producer.produce(name, b"%d" % number, headers=[("h", b"\xff"), ("n", None)])
    assert producer.flush(60) == 0
    return name


@pytest.fixture
def taking(kafka: str, topic: str) -> Taking:
    @asynccontextmanager
    async def made(table: Kept, taken: list[int]) -> AsyncIterator[Intake]:
        async def republish(records: Sequence[Record]) -> None:
            assert [record.body for record in records] == [b"%d" % r.offset for r in records]
            taken.extend(record.offset for record in records)

        made = Intake(KafkaConfig((kafka,)), topic, table, republish)
        yield made
        await made.close()

    return made


def delivered(topic: str, *offsets: int) -> list[Record]:
    return [Record(topic, 0, offset, 0, {}, b"%d" % offset) for offset in offsets]


async def test_what_was_left_out_comes_before_what_overtook_it(topic: str, taking: Taking) -> None:
    taken: list[int] = []
    async with taking(Kept(), taken) as one:
        await one.take(delivered(topic, 3))
        assert taken == [0, 1, 2, 3]
        await one.take(delivered(topic, 9, 10, 5, 4))
        assert taken == list(range(11))
        await one.take(delivered(topic, 10, 2, 11))
    assert taken == list(range(12))


async def test_what_was_never_delivered_is_taken_all_the_same(topic: str, taking: Taking) -> None:
    taken: list[int] = []
    async with taking(Kept(), taken) as one:
        await one.look(0)
        assert taken == []
        await one.look(0)
    assert taken == list(range(MESSAGES))


async def test_the_next_owner_goes_on_where_the_last_one_ended(topic: str, taking: Taking) -> None:
    taken: list[int] = []
    table = Kept()
    async with taking(table, taken) as one:
        await one.take(delivered(topic, 4, 5))
    async with taking(table, taken) as another:
        await another.take(delivered(topic, 5, 8))
    assert taken == list(range(9))


async def test_an_owner_that_was_away_goes_on_where_others_ended(
    topic: str, taking: Taking
) -> None:
    taken: list[int] = []
    table = Kept()
    async with taking(table, taken) as one:
        await one.take(delivered(topic, 0))
        async with taking(table, taken) as another:
            await another.take(delivered(topic, 6))
        await one.take(delivered(topic, 7))
    assert taken == list(range(8))


async def test_a_topic_that_was_made_anew_is_not_taken_for_the_old_one(
    topic: str, taking: Taking
) -> None:
    table = Kept()
    table.stored[0]["next"] = b"%d" % (MESSAGES + 1)
    async with taking(table, []) as one:
        with pytest.raises(LogDamaged, match="was made anew"):
            await one.take(delivered(topic, 0))
