"""Databases that are killed and started again under load hold what the read model holds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from projections.redis_cache import RedisSink
from projections.sink import SinkPump
from tests.effort import MORE
from tests.projections.sink_rig import Load, Rig, redis_expected, rig, until
from tests.projections.sink_servers import Program, RedisServer, VictoriaServer

KILLS = 5 * MORE
SEED = int(os.environ.get("SEED", "1"))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path / "data") as made:
        yield made


def kill_again_and_again(one: Rig, pump: SinkPump, program: Program) -> None:
    chance = random.Random(SEED)
    with Load(one.log, SEED) as load:
        for _ in range(KILLS):
            written = pump.status().counts["written"]
            until(lambda: pump.status().counts["written"] > written, "rows are written")  # noqa: B023
            load.more(chance.randrange(1, 20))
            program.kill()
            load.more(chance.randrange(1, 40))
            program.start()
        load.more(20)


def test_victoria_metrics_holds_every_window_and_sample_after_kills(
    one: Rig, victoria: VictoriaServer
) -> None:
    pump = one.pump(one.influx(victoria.url))
    kill_again_and_again(one, pump, victoria.program)
    one.until_caught_up(pump)
    expected = {**one.windows(), **one.points()}
    assert {key for key in expected if dict(key).get("amended")}, "some samples came late"
    # What it is just moving to its disk it does not tell for a moment.
    until(lambda: victoria.samples() == expected, "all that was written is told")
    assert pump.status().counts["refused"] == 0


def test_redis_holds_newest_values_alerts_and_health_after_kills(
    one: Rig, redis_server: RedisServer
) -> None:
    pump = one.pump(RedisSink(redis_server.url, one.log.log_id))
    kill_again_and_again(one, pump, redis_server.program)
    one.until_caught_up(pump)
    assert redis_held(redis_server) == redis_expected(one)


def test_a_redis_that_forgets_everything_is_filled_again(
    one: Rig, tmp_path: Path, requires: Callable[[str], str]
) -> None:
    server = RedisServer(requires("redis-server"), tmp_path, keeps=False)
    try:
        pump = one.pump(RedisSink(server.url, one.log.log_id))
        with Load(one.log, SEED) as load:
            until(lambda: pump.status().counts["written"] > 0, "rows are written")
            server.program.kill()
            server.program.start()
            written = pump.status().counts["written"]
            until(lambda: pump.status().counts["written"] > written, "rows are written")
            with server.client() as client:
                client.flushall()
            load.more(5)
        one.until_caught_up(pump)
        assert redis_held(server) == redis_expected(one)
    finally:
        server.program.stop()


def redis_held(server: RedisServer) -> dict[str, dict[str, str]]:
    held: dict[str, dict[str, str]] = {}
    for kind in ("last", "alert", "health"):
        held |= server.hashes(f"logfire:{kind}:*")
    return {key: told for key, told in held.items() if told.get("state") != "inactive"}
