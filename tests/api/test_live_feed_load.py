"""Many clients, many alerts, and a server that is killed: everybody is told all of it, once."""

from __future__ import annotations

from pathlib import Path

import psutil

from mcp_api.live_feed.outbox import ALL_BYTES_MAX
from tests.api.live_clients import gauge
from tests.api.live_swarm import ALERTS_EACH, Swarm, flip, make_rule, told_by_the_log
from tests.api.processes import serving
from tests.effort import MORE

CLIENTS = 100 if MORE == 1 else 500
FLIPS = 2 if MORE == 1 else 10
GROWTH_BYTES_MAX = 200 << 20


async def test_everybody_is_told_of_every_alert_though_the_server_is_killed(
    tmp_path: Path,
) -> None:
    swarm = Swarm(CLIENTS)
    told = 0
    with serving(tmp_path) as (process, found):
        swarm.begin(found.url)
        await make_rule(found.url)
        await swarm.all_began()
        stats = psutil.Process(process.pid)
        before = stats.memory_info().rss
        for number in range(FLIPS):
            await flip(found.url, (number + 1) % 2)
            told += ALERTS_EACH
            await swarm.until_told(told)
            assert await gauge(found.url, "queued_bytes") <= ALL_BYTES_MAX
        assert await gauge(found.url, "clients") == CLIENTS
        assert await gauge(found.url, "cut") == 0
        assert stats.memory_info().rss - before < GROWTH_BYTES_MAX
        await flip(found.url, 1)
        process.kill()
        process.wait()
    with serving(tmp_path) as (process, found):
        swarm.url = found.url
        told += ALERTS_EACH
        await swarm.until_told(told)
        await flip(found.url, 0)
        told += ALERTS_EACH
        await swarm.until_told(told)
        truth = told_by_the_log(tmp_path)
        await swarm.end()
    assert len(truth) == told
    for member in swarm.members:
        assert member.offsets == truth
        assert member.connections > 1
        assert not member.gaps
    assert all(member.values for member in swarm.members[::2])
